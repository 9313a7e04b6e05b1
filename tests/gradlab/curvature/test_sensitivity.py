"""Curvature against closed forms, against brute-force differences, and exact against at-scale."""

import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.curvature import sensitivity
from gradlab.errors import GradlabError
from gradlab.hessians import piecewise_linear
from gradlab.statistics.medians import median, share
from gradlab.worlds import LinearQuadratic


class Aim(nn.Module):
    """An actor that gives one action in every state."""

    def __init__(self, action):
        super().__init__()
        self.action = nn.Parameter(torch.as_tensor(action, dtype=torch.float64))

    def forward(self, obs):
        return self.action.expand(len(obs), -1)


class Quadratic(nn.Module):
    """½ aᵀHa + aᵀGs + ½ sᵀs."""

    def __init__(self, hessian, mixed):
        super().__init__()
        self.hessian = nn.Parameter(torch.as_tensor(hessian, dtype=torch.float64))
        self.mixed = nn.Parameter(torch.as_tensor(mixed, dtype=torch.float64))

    def forward(self, obs, act):
        own = (act @ self.hessian * act).sum(-1) / 2
        return own + (act @ self.mixed * obs).sum(-1) + obs.square().sum(-1) / 2


class Net(nn.Module):
    def __init__(self, obs, act, activation, width=24, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.net = nn.Sequential(
            nn.Linear(obs + act, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, 1)
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.4, generator=generator)

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def actor_of(obs, act, seed=3):
    actor = nn.Sequential(nn.Linear(obs, act), nn.Tanh())
    nn.init.normal_(actor[0].weight, std=0.5, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(actor[0].bias)
    return actor


def agent_of(activation, obs=5, act=3, critics=1, **options):
    nets = [Net(obs, act, activation, seed=i) for i in range(critics)]
    return Agent(actor_of(obs, act), nets, [-1.0] * act, [1.0] * act, **options)


def states(count, size, seed=0, dtype=torch.float32):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("scale", [None, 0.05])
def test_scalar_regulator_gives_its_listed_numbers_and_the_bound_is_tight(scale):
    world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4)
    obs = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    found = sensitivity(world.agent(), obs, scale)
    torch.testing.assert_close(
        found.action_hessian, torch.full((9, 1, 1), -1.102899906, dtype=torch.float64), atol=1e-8, rtol=0
    )
    torch.testing.assert_close(
        found.mixed_hessian, torch.full((9, 1, 1), -1.625219832, dtype=torch.float64), atol=1e-8, rtol=0
    )
    assert found.curvature.tolist() == pytest.approx([1.102899906] * 9, abs=1e-8)
    assert found.mixed_partial.tolist() == pytest.approx([1.625219832] * 9, abs=1e-8)
    assert found.ratio.tolist() == pytest.approx([1.473587786] * 9, abs=1e-8)
    assert bool(found.valid.all())
    # The policy's own slope is K; what the critic asks for is one step of policy iteration, exactly M/μ.
    assert found.policy_jacobian.tolist() == pytest.approx([0.4] * 9)
    improved = -torch.linalg.solve(found.action_hessian, found.mixed_hessian)
    assert improved.abs().flatten().tolist() == pytest.approx(found.ratio.tolist())


def test_a_regulator_of_several_dimensions_matches_its_own_hessians():
    generator = torch.Generator().manual_seed(0)
    A, B = (0.25 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((4, 4), (4, 2)))
    eye = torch.eye(4, dtype=torch.float64)
    world = LinearQuadratic(A=A, B=B, Q=eye, R=0.1 * eye[:2, :2], gamma=0.9, K=0.1 * B.mT)
    obs = states(6, 4, dtype=torch.float64)
    known = world.hessians(obs, world.agent().action(obs))
    for scale in (None, 0.1):
        found = sensitivity(world.agent(), obs, scale)
        torch.testing.assert_close(found.action_hessian, known.action.expand(6, -1, -1))
        torch.testing.assert_close(found.mixed_hessian, known.mixed.expand(6, -1, -1))
        # The implicit function bound holds, and is not an equality here.
        greedy = torch.linalg.solve(found.action_hessian, found.mixed_hessian)
        assert bool((torch.linalg.matrix_norm(greedy, ord=2) <= found.ratio * (1 + 1e-12)).all())


@pytest.mark.parametrize("scale", [None, 0.1])
def test_curvature_is_the_largest_eigenvalue_not_the_trace(scale):
    agent = Agent(Aim([0.0, 0.0]), [Quadratic([[1.0, 0.0], [0.0, -5.0]], [[1.0], [2.0]])], [-1.0] * 2, [1.0] * 2)
    found = sensitivity(agent, torch.zeros(3, 1, dtype=torch.float64), scale)
    assert found.curvature.tolist() == pytest.approx([-1.0] * 3)
    assert not bool(found.valid.any())
    assert bool(found.ratio.isnan().all())
    assert found.eigenvalues[0].tolist() == pytest.approx([-5.0, 1.0])
    assert found.mixed_partial.tolist() == pytest.approx([math.sqrt(5.0)] * 3)
    summary = found.summary()
    assert summary["valid_share"].value == 0.0
    assert summary["valid_share"].stderr > 0
    assert math.isnan(summary["ratio"].value)
    assert summary["ratio"].samples == 0


def test_at_scale_tends_to_exact_quadratically_on_a_smooth_critic():
    agent, obs = agent_of(nn.SiLU).snapshot(double=True), states(8, 5)
    exact = sensitivity(agent, obs)
    errors = []
    for scale in (0.2, 0.1, 0.05):
        found = sensitivity(agent, obs, scale)
        errors.append(
            float(
                (found.mixed_hessian - exact.mixed_hessian).norm()
                + (found.action_hessian - exact.action_hessian).norm()
            )
        )
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)
    near = sensitivity(agent, obs, 1e-4)
    for name in ("action_hessian", "mixed_hessian", "mixed_partial", "curvature", "policy_jacobian"):
        torch.testing.assert_close(getattr(near, name), getattr(exact, name), rtol=1e-6, atol=1e-8)


def test_exact_matches_the_textbook_loop():
    agent, obs = agent_of(nn.Tanh), states(4, 5)
    double = agent.snapshot(double=True)
    found = sensitivity(double, obs)
    for i, s in enumerate(obs.double()):
        a = double.action(s[None])[0].detach()

        def q(s, a):
            return double.q(s[None], a[None])[0]

        blocks = torch.autograd.functional.hessian(q, (s, a))
        torch.testing.assert_close(found.action_hessian[i], blocks[1][1])
        torch.testing.assert_close(found.mixed_hessian[i], blocks[1][0])
        slope = torch.autograd.functional.jacobian(lambda s: double.action(s[None])[0], s)
        assert float(found.policy_jacobian[i]) == pytest.approx(float(torch.linalg.svdvals(slope)[0]))


def brute_force(agent, obs, scale, features):
    """Differences of ∇_a Q one coordinate, one sign and one state at a time."""
    double = agent.snapshot(double=True)
    hessians, mixed = [], []
    for s in obs.double():
        a = double.action(s[None])[0].detach()
        rows_a, rows_s = [], []
        for j in range(len(a)):
            step = torch.zeros_like(a)
            step[j] = scale
            up, down = (double.action_gradient(s[None], (a + sign * step)[None])[0] for sign in (1, -1))
            rows_a.append((up - down) / (2 * scale))
        for j in range(len(s)):
            step = torch.zeros_like(s)
            step[j] = scale * features[j]
            up, down = (double.action_gradient((s + sign * step)[None], a[None])[0] for sign in (1, -1))
            rows_s.append((up - down) / (2 * step[j]))
        square = torch.stack(rows_a, 1)
        hessians.append((square + square.T) / 2)
        mixed.append(torch.stack(rows_s, 1))
    return torch.stack(hessians), torch.stack(mixed)


@pytest.mark.parametrize("reduction", ["first", "min"])
def test_at_scale_on_relu_critics_is_brute_force_differences(reduction):
    agent, obs = agent_of(nn.ReLU, critics=2, reduction=reduction), states(6, 5)
    features = obs.double().std(0)
    found = sensitivity(agent, obs, 0.1)
    hessian, mixed = brute_force(agent, obs, 0.1, features)
    torch.testing.assert_close(found.action_hessian, hessian, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(found.mixed_hessian, mixed, atol=1e-10, rtol=1e-10)
    assert float(hessian.abs().max()) > 0.01, "no kink was crossed; the test would see nothing"
    torch.testing.assert_close(found.curvature, -torch.linalg.eigvalsh(hessian)[:, -1])
    torch.testing.assert_close(found.mixed_partial, torch.linalg.svdvals(mixed)[:, 0])
    chosen = sensitivity(agent, obs, 0.1, obs_scale=torch.ones(5))
    torch.testing.assert_close(chosen.mixed_hessian, brute_force(agent, obs, 0.1, torch.ones(5))[1])


class Custom(nn.Module):
    """Piecewise linear without any module that says so."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)))

    def forward(self, obs, act):
        return (torch.cat([obs, act], -1) @ self.weight.T).amax(-1)


class FrozenLeaky(Net):
    def __init__(self):
        super().__init__(5, 3, nn.LeakyReLU)
        self.requires_grad_(False)


@pytest.mark.parametrize("critic", [Net(5, 3, nn.ReLU), Custom(), FrozenLeaky()])
def test_exact_derivatives_of_piecewise_linear_critics_are_refused(critic):
    agent = Agent(actor_of(5, 3), [critic], [-1.0] * 3, [1.0] * 3)
    for count in (1, 8):
        with pytest.raises(GradlabError, match=r"piecewise linear.*scale=") as caught:
            sensitivity(agent, states(count, 5))
        assert "\n" not in str(caught.value)
    assert sensitivity(agent, states(8, 5), 0.1).scale == 0.1


def test_what_is_not_piecewise_linear_is_not_refused():
    for critic in (Net(5, 3, nn.SiLU), Net(5, 3, nn.Tanh), Quadratic(-torch.eye(3), torch.ones(3, 5)).float()):
        agent = Agent(actor_of(5, 3), [critic], [-1.0] * 3, [1.0] * 3)
        assert not piecewise_linear(agent.snapshot(double=True), states(8, 5).double(), None)

    class Linear(nn.Module):
        def forward(self, obs, act):
            return 2 * act.sum(-1) + obs.sum(-1)

    agent = Agent(actor_of(5, 3), [Linear()], [-1.0] * 3, [1.0] * 3)
    found = sensitivity(agent, states(4, 5))
    assert found.mixed_partial.tolist() == [0.0] * 4
    assert not bool(found.valid.any())


def test_saturated_actions_are_told_apart():
    aims = [[0.0, 0.0], [0.95, 0.0], [0.0, -1.0]]
    expected = {None: [True, True, False], 0.1: [True, False, False]}
    for scale, interior in expected.items():
        agent = Agent(Aim([0.0, 0.0]), [Quadratic(-torch.eye(2), torch.ones(2, 1))], [-1.0] * 2, [1.0] * 2)
        found = sensitivity(agent, torch.zeros(3, 1, dtype=torch.float64), scale, act=torch.tensor(aims))
        assert found.interior.tolist() == interior
        assert found.interior_share.value == pytest.approx(sum(interior) / 3)


def test_the_live_agent_is_untouched():
    agent, obs = agent_of(nn.SiLU), states(4, 5)
    before = torch.random.get_rng_state()
    sensitivity(agent, obs)
    sensitivity(agent, obs, 0.1).summary()
    assert torch.equal(before, torch.random.get_rng_state())
    for module in (agent.actor, *agent.critics):
        assert all(p.grad is None and p.dtype == torch.float32 for p in module.parameters())


def test_medians_and_shares_cover_the_truth():
    hits, repeats = [0, 0], 200
    for seed in range(repeats):
        draws = torch.randn(80, generator=torch.Generator().manual_seed(seed)).exp()
        estimates = (median(draws, seed), share(draws > 0.5))
        truths = (1.0, 0.5 + 0.5 * math.erf(math.log(2) / math.sqrt(2)))
        for k, (estimate, truth) in enumerate(zip(estimates, truths, strict=True)):
            low, high = estimate.interval()
            hits[k] += low <= truth <= high
    assert all(0.90 <= hit / repeats <= 0.98 for hit in hits), hits


def test_wrong_input_is_refused_in_one_line():
    agent, obs = agent_of(nn.SiLU), states(4, 5)

    class Diverged(nn.Module):
        def forward(self, obs, act):
            return (act.sum(-1) * math.nan).square()

    broken = Agent(actor_of(5, 3), [Diverged()], [-1.0] * 3, [1.0] * 3)
    for match, call in [
        ("scale", lambda: sensitivity(agent, obs, 0.0)),
        ("scale", lambda: sensitivity(agent, obs, math.nan)),
        ("act: shape", lambda: sensitivity(agent, obs, act=torch.zeros(4, 2))),
        ("critic: 4", lambda: sensitivity(agent, obs, critic=4)),
        ("obs_scale", lambda: sensitivity(agent, obs, 0.1, obs_scale=torch.zeros(5))),
        ("NaN", lambda: sensitivity(broken, obs)),
        ("NaN", lambda: sensitivity(broken, obs, 0.1)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_steps_in_nearly_constant_features_are_not_tiny():
    agent, obs = agent_of(nn.ReLU), states(40, 5)
    obs[:, 3] *= 1e-6
    obs[:, 4] = 0.25
    spread = obs.double().std(0)
    typical = spread[:4].sort().values[1]
    features = torch.stack([*spread[:3], 0.1 * typical, typical])
    found = sensitivity(agent, obs, 0.1)
    torch.testing.assert_close(found.mixed_hessian, brute_force(agent, obs, 0.1, features)[1], atol=1e-9, rtol=1e-9)


def test_pieces_that_differ_between_states_alone_are_pieces():
    def by_state(obs, act):
        return (act * torch.relu(obs[:, :1]).sign()).sum(-1) + obs.sum(-1) * 0 + torch.relu(obs).sum(-1)

    def bilinear(obs, act):
        return (act * obs[:, :1]).sum(-1)

    def features_without_gradients(obs, act):
        return (act * obs[:, :1].detach().tanh()).sum(-1)

    obs = states(64, 5)
    for critic, expected in ((by_state, True), (bilinear, False), (features_without_gradients, False)):
        agent = Agent(actor_of(5, 1), [critic], [-1.0], [1.0])
        assert piecewise_linear(agent, obs, None) is expected
