"""States are of one environment, which its name alone does not tell."""

from __future__ import annotations

import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.simulation import Simulator, States, visit_discounted
from gradlab.simulation.origin import environment_digest


def constant_agent(observations: int, actions: int) -> Agent:
    actor = nn.Sequential(nn.Linear(observations, actions), nn.Tanh())
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.fill_(0.05)
    return Agent(actor, [], [-1.0] * actions, [1.0] * actions)


class Slope(gymnasium.Env):
    """An environment of one's own, whose slope is no attribute that could be read."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, slope=0.5, noise=0.0):
        self.reward = lambda x: -slope * float(x @ x)
        self.noise = noise

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=2)
        return self.x.copy(), {}

    def step(self, action):
        self.x = 0.9 * self.x + 0.1 * float(action[0])
        if self.noise:
            self.x = self.x + self.noise * self.np_random.normal(size=2)
        return self.x.copy(), self.reward(self.x), False, False, {}


@pytest.fixture(scope="module")
def lighter(tmp_path_factory):
    """The same body, where less pulls it down."""
    from gymnasium.envs import mujoco

    text = (Path(mujoco.__file__).parent / "assets" / "half_cheetah.xml").read_text()
    path = tmp_path_factory.mktemp("model") / "lighter.xml"
    path.write_text(text.replace('gravity="0 0 -9.81"', 'gravity="0 0 -9.80"'))
    assert path.read_text() != text
    return str(path)


def test_states_of_another_model_or_of_other_options_are_refused(lighter):
    cheetah = Simulator("HalfCheetah-v5", threads=1)
    agent = constant_agent(17, 6)
    states = cheetah.visit(agent, 2, seed=0, episodes=1, max_steps=4)
    drawn = visit_discounted(cheetah, agent, 1, 2, max_steps=4).states
    first = torch.zeros(2, 6)
    for options in ({"frame_skip": 4}, {"ctrl_cost_weight": 0.2}, {"xml_file": lighter}):
        other = Simulator(lambda options=options: gymnasium.make("HalfCheetah-v5", **options), threads=1)
        assert other.name == cheetah.name
        for kept in (states, pickle.loads(pickle.dumps(states)), drawn[[0, 0]]):
            with pytest.raises(GradlabError, match="another environment 'HalfCheetah-v5'") as caught:
                other.returns(agent, kept, first, horizon=2)
            assert "\n" not in str(caught.value)
    # The same options, written out, are no others.
    same = Simulator(lambda: gymnasium.make("HalfCheetah-v5", frame_skip=5, ctrl_cost_weight=0.1), threads=1)
    expected = cheetah.returns(agent, states, first, horizon=2)
    assert torch.equal(same.returns(agent, states, first, horizon=2), expected)
    # Of states made by hand the name is all there is.
    by_hand = States(states.obs, states.snapshots, states.episode, states.step, states.environment)
    assert torch.equal(cheetah.returns(agent, by_hand, first, horizon=2), expected)


def test_an_option_that_no_early_step_shows_counts_in_gymnasiums_own_tasks():
    wide, narrow = (
        Simulator(lambda low=low: gymnasium.make("Hopper-v5", healthy_z_range=(low, np.inf)), threads=1)
        for low in (0.7, 0.69)
    )
    assert wide.origin != narrow.origin
    assert wide.origin == Simulator("Hopper-v5", threads=1).origin


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_environments_of_ones_own_are_told_apart_by_what_they_do(noise):
    one, same, other = (Simulator(lambda s=s: Slope(s, noise), threads=1) for s in (0.5, 0.5, 0.6))
    assert one.random == (noise > 0)
    assert one.origin == same.origin != other.origin
    wrapped = Simulator(lambda: gymnasium.wrappers.TransformReward(Slope(0.5, noise), lambda r: 2 * r), threads=1)
    assert wrapped.origin != one.origin


def test_a_digest_does_not_depend_on_what_was_simulated_before_nor_touch_global_random_states():
    fresh, used = Simulator("Reacher-v5", threads=1), Simulator("Reacher-v5", threads=1)
    agent = constant_agent(10, 2)
    used.episodes(agent, 2, max_steps=3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    assert environment_digest(used._lanes, used.honoured) == fresh.origin
    assert np.array_equal(before[0], np.random.get_state()[1])
    assert torch.equal(before[1], torch.get_rng_state())


class Restless(Slope):
    """Draws from the global generator: no two beginnings are alike."""

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, reward + np.random.random(), *rest


def test_what_differs_from_one_time_to_the_next_is_left_out():
    from gradlab.simulation.lanes.copied import CopiedLanes

    before, digests = np.random.get_state(), set()
    try:
        for seed in (0, 1):
            np.random.seed(seed)
            digests.add(environment_digest(CopiedLanes(Restless())))
    finally:
        np.random.set_state(before)
    assert len(digests) == 1
