"""Episodes are those of a plain loop, and two agents meet the same luck."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian, Softmax, SquashedGaussian
from gradlab.simulation import Simulator


def network(inputs: int, outputs: int, seed: int = 0) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, outputs))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)
    return layers


def hopper_agent(seed: int = 0) -> Agent:
    return Agent(network(11, 6, seed), [], [-1] * 3, [1] * 3, 0.95, policy=SquashedGaussian())


@pytest.fixture(scope="module")
def hopper() -> Simulator:
    return Simulator("Hopper-v5")


@pytest.mark.parametrize(
    ("task", "policy", "box"),
    [
        ("Hopper-v5", SquashedGaussian(), ([-1] * 3, [1] * 3)),
        ("Pendulum-v1", Gaussian(), ([-2], [2])),
        ("CartPole-v1", Softmax(), ([0, 0], [1, 1])),
    ],
)
def test_every_step_is_that_of_a_plain_loop_under_the_recorded_noise(task, policy, box):
    simulator = Simulator(task)
    size = policy.head_size(simulator.action_size)
    agent = Agent(network(simulator.obs_size, size), [], *box, 0.9, policy=policy)
    runs = simulator.episodes(agent, 5, seed=3, max_steps=60)
    assert runs.count == 5
    assert runs.discount == 0.9
    assert {part.dtype for part in (runs.obs, runs.act, runs.reward, runs.next_obs, runs.noise)} == {torch.float64}
    env, pilot = gymnasium.make(task).unwrapped, agent.snapshot(double=True)
    seeds = [int(np.random.SeedSequence([3, i, 1]).generate_state(1)[0]) for i in range(5)]
    for i in range(5):
        one = runs.select([i])
        obs, _ = env.reset(seed=seeds[i])
        for t in range(len(one.obs)):
            np.testing.assert_allclose(one.obs[t], obs, rtol=1e-8, atol=1e-9)
            head = pilot.head(torch.from_numpy(np.asarray(obs, dtype=np.float64))[None]).detach()
            act = pilot.policy.sample(head, one.noise[t][None])[0]
            torch.testing.assert_close(one.act[t], act[0], rtol=1e-8, atol=1e-8)
            taken = int(act[0].argmax()) if task == "CartPole-v1" else np.clip(act[0].numpy(), *box)
            obs, reward, ended, _, _ = env.step(taken)
            np.testing.assert_allclose(one.next_obs[t], obs, rtol=1e-8, atol=1e-9)
            assert one.reward[t].item() == pytest.approx(float(reward), rel=1e-8, abs=1e-9)
            assert bool(one.terminated[t]) == bool(ended)
        assert bool(ended) or len(one.obs) == 60
    assert bool(runs.terminated.any()) == (task != "Pendulum-v1")


def test_two_agents_meet_the_same_resets_and_the_same_noise(hopper):
    one = hopper.episodes(hopper_agent(0), 6, seed=2, max_steps=300)
    other = hopper.episodes(hopper_agent(1), 6, seed=2, max_steps=300)
    assert not torch.equal(one.lengths, other.lengths)
    for i in range(6):
        a, b = one.select([i]), other.select([i])
        shared = min(len(a.obs), len(b.obs))
        assert torch.equal(a.obs[0], b.obs[0])
        assert torch.equal(a.noise[:shared], b.noise[:shared])
        assert not torch.equal(a.act[:shared], b.act[:shared])


def test_fewer_episodes_are_the_first_of_more_and_other_seeds_are_others(hopper):
    agent = hopper_agent()
    few, many = (hopper.episodes(agent, count, seed=2, max_steps=40) for count in (3, 11))
    first = many.select([0, 1, 2])
    assert torch.equal(few.noise, first.noise)
    torch.testing.assert_close(few.obs, first.obs, rtol=1e-9, atol=1e-9)
    other = hopper.episodes(agent, 3, seed=3, max_steps=40)
    assert not torch.equal(other.obs[0], few.obs[0])
    assert not torch.equal(other.noise[:10], few.noise[:10])
    assert torch.equal(hopper.episodes(agent, 3, seed=2, max_steps=40).obs, few.obs)


def test_noise_is_independent_between_episodes_steps_and_seeds():
    simulator = Simulator("Pendulum-v1")
    agent = Agent(network(3, 2), [], [-2], [2], policy=Gaussian())
    noise = torch.stack([simulator.episodes(agent, 40, seed=seed).noise.reshape(40, 200) for seed in (0, 1)])
    flat = noise.flatten()
    assert abs(flat.mean()) < 4 / len(flat) ** 0.5
    assert abs(flat.var() - 1) < 4 * (2 / len(flat)) ** 0.5
    pairs = {
        "seeds": (noise[0] * noise[1]).flatten(),
        "episodes": (noise[:, 1:] * noise[:, :-1]).flatten(),
        "steps": (noise[..., 1:] * noise[..., :-1]).flatten(),
    }
    for name, product in pairs.items():
        assert abs(product.mean()) < 4 / len(product) ** 0.5, name


def test_the_mode_of_a_stochastic_policy_and_a_deterministic_one_draw_nothing(hopper):
    runs = hopper.episodes(hopper_agent(), 2, seed=0, stochastic=False, max_steps=5)
    assert runs.noise is None
    pilot = hopper_agent().snapshot(double=True)
    torch.testing.assert_close(runs.act, pilot.action(runs.obs).detach())


@pytest.mark.parametrize(("asked", "given"), [(None, 50), (7, 7), (200, 50)])
def test_the_sooner_of_the_environments_limit_and_the_callers_cuts_an_episode(asked, given):
    simulator = Simulator("Reacher-v5")
    agent = Agent(nn.Sequential(network(10, 2), nn.Tanh()), [], [-1, -1], [1, 1])
    runs = simulator.episodes(agent, 2, max_steps=asked)
    assert runs.lengths.tolist() == [given, given]
    assert not runs.terminated.any()
    assert runs.cut_off.sum() == 2


class Breaking(gymnasium.Env):
    """Counts steps; after a reset that drew above one half its third observation is not a number."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.array([self.np_random.uniform(), 0.0])
        return self.x.copy(), {}

    def step(self, action):
        self.x[1] += 1.0
        if self.x[1] == 3 and self.x[0] > 0.5:
            self.x[1] = np.nan
        return self.x.copy(), 1.0, bool(self.x[1] >= 6), False, {}


def test_episodes_that_are_not_finite_are_left_out_and_named():
    simulator = Simulator(Breaking)
    agent = Agent(network(2, 1), [], [-1], [1])
    runs = simulator.episodes(agent, 20, seed=0)
    resets = [np.random.SeedSequence([0, i, 1]).generate_state(1)[0] for i in range(20)]
    draws = np.array([np.random.default_rng(int(reset)).uniform() for reset in resets])
    broken = np.flatnonzero(draws > 0.5)
    assert 0 < len(broken) < 20
    assert simulator.left_out == tuple(broken.tolist())
    assert runs.count == 20 - len(broken)
    assert (runs.lengths == 6).all()
    np.testing.assert_array_equal(runs.obs[runs.step == 0][:, 0], draws[draws <= 0.5])
    always = Simulator(AlwaysBreaking)
    with pytest.raises(GradlabError, match="none of 3 episodes stayed finite") as caught:
        always.episodes(agent, 3)
    assert "\n" not in str(caught.value)


class AlwaysBreaking(Breaking):
    def step(self, action):
        obs, *rest = super().step(action)
        return obs * np.nan, *rest


class Windy(gymnasium.Env):
    """s' = s + a + wind, with the wind drawn anew at each step."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=1)
        return self.x.copy(), {}

    def step(self, action):
        self.x = self.x + action + self.np_random.normal(size=1)
        return self.x.copy(), float(-(self.x[0] ** 2)), False, False, {}


def test_the_environments_own_random_numbers_are_common_too():
    simulator = Simulator(Windy)
    assert simulator.random
    runs = [
        simulator.episodes(Agent(nn.Sequential(network(1, 1, seed), nn.Tanh()), [], [-1], [1]), 5, seed=4, max_steps=9)
        for seed in (0, 1)
    ]
    wind = [one.next_obs - one.obs - one.act for one in runs]
    assert not torch.equal(runs[0].act, runs[1].act)
    torch.testing.assert_close(*wind, rtol=0, atol=1e-12)


def test_numbers_out_of_range_are_refused_in_one_line(hopper):
    agent = hopper_agent()
    cases = [
        (lambda: hopper.episodes(agent, 0), "count: 0"),
        (lambda: hopper.episodes(agent, 1, seed=-1), "seed: -1"),
        (lambda: hopper.episodes(agent, 1, max_steps=0), "max_steps: 0"),
        (lambda: hopper.visit(agent, 1, max_steps=0), "max_steps: 0"),
        (lambda: hopper.visit(agent, 1, seed=-1), "seed"),
        (lambda: Simulator("Pendulum-v1", threads=0), "threads: 0"),
    ]
    for attempt, message in cases:
        with pytest.raises(GradlabError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)
