"""Plateaus of finite differences: on smooth critics the exact derivatives, on kinked ones none."""

import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.hessians import second_derivatives, step_plateau
from gradlab.worlds import LinearQuadratic


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


class Net(nn.Module):
    def __init__(self, activation, obs=5, act=3, width=32, norm=False):
        super().__init__()
        layers = [nn.Linear(obs + act, width), activation(), nn.Linear(width, width), activation()]
        if norm:
            layers.insert(1, nn.LayerNorm(width))
        self.net = nn.Sequential(*layers, nn.Linear(width, 1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.4, generator=generator(1))

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def agent_of(critic, obs=5, act=3):
    actor = nn.Linear(obs, act)
    nn.init.normal_(actor.weight, std=0.1, generator=generator(2))
    nn.init.zeros_(actor.bias)
    return Agent(actor, [critic], [-1.0] * act, [1.0] * act)


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Tanh])
def test_a_smooth_critic_has_a_plateau_at_its_exact_derivatives(activation):
    agent, obs = agent_of(Net(activation)), normal(60, 5).float().double()  # as the agent takes them
    double = agent.snapshot(double=True)
    action, mixed, _ = second_derivatives(double, obs, double.action(obs).detach())
    M, mu = torch.linalg.matrix_norm(mixed, ord=2), -torch.linalg.eigvalsh(action)[:, -1]
    used = []
    for tolerance in (1e-2, 1e-4, 1e-6):
        found = step_plateau(agent, obs, tolerance=tolerance)
        assert found.found.all()
        assert found.reason == ""
        assert not found.local.any()
        assert found.share.value == 1
        size = torch.linalg.matrix_norm(action, ord=2)
        assert ((found.mixed_partial - M).abs() <= tolerance * M).all()
        assert ((found.curvature - mu).abs() <= tolerance * size).all()
        # The errors are estimates: of nearly all states, and of none by far.
        for value, error, truth in (
            (found.mixed_partial, found.mixed_partial_error, M),
            (found.curvature, found.curvature_error, mu),
        ):
            assert ((value - truth).abs() <= error).double().mean() >= 0.95
            assert ((value - truth).abs() <= 5 * error).all()
        used.append(found.scale.max().item())
    assert used == sorted(used, reverse=True)
    assert used[-1] < used[0]


def test_what_was_looked_at_is_kept():
    agent, obs = agent_of(Net(nn.SiLU)), normal(6, 5).float().double()
    found = step_plateau(agent, obs, tolerance=1e-5, longest=0.4)
    double = agent.snapshot(double=True)
    act = double.action(obs).detach()
    assert found.ladder.tolist() == pytest.approx([0.4 * 0.5**k for k in range(len(found.ladder))])
    for k, step in enumerate(found.ladder.tolist()):
        action, mixed, _ = second_derivatives(double, obs, act, step)
        seen = ~found.curvature_at[k].isnan()
        assert torch.equal(seen, found.scale <= step)
        torch.testing.assert_close(found.curvature_at[k][seen], -torch.linalg.eigvalsh(action)[seen, -1])
        torch.testing.assert_close(found.mixed_partial_at[k][seen], torch.linalg.matrix_norm(mixed, ord=2)[seen])
    # Richardson's value, from the last two steps of each state.
    for b in range(6):
        rows = found.mixed_partial_at[:, b][~found.mixed_partial_at[:, b].isnan()]
        assert found.mixed_partial[b].item() == pytest.approx(((4 * rows[-1] - rows[-2]) / 3).item(), rel=1e-12)
        assert ((rows[-1] - rows[-2]).abs() <= 1e-5 * rows[-1] * (1 + 1e-6)).all()
    stated = second_derivatives(double, obs, act, 0.1)
    torch.testing.assert_close(found.stated.action, stated.action)
    torch.testing.assert_close(found.stated.mixed, stated.mixed)


def test_a_relu_critic_has_none_and_says_so():
    agent, obs = agent_of(Net(nn.ReLU)), normal(20, 5).float().double()
    found = step_plateau(agent, obs, scale=0.05)
    assert found.piecewise_linear
    assert not found.found.any()
    assert "piecewise linear" in found.reason
    assert "0.05" in found.reason
    assert "\n" not in found.reason
    for numbers in (found.mixed_partial, found.curvature, found.ratio, found.scale, found.curvature_error):
        assert numbers.isnan().all()
    double = agent.snapshot(double=True)
    stated = second_derivatives(double, obs, double.action(obs).detach(), 0.05)
    torch.testing.assert_close(found.stated.action, stated.action)
    assert stated.action.abs().max() > 0
    assert not found.mixed_partial_at.isnan().any()


class Ramp(nn.Module):
    """A kink at a distance from a smooth bowl: −a² − |a − d|, d = s."""

    def forward(self, obs, act):
        return -act[:, 0].square() - (act[:, 0] - obs[:, 0]).abs() + 0.5 * obs[:, 0] * act[:, 0]


def test_a_kink_ends_the_plateau_where_steps_reach_it():
    """Beside a kink at distance d the derivative exists, at steps below d; on it there is none."""
    distance = torch.tensor([[0.0], [0.013], [5.0]], dtype=torch.float64)
    found = step_plateau(agent_of(Ramp(), 1, 1), distance, act=torch.zeros(3, 1), obs_scale=[1.0])
    assert found.found.tolist() == [False, True, True]
    assert not found.piecewise_linear
    assert 4 * found.scale[1] <= 4 * 0.013
    assert found.local.tolist() == [False, True, False]
    assert found.curvature[1:].tolist() == pytest.approx([2.0, 2.0], abs=1e-8)
    assert found.mixed_partial[1:].tolist() == pytest.approx([0.5, 0.5], abs=1e-8)
    assert "no plateau in 1 of 3 states" in found.reason
    assert "in 1 of 3 states the plateau is local" in found.reason
    # At the kink differences grow as the inverse of the step.
    rows = found.curvature_at[:, 0]
    assert rows.tolist() == pytest.approx([2 + 1 / step for step in found.ladder.tolist()], rel=1e-6)


def test_kinks_between_smooth_pieces_are_said_to_shorten_the_plateaus():
    found = step_plateau(agent_of(Net(nn.ReLU, norm=True)), normal(30, 5))
    assert not found.piecewise_linear
    assert (found.local | ~found.found).double().mean() > 0.8
    assert "plateau is local" in found.reason


def test_a_regulator_has_its_plateau_at_once():
    eye = torch.eye(4, dtype=torch.float64)
    B = 0.3 * normal(4, 2)
    world = LinearQuadratic(A=0.25 * normal(4, 4, seed=1), B=B, Q=eye, R=0.1 * eye[:2, :2], gamma=0.9, K=0.1 * B.mT)
    found = step_plateau(world.agent(), normal(5, 4, seed=2), tolerance=1e-9)
    assert found.scale.tolist() == [0.05] * 5
    assert found.ratio.tolist() == pytest.approx([world.sensitivity_ratio()] * 5, rel=1e-9)
    assert found.curvature_error.max() < 1e-9


def test_a_critic_linear_in_the_action_has_a_plateau_at_zero():
    class Linear(nn.Module):
        def forward(self, obs, act):
            return act.sum(-1) + obs[:, 0] ** 2

    found = step_plateau(agent_of(Linear()), normal(4, 5))
    assert found.found.all()
    assert found.mixed_partial.tolist() == pytest.approx([0.0] * 4, abs=1e-12)
    assert found.ratio.isnan().all()


def test_steps_that_leave_the_critics_domain_are_passed_over():
    class Edge(nn.Module):
        def forward(self, obs, act):
            return (1.1 - act[:, 0].square()).sqrt() + obs[:, 0] * act[:, 0]

    found = step_plateau(agent_of(Edge(), 1, 1), torch.zeros(1, 1), act=torch.full((1, 1), 0.9), scale=0.01)
    assert found.curvature_at[0].isnan().all()
    assert found.curvature.item() == pytest.approx(1.1 / 0.29**1.5, rel=1e-4)


def test_chunks_of_states_change_nothing(monkeypatch):
    agent, obs = agent_of(Net(nn.SiLU)), normal(10, 5)
    whole = step_plateau(agent, obs)
    monkeypatch.setattr("gradlab.hessians.plateau._NUMBERS", 2 * 64 * 3)
    torch.testing.assert_close(step_plateau(agent, obs).curvature, whole.curvature)


def test_wrong_input_is_refused_in_one_line():
    agent, obs = agent_of(Net(nn.SiLU)), normal(2, 5)

    class Diverged(nn.Module):
        def forward(self, obs, act):
            return act.sum(-1) * math.nan

    for match, call in [
        ("scale: 0", lambda: step_plateau(agent, obs, scale=0)),
        ("tolerance: -1", lambda: step_plateau(agent, obs, tolerance=-1)),
        ("longest: nan", lambda: step_plateau(agent, obs, longest=math.nan)),
        ("steps: 2", lambda: step_plateau(agent, obs, steps=2)),
        ("act: shape", lambda: step_plateau(agent, obs, act=torch.zeros(2, 2))),
        ("diverged", lambda: step_plateau(agent_of(Diverged()), obs)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
