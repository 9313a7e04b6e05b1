"""Environments that draw random numbers are averaged over them, under common random numbers for what is differenced."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.references import SimulatorReference
from gradlab.simulation import Simulator
from gradlab.simulation.reseeding import reseeded
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic

A, B, K = [[0.9, 0.2], [-0.1, 0.8]], [[0.5], [1.0]], [[0.2, 0.3]]
W = [[0.3, 0.1], [0.1, 0.2]]


@pytest.mark.parametrize("std", [0.0, 0.4])
def test_the_noisy_regulators_gradient_and_value_are_covered(std):
    world = LinearQuadratic(A, B, np.eye(2), 0.1, 0.9, K, noise=W, policy_std=std, horizon=6)
    simulator = Simulator(lambda: LinearQuadraticEnvironment(world, action_bound=50.0))
    assert simulator.random
    agent = world.agent(action_bound=50.0)
    scores, values = [], []
    for seed in range(4):
        reference = SimulatorReference(simulator, horizon=6, noise_seeds=24, seed=seed)
        states = simulator.visit(agent, 8, seed=seed, episodes=4, max_steps=6)
        found = reference.cotangent(agent, states)
        assert found.valid.all()
        assert found.samples == 24
        mean = world.action_gradient(states.obs, states.obs @ -world.K.T)
        if std:
            curvature = std**2 * torch.diagonal(world.hessians(torch.zeros(2), torch.zeros(1)).action)
            mean = torch.cat([mean, curvature.expand_as(mean)], -1)
        scores.append((found.mean - mean) / found.stderr)
        value = reference.values(agent, states)
        assert value.samples == 24
        values.append((value.mean - world.state_value(states.obs)) / value.stderr)
    for z in (torch.stack(scores), torch.stack(values)):
        # Student's t of 23 degrees leaves ±2.069 in 5 %; 32 states.
        assert z.abs().max() < 5.5
        assert (z.abs() > 2.069).double().mean() <= 0.05 + 3.5 * math.sqrt(0.05 * 0.95 / 32)
        assert 0.4 < z.square().mean() < 2.2


def test_what_is_differenced_shares_its_noise_and_a_seed_repeats_it():
    """Without common random numbers a step of 1e-7 of the range would give differences of about 1e6."""
    world = LinearQuadratic(A, B, np.eye(2), 0.1, 0.9, K, noise=W, horizon=5)
    reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world), horizon=5, noise_seeds=4, seed=1)
    agent = world.agent()
    states = reference.simulator.visit(agent, 3, seed=0, episodes=2, max_steps=5)
    found = reference.cotangent(agent, states)
    assert (found.diagnostics["disagreement"] < 1e-6).all()
    again = reference.cotangent(agent, states)
    assert torch.equal(found.mean, again.mean)
    other = SimulatorReference(reference.simulator, horizon=5, noise_seeds=4, seed=2).cotangent(agent, states)
    assert not torch.equal(found.mean, other.mean)


def test_reseeded_states_are_the_same_but_for_their_random_numbers():
    world = LinearQuadratic(A, B, np.eye(2), 0.1, 0.9, K, noise=W, horizon=5)
    simulator = Simulator(lambda: LinearQuadraticEnvironment(world))
    agent = world.agent()
    states = simulator.visit(agent, 2, seed=0, episodes=2, max_steps=5)
    act = states.obs @ -world.K.T
    before = simulator.returns(agent, states, act, horizon=5)
    there = reseeded(simulator, states[[0, 0, 1]], [3, 4, 3])
    first = simulator.returns(agent, there, act[[0, 0, 1]], horizon=1)
    torch.testing.assert_close(first, simulator.returns(agent, states, act, horizon=1)[[0, 0, 1]])
    long = simulator.returns(agent, there, act[[0, 0, 1]], horizon=5)
    assert long[0] != long[1]
    assert torch.equal(before, simulator.returns(agent, states, act, horizon=5))


class Box:
    """Holds a generator where one has to look for it."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)


class Deep(gymnasium.Env):
    """Draws nothing from its own generator in a step."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.boxes = 0.0, {"one": [Box(int(self.np_random.integers(1 << 30)))]}
        return np.array([self.x]), {}

    def step(self, action):
        self.x = 0.9 * self.x + float(action[0]) + self.draw()
        return np.array([self.x]), -(self.x**2), False, False, {}

    def draw(self):
        return self.boxes["one"][0].rng.normal()


class Ahead(Deep):
    """Draws while it steps, but lives on numbers that were drawn at the reset."""

    def reset(self, *, seed=None, options=None):
        out = super().reset(seed=seed)
        self.drawn = self.np_random.normal(size=500).tolist()
        return out

    def draw(self):
        super().draw()
        return self.drawn.pop()


def test_generators_inside_other_objects_are_found():
    simulator = Simulator(Deep)
    assert simulator.random
    reference = SimulatorReference(simulator, horizon=2, noise_seeds=64)
    agent = Agent(nn.Linear(1, 1, dtype=torch.float64), [], [-1], [1], 0.5)
    nn.init.zeros_(agent.actor.weight)
    nn.init.constant_(agent.actor.bias, 0.25)
    states = simulator.visit(agent, 3, seed=0, episodes=1, max_steps=4)
    found = reference.cotangent(agent, states)
    # x₁ = 0.9x + a + w₀ and x₂ = 0.9x₁ + 1/4 + w₁, for −x₁² − x₂²/2.
    first = 0.9 * states.obs + 0.25
    truth = -2 * first - 0.9 * (0.9 * first + 0.25)
    assert ((found.mean - truth).abs() <= 4.5 * found.stderr).all()
    assert (found.stderr < 0.6).all()


def test_random_numbers_that_no_seed_reaches_are_refused_in_one_line():
    simulator = Simulator(Ahead)
    assert simulator.random
    with pytest.raises(GradlabError, match="cannot be begun from a seed at a state") as caught:
        SimulatorReference(simulator)
    assert "\n" not in str(caught.value)
