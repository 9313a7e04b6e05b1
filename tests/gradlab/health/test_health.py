"""Saturation, movement and the replay's fit, against what is known of them in closed form or by going slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import gradlab
from gradlab.errors import GradlabError
from gradlab.experience import Transitions
from gradlab.health import action_distance, change, novel_share, residuals, saturation
from gradlab.health.replay import CHANCE
from gradlab.policies import SquashedGaussian


class Slope(nn.Module):
    """Q = slope · a, whatever the state."""

    def __init__(self, *slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))

    def forward(self, obs, act):
        return act @ self.slope


def squashed(weight: float, critic: nn.Module, size: int = 1) -> gradlab.Agent:
    actor = nn.Sequential(nn.Linear(size, size), nn.Tanh()).double()
    with torch.no_grad():
        actor[0].weight.copy_(weight * torch.eye(size))
        actor[0].bias.zero_()
    return gradlab.Agent(actor, [critic], [-1.0] * size, [1.0] * size)


def test_the_slope_of_a_tanh_is_measured():
    obs = torch.linspace(-6, 6, 25, dtype=torch.float64)[:, None]
    found = saturation(squashed(1.0, Slope(1.0)), obs)
    assert found.measured
    torch.testing.assert_close(found.slope, 1 - obs.tanh().square())
    assert found.saturated.flatten().tolist() == (obs.tanh().square() > 0.99).flatten().tolist()
    # The critic wants more everywhere: below it is asked back inside, above it is not.
    assert found.stuck.flatten().tolist() == (found.saturated & (obs < 0)).flatten().tolist()


def test_what_passes_is_the_gradients_share():
    obs = torch.tensor([[0.0, 3.0], [1.0, -3.0]], dtype=torch.float64)
    critic = Slope(2.0, -5.0)
    found = saturation(squashed(1.0, critic, 2), obs).estimates()["passed"]
    slope = 1 - obs.tanh().square()
    size = torch.tensor([2.0, 5.0], dtype=torch.float64)
    assert found.value == pytest.approx(float((slope * size).sum() / (2 * size.sum())))


def test_an_actor_that_leaves_its_squash_is_not_saturated():
    # A negative control: the same actions, at the bounds, without anything that flattens there.
    actor = nn.Linear(1, 1).double()
    with torch.no_grad():
        actor.weight.fill_(0.0), actor.bias.fill_(1.0)
    agent = gradlab.Agent(actor, [Slope(1.0)], [-1.0], [1.0])
    found = saturation(agent, torch.zeros(4, 1, dtype=torch.float64))
    assert not found.saturated.any()
    assert saturation(squashed(9.0, Slope(1.0)), torch.ones(4, 1, dtype=torch.float64)).saturated.all()


def test_a_box_of_another_size_and_a_gaussian_are_measured_in_its_units():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(1, 1).double()

        def forward(self, obs):
            return 3 * torch.tanh(self.inner(obs))

    agent = gradlab.Agent(Scaled(), [Slope(1.0)], [-3.0], [3.0])
    obs = torch.randn(16, 1, dtype=torch.float64)
    place = agent.action(obs) / 3
    torch.testing.assert_close(saturation(agent, obs).slope, 1 - place.square().detach())

    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mu, self.log_std = nn.Linear(1, 1).double(), nn.Linear(1, 1).double()

        def forward(self, obs):
            return torch.cat([self.mu(obs), self.log_std(obs)], -1)

    agent = gradlab.Agent(TwoHeads(), [Slope(1.0)], [-1.0], [1.0], policy=SquashedGaussian())
    found = saturation(agent, obs)
    assert found.measured
    torch.testing.assert_close(found.slope, 1 - agent.action(obs).square().detach())


def test_without_a_layer_it_is_judged_by_the_place():
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, obs):
            return torch.tanh(self.weight * obs)

    obs = torch.tensor([[0.5], [4.0]], dtype=torch.float64)
    found = saturation(gradlab.Agent(Bare(), [Slope(1.0)], [-1.0], [1.0]), obs)
    assert not found.measured
    assert found.saturated.flatten().tolist() == [False, True]


def test_no_hook_stays_on_the_actor():
    agent = squashed(1.0, Slope(1.0))
    saturation(agent, torch.zeros(2, 1, dtype=torch.float64))
    assert not any(one._forward_hooks for one in agent.actor.modules())


def test_change_is_relative_and_exact():
    before = [torch.randn(5, 3), torch.randn(3)]
    now = [one + 0.1 * torch.randn_like(one) for one in before]
    flat = [np.concatenate([one.double().numpy().ravel() for one in part]) for part in (before, now)]
    expected = np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0])
    assert change(before, now).value == pytest.approx(expected, rel=1e-6)
    assert change(before, before).interval() == (0.0, 0.0)
    with pytest.raises(GradlabError, match="other shapes"):
        change(before, now[:1])


def test_states_of_the_same_kind_are_novel_by_chance_and_others_are():
    g = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(40):
        replay, same = torch.randn(256, 5, generator=g), torch.randn(64, 5, generator=g)
        shares.append(novel_share(same, replay).value)
    mean, error = np.mean(shares), np.std(shares) / math.sqrt(len(shares))
    # A visited state has one neighbour more to choose from than the replay's own have among each other.
    assert abs(mean - CHANCE) < 4 * error + 0.005
    assert novel_share(torch.randn(64, 5, generator=g) * 4, replay).value > 0.5
    # Units do not matter, and a coordinate that never changes is no trouble.
    units = torch.tensor([1e3, 1.0, 1e-3, 0.0, 1.0])
    assert novel_share(same * units, replay * units).value < 0.3
    with pytest.raises(GradlabError, match="give at least 16"):
        novel_share(same[:3], replay)


def test_the_error_is_the_temporal_differences():
    torch.manual_seed(0)

    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 1).double()

        def forward(self, obs, act):
            return self.inner(torch.cat([obs, act], -1)).squeeze(-1)

    critics, targets = [Critic(), Critic()], [Critic(), Critic()]
    actor = nn.Sequential(nn.Linear(2, 1), nn.Tanh()).double()
    agent = gradlab.Agent(actor, critics, [-1.0], [1.0], 0.9, target_critics=targets)
    obs, act, following = (torch.randn(7, n, dtype=torch.float64) for n in (2, 1, 2))
    reward, ended = torch.randn(7, dtype=torch.float64), torch.arange(7) % 3 == 0
    found = residuals(agent, Transitions(obs, act, reward, following, ended))
    for parameter in (p for part in (actor, *critics, *targets) for p in part.parameters()):
        parameter.requires_grad_(False)
    for i in range(7):
        last, one = following[i : i + 1], actor(following[i : i + 1])
        after = min(float(target(last, one)) for target in targets)
        expected = (
            float(reward[i]) + (0.0 if ended[i] else 0.9 * after) - float(critics[0](obs[i : i + 1], act[i : i + 1]))
        )
        assert float(found[i]) == pytest.approx(expected)
    near = Transitions(obs, actor(obs).detach(), reward, following, ended)
    assert float(action_distance(agent, near).max()) == pytest.approx(0.0, abs=1e-12)


def test_steps_that_do_not_fit_are_refused():
    one = torch.ones(3)
    with pytest.raises(GradlabError, match="one of each a step"):
        Transitions(one[:, None], one[:2, None], one, one[:, None], one.bool())
