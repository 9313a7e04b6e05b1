"""Smoothed references know of jumps what their draws saw of them, and add nothing where there are none."""

from __future__ import annotations

import math
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy import stats
from torch import nn

from gradlab.agent import Agent
from gradlab.references.jumps import deviations
from gradlab.references.orthogonal import orthogonal_directions
from gradlab.references.smoothed import SmoothedSimulatorReference
from gradlab.simulation import Simulator


def found_out(q, size: int, draws: int = 8, *, lengths=None):
    """Deviation and jump of q: [..., p] → [...] about zero, at three states with directions of their own."""
    generator = torch.Generator().manual_seed(size)
    directions = torch.stack([orthogonal_directions(draws, size, generator)[0].flatten(0, 1) for _ in range(3)], 1)

    def rollouts(act):
        value = q(act)
        length = torch.ones_like(value).long() if lengths is None else lengths(act)
        return SimpleNamespace(value=value, length=length, terminated=torch.zeros_like(value).bool())

    moved = torch.stack([0.5 * directions, -0.5 * directions])
    return deviations(0 * directions, directions, 0.5, rollouts(moved), lambda act, pair, state: rollouts(act))


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize(
    ("q", "jumps"),
    [
        (lambda act: act.sum(-1), False),
        (lambda act: act.sum(-1) + 4 * (act**3).sum(-1), False),
        (lambda act: (3 * act[..., 0]).sin() + act.exp().sum(-1), False),
        (lambda act: 0 * act[..., 0], False),
        (lambda act: (act[..., 0] > 0.1).double(), True),
        (lambda act: (4 * act[..., 0]).floor(), True),
        (lambda act: 5 * act.sum(-1) + 8.0 * (act[..., 0] > 0.6), True),
    ],
)
def test_jumps_are_told_from_slopes_and_bends(q, jumps, size):
    height, found = found_out(q, size, 16)
    assert found.tolist() == [jumps] * 3
    assert (height >= 0).all()


def test_a_linear_return_deviates_by_nothing_and_a_step_by_about_its_height():
    height, _ = found_out(lambda act: act @ torch.tensor([3.0, -1.0]).double(), 2)
    assert (height < 1e-12).all()
    height, _ = found_out(lambda act: 7.0 * (act[..., 0] > 0.5).double(), 1)
    assert ((height > 3.5) & (height <= 7.0)).all()


def test_rollouts_of_different_lengths_are_jumps_without_looking_further():
    _, found = found_out(lambda act: act.sum(-1), 1, lengths=lambda act: (act[..., 0] > 0).long())
    assert found.all()


def reference(q, size: int, times: int, radius: float, draws: int):
    """So many independent references of an environment that pays q(a) once."""

    class Decision(gymnasium.Env):
        observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        action_space = spaces.Box(-20, 20, (size,), np.float64)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(1), {}

        def step(self, action):
            return np.zeros(1), float(q(np.asarray(action, dtype=np.float64))), False, False, {}

    actor = nn.Linear(1, size, dtype=torch.float64)
    nn.init.zeros_(actor.weight)
    nn.init.zeros_(actor.bias)
    simulator = Simulator(Decision)
    agent = Agent(actor, [], [-20] * size, [20] * size, 1.0)
    states = simulator.visit(agent, 1, seed=0, episodes=1, max_steps=1)[[0] * times]
    return SmoothedSimulatorReference(simulator, radius, horizon=1, draws=draws, seed=41).cotangent(agent, states)


def held(found, truth) -> float:
    reach = float(stats.t.ppf(0.975, found.samples - 1))
    return float(((found.mean - truth).abs() <= reach * found.stderr).double().mean())


def test_states_that_missed_a_high_jump_allow_for_the_one_that_others_met():
    # A jump of 1 that every pair meets, and one of 20 that two states in five never do.
    radius, far, high = 0.5, 2.5, 20.0
    found = reference(lambda act: float(act[0] > 0) + high * float(act[0] > far * radius), 1, 80, radius, 4)
    truth = (1 + high * math.exp(-(far**2) / 2)) / math.sqrt(2 * math.pi) / radius
    missed = found.mean[:, 0] < 1.0
    assert 0.2 < float(missed.double().mean()) < 0.7
    assert held(found, truth) > 0.95


def test_the_standard_error_of_a_smooth_return_is_the_draws_own():
    slope = np.array([2.0, -1.0])
    found = reference(lambda act: float(slope @ act - act @ act), 2, 60, 0.3, 16)
    error = found.mean - torch.from_numpy(slope)
    ratio = (found.stderr.square().mean(0) / error.square().mean(0)).sqrt()
    # Of 60 repetitions with long tails; an allowance for jumps made it four to six.
    assert ((ratio > 0.6) & (ratio < 1.7)).all()
    assert held(found, torch.from_numpy(slope)) > 0.8
