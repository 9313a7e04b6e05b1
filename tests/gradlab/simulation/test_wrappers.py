"""Wrappers are honoured to the last bit, one way or another, or refused by their names."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces, wrappers
from stable_baselines3.common.monitor import Monitor
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Softmax
from gradlab.references import SimulatorReference
from gradlab.simulation import Simulator
from gradlab.simulation.environments import make
from gradlab.simulation.lanes.agreement import random_actions
from gradlab.simulation.lanes.copied import CopiedLanes
from gradlab.simulation.lanes.wrapped import WrappedLanes

Wrap = Callable[[Any], Any]


class Halved(gymnasium.ObservationWrapper):
    """One's own wrapper of observations, which also shortens them."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), env.observation_space.dtype)

    def observation(self, observation):
        return observation[:2] / 2


class Shaped(gymnasium.RewardWrapper):
    """One's own wrapper of rewards, which needs a number, not an array."""

    def reward(self, reward):
        return reward**2 if reward < 0 else float(reward) + 1


class Turned(gymnasium.ActionWrapper):
    """One's own wrapper of actions."""

    def action(self, action):
        return -0.5 * action[::-1]


def normalised(env):
    wrapped = wrappers.NormalizeObservation(env)
    size = env.observation_space.shape[0]
    wrapped.obs_rms.mean, wrapped.obs_rms.var = np.linspace(-1, 1, size), np.linspace(0.5, 2, size)
    wrapped.update_running_mean = False
    return wrapped


def paid_in_units(env):
    wrapped = wrappers.NormalizeReward(env, gamma=0.9)
    wrapped.return_rms.var = np.float64(3.7)
    wrapped.update_running_mean = False
    return wrapped


def several(env):
    env = wrappers.RescaleAction(env, -0.3, 0.7)
    env = wrappers.TransformObservation(env, lambda obs: np.tanh(obs), None)
    env = wrappers.RecordEpisodeStatistics(env)
    env = wrappers.ClipReward(normalised(env), -0.6, 2.0)
    return wrappers.TransformReward(env, lambda reward: reward**2 if reward < 0 else float(reward) + 1)


FUNCTIONS: dict[str, tuple[str, Wrap]] = {
    "rescaled observation": (
        "Pendulum-v1",
        lambda env: wrappers.RescaleObservation(env, np.float32([-2, -1, 0]), np.float32([1, 0, 9])),
    ),
    "transformed observation": (
        "Reacher-v5",
        lambda env: wrappers.TransformObservation(env, lambda obs: np.sin(obs).astype(np.float32), None),
    ),
    "flat observation": ("Pendulum-v1", wrappers.FlattenObservation),
    "reshaped observation": (
        "Reacher-v5",
        lambda env: wrappers.FlattenObservation(wrappers.ReshapeObservation(env, (2, 5))),
    ),
    "another type of observation": ("Reacher-v5", lambda env: wrappers.DtypeObservation(env, np.float32)),
    "frozen normalisation of observations": ("Hopper-v5", normalised),
    "frozen normalisation of rewards": ("Hopper-v5", paid_in_units),
    "transformed reward": ("Reacher-v5", lambda env: wrappers.TransformReward(env, lambda reward: 3 * reward - 1)),
    "clipped reward": ("Reacher-v5", lambda env: wrappers.ClipReward(env, -0.3, 0.2)),
    "clipped action": ("HalfCheetah-v5", wrappers.ClipAction),
    "rescaled action": ("Pendulum-v1", lambda env: wrappers.RescaleAction(env, -1, 1)),
    "a reward for discrete actions": ("CartPole-v1", lambda env: wrappers.TransformReward(env, lambda r: r / 7)),
    "several": ("Reacher-v5", several),
}

KEPT: dict[str, tuple[str, Wrap]] = {
    "stacked frames": ("Pendulum-v1", lambda env: wrappers.FlattenObservation(wrappers.FrameStackObservation(env, 3))),
    "counted steps": ("Reacher-v5", wrappers.TimeAwareObservation),
    "delayed observations": ("Reacher-v5", lambda env: wrappers.DelayObservation(env, 2)),
    "repeated actions": ("Pendulum-v1", lambda env: wrappers.RepeatAction(env, 3)),
    "one's own observation": ("Reacher-v5", Halved),
    "one's own reward": ("Hopper-v5", Shaped),
    "one's own action": ("Reacher-v5", Turned),
    "chosen among levels": ("Reacher-v5", lambda env: wrappers.DiscretizeAction(env, 5)),
}


def lead(simulator: Simulator, kind: str, wrap: Wrap, steps: int = 60) -> None:
    """Two lanes against the wrapped environment's own step, to the last bit: from reset and from a pickled middle."""
    lanes, space = simulator._lanes, simulator._env.action_space
    acts = random_actions(space, (steps,))
    paths = []
    for seed in (5, 6):
        # The environment as its user has it, with its time limit and its checker.
        env = wrap(gymnasium.make(kind))
        path = [(env.reset(seed=seed)[0], 0.0, False)]
        path += [env.step(act)[:3] for act in (acts if seed == 5 else acts[::-1])]
        paths.append(path)
    both = np.array([True, True])
    obs = lanes.reset([5, 6])
    for lane in range(2):
        np.testing.assert_array_equal(obs[lane], paths[lane][0][0])
    middle: list[Any] = []
    for t in range(steps):
        if t == steps // 2:
            middle = pickle.loads(pickle.dumps([lanes.capture(0), lanes.capture(1)]))
        outcome = lanes.step(np.stack([acts[t], acts[steps - 1 - t]]), both)
        for lane in range(2):
            for ours, theirs in zip(outcome, paths[lane][t + 1], strict=True):
                np.testing.assert_array_equal(ours[lane], theirs)
    lanes.load(middle[::-1])
    for t in range(steps // 2, steps):
        # The second path, now in the first lane, stands still.
        outcome = lanes.step(np.stack([acts[t], acts[t]]), np.array([False, True]))
        for ours, theirs in zip(outcome, paths[0][t + 1], strict=True):
            np.testing.assert_array_equal(ours[1], theirs)
            assert not np.any(ours[0])


@pytest.mark.parametrize("case", FUNCTIONS)
def test_functions_of_a_step_are_applied_to_the_lanes_to_the_last_bit(case):
    kind, wrap = FUNCTIONS[case]
    simulator = Simulator(lambda: wrap(gymnasium.make(kind)))
    assert isinstance(simulator._lanes, WrappedLanes)
    assert "to the last bit" in simulator._lanes.promise
    assert simulator.honoured
    assert "RecordEpisodeStatistics" not in simulator.honoured
    assert simulator.time_limit == gymnasium.spec(kind).max_episode_steps
    lead(simulator, kind, wrap)


@pytest.mark.parametrize("case", KEPT)
def test_wrappers_that_keep_state_are_part_of_the_state(case):
    kind, wrap = KEPT[case]
    simulator = Simulator(lambda: wrap(gymnasium.make(kind)))
    assert isinstance(simulator._lanes, CopiedLanes)
    lead(simulator, kind, wrap, steps=30)


def test_names_are_told_and_limits_counted_as_the_agent_counts_them():
    assert Simulator("Pendulum-v1").honoured == ()
    assert Simulator(lambda: Monitor(gymnasium.make("Pendulum-v1"))).honoured == ()
    made = make(lambda: several(gymnasium.make("Reacher-v5")))
    assert made.stack.names == (
        "RescaleAction",
        "TransformObservation",
        "NormalizeObservation",
        "ClipReward",
        "TransformReward",
    )
    repeated = make(lambda: wrappers.RepeatAction(gymnasium.make("Pendulum-v1"), 3))
    assert repeated.time_limit == 67
    outside = make(lambda: wrappers.TimeLimit(wrappers.RepeatAction(gymnasium.make("Pendulum-v1").unwrapped, 3), 40))
    assert outside.time_limit == 40


def test_rounded_observations_are_known_whatever_wrapper_follows():
    double = {
        "as it is": lambda env: env,
        "scaled": lambda env: wrappers.TransformObservation(env, lambda obs: 2 * obs, None),
        "rounded": lambda env: wrappers.DtypeObservation(env, np.float32),
        "rounded and widened": lambda env: wrappers.DtypeObservation(wrappers.DtypeObservation(env, np.float32), float),
    }
    found = {
        name: make(lambda wrap=wrap: wrap(gymnasium.make("Reacher-v5"))).stack.double for name, wrap in double.items()
    }
    assert found == {"as it is": True, "scaled": True, "rounded": False, "rounded and widened": False}


def tanh_agent(obs: int, low: float, high: float, discount: float = 0.9) -> Agent:
    actor = nn.Sequential(nn.Linear(obs, 8), nn.Tanh(), nn.Linear(8, 2), nn.Tanh())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return Agent(actor, [], [-1, -1], [1, 1], discount, env_low=[low, low], env_high=[high, high])


def test_the_reference_is_the_gradient_of_the_wrapped_return():
    """Actions rescaled by one half and rewards tripled: the gradient in the agent's coordinates is 3/2 in the box."""
    plain = SimulatorReference("Reacher-v5", horizon=8)
    wrapped = SimulatorReference(
        lambda: wrappers.TransformReward(
            wrappers.RescaleAction(gymnasium.make("Reacher-v5"), -2.0, 2.0), lambda r: 3 * r
        ),
        horizon=8,
    )
    agent, other = tanh_agent(10, -1, 1), tanh_agent(10, -2, 2)
    states = plain.simulator.visit(agent, 3, seed=0, episodes=1)
    same = wrapped.simulator.visit(other, 3, seed=0, episodes=1)
    torch.testing.assert_close(same.obs, states.obs, rtol=1e-9, atol=1e-9)
    truth, found = plain.cotangent(agent, states), wrapped.cotangent(other, same)
    assert found.valid.all()
    torch.testing.assert_close(found.mean, 3 * truth.mean, rtol=1e-6, atol=1e-9)


def test_threads_change_nothing_through_wrappers():
    agent = tanh_agent(10, -0.3, 0.7)
    results = []
    for threads in (1, 2):
        simulator = Simulator(lambda: several(gymnasium.make("Reacher-v5")), lanes=16, threads=threads)
        states = simulator.visit(agent, 4, seed=0, episodes=2)
        first = torch.linspace(-1, 1, 12 * 4 * 2).reshape(12, 4, 2)
        results.append(simulator.returns(agent, states, first, horizon=10))
    assert torch.isfinite(results[0]).all()
    assert torch.equal(*results)


COUNT = itertools.count()


class Counting(gymnasium.RewardWrapper):
    """Pays for being asked, out of a count that is nobody's attribute."""

    def reward(self, reward):
        return reward + next(COUNT)


def test_what_cannot_be_honoured_is_named_beside_what_was():
    def running(env):
        return wrappers.NormalizeReward(wrappers.ClipAction(env))

    def impure(env):
        return wrappers.ClipReward(Counting(wrappers.RescaleAction(env, -1.0, 1.0)), -1.0)

    def noisy(env):
        return wrappers.TransformObservation(env, lambda obs: obs + 0.1 * np.random.random(obs.shape), None)

    before = np.random.get_state()[1].copy()
    cases = [
        (running, "wrapper NormalizeReward goes on updating.*update_running_mean = False.*honoured: ClipAction"),
        (impure, "without its wrapper Counting it can be copied; honoured: RescaleAction"),
        (noisy, "without its wrapper TransformObservation it can be copied; honoured: no other"),
    ]
    for wrap, message in cases:
        with pytest.raises(GradlabError, match=message) as caught:
            Simulator(lambda wrap=wrap: wrap(gymnasium.make("Pendulum-v1")))
        assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_a_sticky_action_is_seen_to_draw_random_numbers():
    simulator = Simulator(lambda: wrappers.StickyAction(gymnasium.make("Pendulum-v1"), 0.5))
    assert simulator.random
    lead(simulator, "Pendulum-v1", lambda env: wrappers.StickyAction(env, 0.5), steps=30)


class Fields(gymnasium.Env):
    """Observations with names, as goal-directed tasks have them."""

    observation_space = spaces.Dict(
        {"at": spaces.Box(-9, 9, (2,), np.float64), "goal": spaces.Box(-9, 9, (1,), np.float64)}
    )
    action_space = spaces.Discrete(3, start=-1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = self.np_random.uniform(-1, 1, 2), self.np_random.uniform(-1, 1, 1)
        return self._obs(), {}

    def step(self, action):
        self.at = self.at + 0.1 * action
        return self._obs(), -float(abs(self.at[0] - self.goal[0])), False, False, {}

    def _obs(self):
        return {"at": self.at.copy(), "goal": self.goal.copy()}


def test_named_observations_are_honoured_once_they_are_flat():
    with pytest.raises(GradlabError, match="observations are Dict"):
        Simulator(Fields)
    simulator = Simulator(lambda: wrappers.FlattenObservation(Fields()))
    assert simulator.honoured == ("FlattenObservation",)
    assert simulator.obs_size == 3
    agent = Agent(nn.Linear(3, 3), [], [0] * 3, [1] * 3, policy=Softmax())
    states = simulator.visit(agent, 3, seed=0, episodes=1, max_steps=5)
    first = torch.eye(3)[:, None].expand(3, 3, 3)
    noise = agent.policy.noise((3, 4, 3, 3), torch.Generator().manual_seed(0), agent.action_low)
    got = simulator.returns(agent, states, first, horizon=1, noise=noise)
    at, goal = states.obs[:, 0], states.obs[:, 2]
    want = -(at + torch.tensor([[-0.1], [0.0], [0.1]], dtype=torch.float64) - goal).abs()
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)
