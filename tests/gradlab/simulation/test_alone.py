"""Episodes side by side go as each environment does alone, or the environment is not copied."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces, wrappers
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.simulation import Simulator
from gradlab.simulation.closed_functions import is_closed
from gradlab.simulation.lanes.copied import CopiedLanes
from gradlab.simulation.lanes.mujoco import MujocoLanes
from gradlab.simulation.lanes.wrapped import WrappedLanes


def departure_from_new_ones(simulator: Simulator, make, steps: int = 40) -> float:
    """Largest difference of two lanes, changed over halfway in other lanes' company, from environments run alone."""
    lanes, seeds = simulator._lanes, (5, 6)
    acts = np.random.default_rng(0).uniform(-1, 1, (steps, 2, simulator.action_size))
    alone = []
    for i, seed in enumerate(seeds):
        env = make()
        env.reset(seed=seed)
        alone.append([env.step(act)[:2] for act in acts[:, i]])
    lanes.reset(seeds)
    order, apart = np.array([0, 1]), 0.0
    for t in range(steps):
        if t == steps // 2:
            kept = [lanes.capture(0), lanes.capture(1)]
            lanes.reset([7, 8, 9])
            lanes.load(kept[::-1])
            order = order[::-1]
        obs, reward, _ = lanes.step(acts[t, order], np.array([True, True]))
        for lane, i in enumerate(order):
            apart = max(apart, np.abs(obs[lane] - alone[i][t][0]).max(), abs(reward[lane] - alone[i][t][1]))
    return float(apart)


class Plain(gymnasium.Env):
    """A linear environment, whose gain an episode's reset draws."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.keep(self.np_random.uniform(0.5, 2.0))
        self.x = self.np_random.normal(size=2)
        return self.x.copy(), {}

    def step(self, action):
        self.x = 0.9 * self.x + self.gain() * action[0]
        return self.x.copy(), -float(self.x @ self.x), False, False, {}


class Holder:
    gain = 1.0


class InModel(Plain):
    """Keeps the gain in an object named as MuJoCo's environments name their model."""

    def __init__(self):
        self.model = Holder()

    def keep(self, gain):
        self.model.gain = gain

    def gain(self):
        return self.model.gain


class InClass(Plain):
    """Keeps it where all instances find it."""

    shared = 1.0

    def keep(self, gain):
        InClass.shared = gain

    def gain(self):
        return self.shared


def test_an_attribute_named_model_is_part_of_the_state():
    simulator = Simulator(InModel)
    assert isinstance(simulator._lanes, CopiedLanes)
    assert departure_from_new_ones(simulator, InModel) == 0


def test_an_episodes_constants_in_the_class_are_refused_with_the_reason():
    # The wrapper around it is not to blame.
    with pytest.raises(GradlabError, match="InClass: side by side its episodes do not go as each does alone") as caught:
        Simulator(lambda: wrappers.RescaleAction(InClass(), -2.0, 2.0))
    assert "\n" not in str(caught.value)
    assert "without its wrapper" not in str(caught.value)


class OtherPhysics(ReacherEnv):
    """Gravity and damping of its own in every episode."""

    def reset_model(self):
        self.model.opt.gravity[2] = self.np_random.uniform(-9, 0)
        self.model.dof_damping[:2] *= self.np_random.uniform(0.5, 2.0)
        return super().reset_model()


class Event(ReacherEnv):
    """Something changes once, long after the environment has been opened: an attribute, and the model."""

    def reset_model(self):
        self.bonus = 0.0
        return super().reset_model()

    def step(self, action):
        obs, reward, *rest = super().step(action)
        if round(self.data.time / self.dt) == 30:
            self.bonus = 1.0
            self.model.dof_damping[:2] = 3.0
        return obs, reward + self.bonus, *rest


@pytest.mark.parametrize("kind", [OtherPhysics, Event])
def test_what_an_episode_changes_of_a_mujoco_task_travels_with_it(kind):
    simulator = Simulator(kind)
    assert isinstance(simulator._lanes, MujocoLanes)
    assert departure_from_new_ones(simulator, kind) == 0


def reacher_agent() -> Agent:
    actor = nn.Linear(10, 2)
    nn.init.constant_(actor.weight, 0.05)
    nn.init.constant_(actor.bias, 0.01)
    return Agent(nn.Sequential(actor, nn.Tanh()), [], [-1, -1], [1, 1])


def test_returns_do_not_depend_on_the_episodes_in_between():
    simulator, agent = Simulator(OtherPhysics), reacher_agent()
    states = simulator.visit(agent, 3, seed=0, episodes=3, max_steps=10)
    first = torch.zeros(3, 2)
    before = simulator.returns(agent, states, first, horizon=5)
    simulator.episodes(agent, 1, seed=9, max_steps=2)
    assert torch.equal(before, simulator.returns(agent, states, first, horizon=5))


def test_a_changed_model_inside_wrappers_that_keep_state_is_repeated_instead():
    lanes = CopiedLanes(wrappers.DelayObservation(OtherPhysics(), 2))
    with pytest.raises(GradlabError, match="OtherPhysics: it changes its MuJoCo model"):
        lanes.reset([0])


class Late(Plain):
    """Draws from its 30th step on, from a generator of one kind or another."""

    source = "own"

    def keep(self, gain):
        self.t = 0

    def gain(self):
        self.t += 1
        if self.t <= 30:
            return 1.0
        return self.np_random.normal() if self.source == "own" else np.random.normal()


class LateGlobal(Late):
    source = "global"


def late_agent() -> Agent:
    actor = nn.Linear(2, 1)
    nn.init.constant_(actor.weight, -0.2)
    nn.init.constant_(actor.bias, 0.1)
    return Agent(actor, [], [-1], [1], 0.9)


def test_random_numbers_that_are_drawn_late_are_an_error_until_they_are_declared():
    simulator, agent = Simulator(Late), late_agent()
    assert not simulator.random
    simulator.visit(agent, 3, episodes=1, max_steps=30)
    with pytest.raises(GradlabError, match=r"Late: a step drew random numbers.*Simulator\(…, random=True\)") as caught:
        simulator.visit(agent, 3, episodes=1, max_steps=40)
    assert "\n" not in str(caught.value)
    declared = Simulator(Late, random=True)
    assert declared.random
    assert declared._lanes.reseedable
    assert len(declared.visit(agent, 3, episodes=1, max_steps=40)) == 3


def test_drawing_from_a_global_generator_late_is_an_error_declared_or_not():
    state = np.random.get_state()
    try:
        for declared in (False, True):
            simulator = Simulator(LateGlobal, random=declared)
            with pytest.raises(GradlabError, match="LateGlobal: a step drew from a global random generator"):
                simulator.visit(late_agent(), 3, episodes=1, max_steps=40)
    finally:
        np.random.set_state(state)


def test_a_task_that_draws_nothing_stays_so_whatever_is_declared():
    assert not Simulator("Reacher-v5", random=True).random
    with pytest.raises(GradlabError, match="random: 'yes'"):
        Simulator("Reacher-v5", random="yes")


class Peeking(gymnasium.RewardWrapper):
    """Pays for where the physics are, beyond what is seen over the first steps."""

    def reward(self, reward):
        return reward + (100.0 if self.unwrapped.data.time > 0.6 else 0.0)


def test_wrappers_of_ones_own_act_on_the_environment_itself():
    def make():
        return Peeking(gymnasium.make("Reacher-v5"))

    simulator = Simulator(make)
    assert isinstance(simulator._lanes, CopiedLanes)
    assert departure_from_new_ones(simulator, make) == 0

    def peeking():
        env = gymnasium.make("Reacher-v5")
        return wrappers.TransformReward(env, lambda reward: reward + (env.unwrapped.data.time > 0.6))

    assert not isinstance(Simulator(peeking)._lanes, WrappedLanes)


def test_functions_are_closed_only_where_that_is_plain():
    shift, count, environment = np.ones(2), [0], InModel()

    def counted(reward):
        nonlocal shift
        shift = shift + 1
        return reward

    def kept(obs):
        shift[0] = obs[0]
        return obs

    def scaled(obs, factor=2.0):
        return np.clip(factor * (obs - shift), -1, 1).astype(np.float32)

    assert all(map(is_closed, (scaled, lambda r: max(r, 0.1), np.tanh, lambda o: scaled(o) + float(o[0]))))
    for function in (
        counted,
        kept,
        lambda obs: np.add(obs, shift, out=shift),
        lambda reward: reward + len(count),
        lambda reward: reward + environment.model.gain,
        lambda reward: reward + np.random.normal(),
        lambda reward: reward + Holder.gain,
        environment.step,
    ):
        assert not is_closed(function)
