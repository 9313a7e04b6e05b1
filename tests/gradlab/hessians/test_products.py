"""Products with Hessians at many states, against matrices that autograd forms one state at a time."""

import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.curvature import sensitivity
from gradlab.errors import GradlabError
from gradlab.hessians import (
    hessian_products,
    matrix_products,
    smoothed_second_derivatives,
    spectral_norms,
    squared_frobenius,
)
from gradlab.policies import Softmax
from gradlab.worlds import LinearQuadratic


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


class Followed(torch.autograd.Function):
    """tanh by an old-style function, which ``torch.func`` refuses."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (1 - x.tanh().square())


class OldStyle(nn.Module):
    def forward(self, obs, act):
        return Followed.apply(torch.cat([obs, act], -1)).prod(-1)


class BlockedState(Net):
    def forward(self, obs, act):
        return super().forward(obs.detach(), act)


def agent_of(critics, obs=5, act=3, **options):
    actor = nn.Sequential(nn.Linear(obs, act), nn.Tanh())
    nn.init.normal_(actor[0].weight, std=0.3, generator=torch.Generator().manual_seed(7))
    nn.init.zeros_(actor[0].bias)
    return Agent(actor, critics, [-1.0] * act, [1.0] * act, **options)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blocks(agent, obs, critic=None):
    """∇²_aa Q and ∇²_as Q, one state at a time."""
    double = agent.snapshot(double=True)
    action, mixed = [], []
    for s, a in zip(obs.double(), double.action(obs.double()).detach(), strict=True):
        found = torch.autograd.functional.hessian(
            lambda s, a: double.q(s[None], a[None], critic=critic)[0], (s, a), strict=False
        )
        action.append(found[1][1])
        mixed.append(found[1][0])
    return torch.stack(action), torch.stack(mixed)


CRITICS = {
    "SiLU": [Net(5, 3, nn.SiLU)],
    "Tanh, the smaller of two": [Net(5, 3, nn.Tanh), Net(5, 3, nn.Tanh, seed=1)],
    "old-style function": [OldStyle()],
}


@pytest.mark.parametrize("name", CRITICS)
def test_exact_products_are_those_of_the_matrices(name):
    agent, obs = agent_of(CRITICS[name], reduction="min"), normal(6, 5).float()
    action, mixed = blocks(agent, obs)
    H = hessian_products(agent, obs)
    M = matrix_products(action, mixed)
    v, w = normal(4, 6, 3, seed=1), normal(4, 6, 5, seed=2)
    for found in (H, M):
        torch.testing.assert_close(found.action(v), torch.einsum("bij,kbj->kbi", action, v))
        torch.testing.assert_close(found.mixed(w), torch.einsum("bij,kbj->kbi", mixed, w))
        torch.testing.assert_close(found.mixed_transposed(v), torch.einsum("bij,kbi->kbj", mixed, v))
    torch.testing.assert_close(H.at(slice(2, 5)).mixed(w[:, 2:5]), M.mixed(w)[:, 2:5])


def test_chunks_do_not_change_products(monkeypatch):
    agent, obs = agent_of(CRITICS["SiLU"]), normal(9, 5).float().double()
    v = normal(7, 9, 3)
    for scale in (None, 0.01):
        whole = hessian_products(agent, obs, scale=scale).action(v)
        for numbers in (1, 8_000 * 6, 8_000 * 20):
            monkeypatch.setattr("gradlab.hessians.points._NUMBERS", numbers)
            torch.testing.assert_close(hessian_products(agent, obs, scale=scale).action(v), whole)
        monkeypatch.undo()


def test_one_critic_instead_of_the_one_followed():
    agent, obs = agent_of(CRITICS["Tanh, the smaller of two"]), normal(4, 5).float().double()
    for critic in (0, 1):
        action, _ = blocks(agent, obs, critic)
        v = normal(2, 4, 3)
        found = hessian_products(agent, obs, critic=critic).action(v)
        torch.testing.assert_close(found, torch.einsum("bij,kbj->kbi", action, v))


def test_differences_tend_to_the_exact_products_as_the_square_of_the_scale():
    agent, obs = agent_of(CRITICS["SiLU"]), normal(6, 5).float().double()
    v, w = normal(3, 6, 3, seed=1), normal(3, 6, 5, seed=2)
    exact = hessian_products(agent, obs)
    for product, vectors in (("action", v), ("mixed", w), ("mixed_transposed", v)):
        truth = getattr(exact, product)(vectors)
        errors = [
            (getattr(hessian_products(agent, obs, scale=scale), product)(vectors) - truth).norm().item()
            for scale in (4e-2, 2e-2, 1e-4)
        ]
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
        assert errors[2] <= 1e-7 * truth.norm().item()


def test_at_scale_on_a_relu_critic_is_the_difference_along_the_vector():
    agent, obs = agent_of([Net(5, 3, nn.ReLU)]), normal(6, 5).float().double()
    double, act, features = agent.snapshot(double=True), agent.snapshot(double=True).action(obs).detach(), obs.std(0)
    H = hessian_products(agent, obs, scale=0.2)
    assert not H.linear
    v, w = normal(1, 6, 3, seed=1), normal(1, 6, 5, seed=2)
    by_action, by_state = H.action(v)[0], H.mixed(w)[0]
    assert by_action.abs().max() > 0.01, "no kink was crossed; the test would see nothing"
    for i in range(6):
        step = 0.2 * v[0, i] / v[0, i].norm()
        up, down = (double.action_gradient(obs[i : i + 1], (act[i] + sign * step)[None])[0] for sign in (1, -1))
        torch.testing.assert_close(by_action[i], (up - down) / 0.4 * v[0, i].norm())
        length = (w[0, i] / features).norm()
        step = 0.2 * w[0, i] / length
        up, down = (double.action_gradient((obs[i] + sign * step)[None], act[i : i + 1])[0] for sign in (1, -1))
        torch.testing.assert_close(by_state[i], (up - down) / 0.4 * length)


def test_columns_of_a_regulator_are_its_hessians():
    eye = torch.eye(4, dtype=torch.float64)
    B = 0.3 * normal(4, 2)
    world = LinearQuadratic(A=0.25 * normal(4, 4, seed=1), B=B, Q=eye, R=0.1 * eye[:2, :2], gamma=0.9, K=0.1 * B.mT)
    obs = normal(5, 4, seed=2)
    known = world.hessians(obs, world.agent().action(obs))
    for scale in (None, 0.1):
        H = hessian_products(world.agent(), obs, scale=scale)
        columns = H.action(eye[:2, None, :2].expand(-1, 5, -1)).permute(1, 2, 0)
        torch.testing.assert_close(columns, known.action)
        torch.testing.assert_close(H.mixed(eye[:, None].expand(-1, 5, -1)).permute(1, 2, 0), known.mixed)
        rows = H.mixed_transposed(eye[:2, None, :2].expand(-1, 5, -1)).permute(1, 0, 2)
        torch.testing.assert_close(rows, known.mixed)


def test_blocked_state_gradients_refuse_the_mixed_part_alone():
    agent, obs = agent_of([BlockedState(5, 3, nn.SiLU)]), normal(4, 5).float().double()
    H = hessian_products(agent, obs)
    for call in (
        lambda: H.mixed(normal(2, 4, 5)),
        lambda: H.at(slice(2)).mixed_transposed(normal(2, 2, 3)),
        lambda: spectral_norms(H),
        lambda: squared_frobenius(H, "mixed"),
    ):
        with pytest.raises(GradlabError, match="no gradient reaches the state"):
            call()
    assert H.action(normal(2, 4, 3)).any()
    exact, free = (sensitivity(agent, obs, matrices=matrices) for matrices in (True, False))
    assert free.refused == exact.refused != ""
    assert free.mixed_partial.isnan().all()
    assert free.ratio.isnan().all()
    torch.testing.assert_close(free.curvature, exact.curvature.double(), rtol=1e-5, atol=1e-5)
    # Differences see what the graph does not.
    assert hessian_products(agent, obs, None, 1e-3).mixed(normal(2, 4, 5)).any()


def test_states_of_a_batch_that_interact_are_refused():
    class Relative(nn.Module):
        def forward(self, obs, act):
            return ((act - act.mean(0)) * obs[:, :3]).sum(-1).sin()

    for call in (
        lambda: hessian_products(agent_of([Relative()]), normal(4, 5)),
        lambda: smoothed_second_derivatives(agent_of([Relative()]), normal(4, 5), 0.1),
    ):
        with pytest.raises(GradlabError, match="states of a batch interact"):
            call()


def test_a_critic_without_action_gives_zeros():
    obs = normal(4, 5).float().double()

    class NoAction(nn.Module):
        def forward(self, obs, act):
            return obs.sum(-1)

    H = hessian_products(agent_of([NoAction()]), obs)
    assert not H.action(normal(2, 4, 3)).any()
    assert not H.mixed(normal(2, 4, 5)).any()


def test_batch_normalisation_is_taken_in_evaluation_mode():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.norm, self.outer = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 1)
            nn.init.normal_(self.norm.running_mean, generator=generator)

        def forward(self, obs, act):
            return self.outer(self.norm(self.inner(torch.cat([obs, act], -1))).tanh())

    generator = torch.Generator().manual_seed(0)
    critic = Normalised()
    agent, obs = agent_of([critic]), normal(6, 5).float()
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    v = normal(2, 6, 3)
    found = hessian_products(agent, obs).action(v)
    assert all(torch.equal(before[name], value) for name, value in critic.state_dict().items())
    critic.eval()
    action, _ = blocks(agent, obs)
    torch.testing.assert_close(found, torch.einsum("bij,kbj->kbi", action, v))
    critic.train()


def test_the_zero_vector_has_the_zero_product():
    H = hessian_products(agent_of(CRITICS["SiLU"]), normal(4, 5), scale=0.1)
    assert not H.action(torch.zeros(1, 4, 3)).any()


def test_the_live_agent_is_untouched():
    agent, obs = agent_of([Net(5, 3, nn.SiLU)]), normal(4, 5).float().double()
    agent.critics[0].train()
    before = torch.random.get_rng_state()
    hessian_products(agent, obs).action(normal(2, 4, 3))
    assert torch.equal(before, torch.random.get_rng_state())
    assert agent.critics[0].training
    assert all(p.grad is None and p.dtype == torch.float32 for p in agent.critics[0].parameters())


def test_wrong_input_is_refused_in_one_line():
    agent, obs = agent_of(CRITICS["SiLU"]), normal(4, 5).float().double()

    class Diverged(nn.Module):
        def forward(self, obs, act):
            return act.sum(-1) * math.nan

    class Corner(nn.Module):
        def forward(self, obs, act):
            return (act - act.detach()).abs().pow(1.5).sum(-1)

    discrete = Agent(nn.Linear(5, 3), [nn.Bilinear(5, 3, 1)], [0.0] * 3, [1.0] * 3, policy=Softmax())
    for match, call in [
        ("discrete", lambda: hessian_products(discrete, obs)),
        (r"piecewise linear.*scale=", lambda: hessian_products(agent_of([Net(5, 3, nn.ReLU)]), obs)),
        ("scale: -1", lambda: hessian_products(agent, obs, scale=-1)),
        ("scale: nan", lambda: hessian_products(agent, obs, scale=math.nan)),
        ("act: shape", lambda: hessian_products(agent, obs, torch.zeros(4, 2))),
        ("act: NaN", lambda: hessian_products(agent, obs, torch.full((4, 3), math.nan))),
        ("obs_scale", lambda: hessian_products(agent, obs, scale=0.1, obs_scale=torch.zeros(5))),
        ("critics, numbered", lambda: hessian_products(agent, obs, critic=3)),
        ("diverged", lambda: hessian_products(agent_of([Diverged()]), obs)),
        (r"state\(s\) \[0, 1, 2, 3\]", lambda: hessian_products(agent_of([Corner()]), obs).action(normal(1, 4, 3))),
        ("vectors: shape", lambda: hessian_products(agent, obs).action(torch.zeros(4, 3))),
        ("vectors: shape", lambda: hessian_products(agent, obs).mixed(torch.zeros(1, 4, 3))),
        ("square", lambda: matrix_products(torch.zeros(2, 3))),
        ("mixed: shape", lambda: matrix_products(torch.zeros(1, 3, 3), torch.zeros(1, 2, 3))),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
