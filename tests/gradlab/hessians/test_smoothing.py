"""Second derivatives of smoothed critics against closed forms: sums of sines, cubics, kinks, quadratics."""

import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.hessians import second_derivatives, smoothed_second_derivatives
from gradlab.worlds import LinearQuadratic

P, N, SIGMA = 2, 3, 0.4
FEATURES = torch.tensor([0.5, 1.0, 1.6], dtype=torch.float64)
STEPS = torch.cat([torch.ones(P, dtype=torch.float64), FEATURES])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


class Bowl(nn.Module):
    """Σ c_k f(w_kᵀx + b_k) − Σ i a_i², x = (a, s)."""

    def __init__(self, terms=6, seed=3):
        super().__init__()
        self.w = nn.Parameter(0.8 * normal(terms, P + N, seed=seed))
        self.b = nn.Parameter(normal(terms, seed=seed + 1))
        self.c = nn.Parameter(normal(terms, seed=seed + 2))

    def forward(self, obs, act):
        bowl = (act.square() * torch.arange(1.0, P + 1).double()).sum(-1)
        return self.along(torch.cat([act, obs], -1) @ self.w.T + self.b) @ self.c - bowl

    def truth(self, x):
        second = self.c * self.smoothed(self.w @ x + self.b, SIGMA * (self.w * STEPS).norm(dim=-1))
        found = torch.einsum("k,ki,kj->ij", second, self.w, self.w).detach()
        found[:P, :P] -= 2 * torch.diag(torch.arange(1.0, P + 1).double())
        return found[:P, :P], found[:P, P:]


class Sines(Bowl):
    def along(self, t):
        return t.sin()

    def smoothed(self, t, width):
        """E sin″(t + width·ε) = −sin(t) exp(−width²/2)."""
        return -t.sin() * torch.exp(-width.square() / 2)


class Cubic(Bowl):
    def along(self, t):
        return t**3 / 6

    def smoothed(self, t, width):
        """A second derivative that is linear does not change."""
        return t


class Quartic(Bowl):
    def along(self, t):
        return t**4 / 24

    def smoothed(self, t, width):
        return (t.square() + width.square()) / 2


class Kinks(Bowl):
    def along(self, t):
        return -t.abs()

    def smoothed(self, t, width):
        """E δ(t + width·ε) is the normal density."""
        return -2 * torch.exp(-(t / width).square() / 2) / (math.sqrt(2 * math.pi) * width)


def agent_of(critic, obs=N, act=P):
    return Agent(nn.Linear(obs, act).double(), [critic], [-1.0] * act, [1.0] * act)


def share(low, truth, high):
    return float(((low <= truth) & (truth <= high)).double().mean())


@pytest.mark.parametrize("source", ["gradients", "values"])
@pytest.mark.parametrize("kind", [Sines, Quartic, Kinks])
def test_intervals_hold_the_closed_form(kind, source):
    critic, repeats = kind(), 500
    x = 0.3 * normal(P + N, seed=9)
    action, mixed = critic.truth(x)
    found = smoothed_second_derivatives(
        agent_of(critic),
        x[P:].expand(repeats, -1),
        SIGMA,
        act=x[:P].expand(repeats, -1),
        source=source,
        draws=512 if source == "gradients" else 2048,
        obs_scale=FEATURES,
        generator=generator(5),
    )
    quantile = 2.131  # Student's t with 15 degrees of freedom
    for value, stderr, truth in (
        (found.action, found.action_stderr, action),
        (found.mixed, found.mixed_stderr, mixed),
    ):
        assert 0.90 <= share(value - quantile * stderr, truth, value + quantile * stderr) <= 0.98
        # No bias that repetitions could see.
        assert ((value.mean(0) - truth).abs() <= 4.5 * value.std(0) / math.sqrt(repeats)).all()
    M = torch.linalg.matrix_norm(mixed, ord=2).item()
    mu = -torch.linalg.eigvalsh(action)[-1].item()
    assert mu > 0.2, "the test needs a maximum"
    # From above 98 %: what brackets the truth is too wide where noise hides the best direction.
    assert share(found.mixed_partial.low, M, found.mixed_partial.high) >= 0.90
    assert share(found.curvature.low, mu, found.curvature.high) >= 0.90
    if source == "gradients":
        assert share(found.mixed_partial.low, M, found.mixed_partial.high) <= 0.98
        assert share(found.curvature.low, mu, found.curvature.high) <= 0.98
        assert found.valid.double().mean() > 0.9
        ratio = found.ratio
        assert 0.90 <= share(ratio.low[found.valid], M / mu, ratio.high[found.valid]) <= 0.98


@pytest.mark.parametrize("source", ["gradients", "values"])
@pytest.mark.parametrize("draws", [16, 64])
def test_estimates_are_the_stated_sums(source, draws):
    """The same draws, one at a time; of 16 draws from gradients there is no fit, of 64 there is."""
    critic, sigma = Sines(), 0.3
    agent, obs, act = agent_of(critic), normal(2, N), 0.3 * normal(2, P, seed=1)
    found = smoothed_second_derivatives(
        agent, obs, sigma, act=act, source=source, draws=draws, obs_scale=FEATURES, generator=generator(7)
    )
    again, per_group = generator(7), draws // 16
    u = torch.stack(
        [torch.randn(per_group, 2, P + N, generator=again, dtype=torch.float64) for _ in range(16)]
    )  # [16, K, 2, d]
    for b in range(2):
        y, outer = torch.zeros(16, per_group, P if source == "gradients" else 1).double(), []
        for g in range(16):
            for k in range(per_group):
                step = sigma * STEPS * u[g, k, b]
                sides = [
                    (obs[b] + sign * step[P:], (act[b] + sign * step[:P]).clone().requires_grad_()) for sign in (1, -1)
                ]
                q = [agent.q(s[None], a[None])[0] for s, a in sides]
                if source == "gradients":
                    plus, minus = (torch.autograd.grad(value, a)[0] for value, (_, a) in zip(q, sides, strict=True))
                    y[g, k] = (plus - minus) / (2 * sigma)
                else:
                    centre = agent.q(obs[b : b + 1], act[b : b + 1])[0]
                    y[g, k] = ((q[0] + q[1] - 2 * centre) / (2 * sigma**2)).detach()
        eye = torch.eye(P + N).double()
        groups = []
        for g in range(16):
            others = [h for h in range(16) if h != g]
            us = u[others, :, b].reshape(-1, P + N)
            ys = y[others].reshape(len(us), -1)
            outer = [torch.outer(v, v) for v in u[g, :, b]]
            if source == "values":
                terms = [(y[g, k] - ys.mean()) * (outer[k] - eye)[:P] for k in range(per_group)]
            elif draws == 16:
                terms = [torch.outer(y[g, k], u[g, k, b]) for k in range(per_group)]
            else:
                C = torch.linalg.lstsq(us, ys).solution.T
                terms = [torch.outer(y[g, k], u[g, k, b]) - C @ (outer[k] - eye) for k in range(per_group)]
            groups.append(torch.stack(terms).mean(0) / STEPS)
        estimates = torch.stack(groups).detach()
        action = (estimates[:, :, :P] + estimates[:, :, :P].mT) / 2
        torch.testing.assert_close(found.action[b], action.mean(0))
        torch.testing.assert_close(found.mixed[b], estimates[:, :, P:].mean(0))
        torch.testing.assert_close(found.action_stderr[b], action.std(0) / 4)
        torch.testing.assert_close(found.mixed_stderr[b], estimates[:, :, P:].std(0) / 4)


def test_a_cubic_has_no_noise_from_gradients_and_its_smoothed_derivative_is_its_own():
    critic, obs, act = Cubic(), normal(4, N), 0.3 * normal(4, P, seed=1)
    found = smoothed_second_derivatives(agent_of(critic), obs, SIGMA, act=act, obs_scale=FEATURES)
    for b in range(4):
        action, mixed = critic.truth(torch.cat([act[b], obs[b]]))
        torch.testing.assert_close(found.action[b], action)
        torch.testing.assert_close(found.mixed[b], mixed)
    assert found.action_stderr.max() < 1e-12
    by_values = smoothed_second_derivatives(
        agent_of(critic), obs, SIGMA, act=act, obs_scale=FEATURES, source="values", draws=4096, generator=generator()
    )
    assert by_values.action_stderr.min() > 1e-3
    assert ((by_values.action - found.action).abs() <= 5.5 * by_values.action_stderr).all()


def test_a_regulator_has_no_noise_from_gradients():
    eye = torch.eye(4, dtype=torch.float64)
    B = 0.3 * normal(4, 2)
    world = LinearQuadratic(A=0.25 * normal(4, 4, seed=1), B=B, Q=eye, R=0.1 * eye[:2, :2], gamma=0.9, K=0.1 * B.mT)
    obs = normal(5, 4, seed=2)
    action, mixed = world.hessians(obs, world.agent().action(obs))
    found = smoothed_second_derivatives(world.agent(), obs, 0.5, generator=generator())
    torch.testing.assert_close(found.action, action)
    torch.testing.assert_close(found.mixed, mixed)
    assert found.valid.all()
    assert found.ratio.value.tolist() == pytest.approx([world.sensitivity_ratio()] * 5, rel=1e-9)
    assert found.ratio.stderr.max() < 1e-9
    assert found.draws == 512
    by_values = smoothed_second_derivatives(
        world.agent(), obs, 0.5, source="values", draws=20_000, generator=generator()
    )
    for value, stderr, truth in (
        (by_values.action, by_values.action_stderr, action),
        (by_values.mixed, by_values.mixed_stderr, mixed),
    ):
        assert ((value - truth).abs() <= 5.5 * stderr).all()  # t with 15 degrees of freedom, 60 entries
        assert stderr.max() < 0.25 * truth.abs().max()


class Net(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(N + P, 24), activation(), nn.Linear(24, 1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.6, generator=generator(1))

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def test_without_smoothing_it_is_the_exact_derivative_of_a_smooth_critic():
    actor = nn.Linear(N, P)
    agent = Agent(actor, [Net(nn.SiLU)], [-1.0] * P, [1.0] * P)
    obs = normal(8, N)
    double = agent.snapshot(double=True)
    action, mixed, _ = second_derivatives(double, obs, double.action(obs).detach())
    errors = []
    for scale in (4e-2, 2e-2, 1e-3):
        found = smoothed_second_derivatives(agent, obs, scale, generator=generator())
        errors.append((found.action - action).norm().item() + (found.mixed - mixed).norm().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)  # of second order in σ, with the same draws
    assert errors[2] < 1e-4 * action.norm().item()
    assert found.curvature.value.tolist() == pytest.approx((-torch.linalg.eigvalsh(action)[:, -1]).tolist(), abs=1e-5)
    norms = torch.linalg.matrix_norm(mixed, ord=2)
    assert found.mixed_partial.value.tolist() == pytest.approx(norms.tolist(), abs=1e-5)


def test_relu_critics_have_smoothed_curvature():
    agent = Agent(nn.Linear(N, P), [Net(nn.ReLU)], [-1.0] * P, [1.0] * P)
    found = smoothed_second_derivatives(agent, normal(20, N), 0.3, generator=generator())
    assert (found.action_stderr > 0).all()
    assert ((found.action.abs() > 3 * found.action_stderr).double().mean()) > 0.5
    assert (found.mixed_partial.low >= 0).all()


def test_chunks_of_states_and_draws(monkeypatch):
    critic = Sines()
    x = 0.3 * normal(P + N, seed=9)
    action, _ = critic.truth(x)
    monkeypatch.setattr("gradlab.hessians.smoothing._NUMBERS", 16 * 5 * 7 * 3)
    monkeypatch.setattr("gradlab.hessians.rounds._NUMBERS", 3 * 10 * 5)
    found = smoothed_second_derivatives(
        agent_of(critic),
        x[P:].expand(8, -1),
        SIGMA,
        act=x[:P].expand(8, -1),
        draws=500,
        obs_scale=FEATURES,
        generator=generator(),
    )
    assert found.draws == 512
    assert found.action.shape == (8, P, P)
    torch.testing.assert_close(found.action.mean(0), action, atol=0.05, rtol=0)  # four standard errors
    assert len({round(v, 12) for v in found.curvature.value.tolist()}) == 8, "states share draws"


def test_blocked_state_gradients_are_seen_through_values():
    """∇_s Q that is blocked does not hide the mixed partial, which differentiates in the action alone."""

    class Blocked(nn.Module):
        def forward(self, obs, act):
            return (obs.detach()[:, :P] * act).sum(-1)

    found = smoothed_second_derivatives(agent_of(Blocked()), normal(3, N), 0.2, generator=generator())
    torch.testing.assert_close(found.mixed, torch.eye(P, N, dtype=torch.float64).expand(3, -1, -1))


def test_the_live_agent_and_the_global_random_state_are_untouched():
    agent = Agent(nn.Linear(N, P), [Net(nn.SiLU)], [-1.0] * P, [1.0] * P)
    before = torch.random.get_rng_state()
    smoothed_second_derivatives(agent, normal(2, N), 0.1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(p.grad is None and p.dtype == torch.float32 for p in agent.critics[0].parameters())


def test_wrong_input_is_refused_in_one_line():
    agent, obs = agent_of(Sines()), normal(2, N)

    class Edge(nn.Module):
        def forward(self, obs, act):
            return (0.5 - act.square().sum(-1)).sqrt()

    for match, call in [
        ("scale: 0", lambda: smoothed_second_derivatives(agent, obs, 0.0)),
        ("scale: None", lambda: smoothed_second_derivatives(agent, obs, None)),
        ("source", lambda: smoothed_second_derivatives(agent, obs, 0.1, source="rewards")),
        ("draws: 8", lambda: smoothed_second_derivatives(agent, obs, 0.1, draws=8)),
        ("draws: 20.5", lambda: smoothed_second_derivatives(agent, obs, 0.1, draws=20.5)),
        ("act: shape", lambda: smoothed_second_derivatives(agent, obs, 0.1, act=torch.zeros(2, 3))),
        ("obs_scale", lambda: smoothed_second_derivatives(agent, obs, 0.1, obs_scale=[1.0])),
        ("near state", lambda: smoothed_second_derivatives(agent_of(Edge()), obs, 1.0, act=torch.zeros(2, P))),
        (
            "near state",
            lambda: smoothed_second_derivatives(agent_of(Edge()), obs, 1.0, act=torch.zeros(2, P), source="values"),
        ),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
