"""A reward that jumps without an end is told by its task, followed through rollouts, and closes the gate."""

from __future__ import annotations

import functools

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.policies import Gaussian
from gradlab.references import SimulatorReference
from gradlab.simulation import Simulator
from gradlab.simulation.chain import chain_rule
from gradlab.simulation.gate import REWARD_JUMP
from gradlab.simulation.regimes import Itineraries, changes

#: Ranges that each creature leaves within a few steps of falling.
LEFT = {
    "Hopper-v5": {"healthy_z_range": (1.24, np.inf)},
    "Walker2d-v5": {"healthy_angle_range": (-0.02, 0.02)},
    "Ant-v5": {"healthy_z_range": (0.72, 0.8)},
    "Humanoid-v5": {"healthy_z_range": (1.39, 2.0)},
}


class Descendant(HopperEnv):
    """Of a task of gymnasium's, and therefore stepped as it is."""

    def __init__(self, **options) -> None:
        super().__init__(**options, **LEFT["Hopper-v5"])


@pytest.mark.parametrize("task", [*LEFT, "descendant"])
def test_a_task_tells_whether_the_creature_is_healthy_as_the_environment_does(task):
    make = functools.partial(gymnasium.make, task, terminate_when_unhealthy=False, **LEFT.get(task, {}))
    if task == "descendant":
        make = functools.partial(Descendant, terminate_when_unhealthy=False)
    simulator, env = Simulator(make, threads=1), make()
    lanes, rng, told, true = simulator._lanes, np.random.default_rng(0), [], []
    seeds = (0, 1)
    lanes.reset(seeds)
    acts = rng.uniform(env.action_space.low, env.action_space.high, (12, 2, *env.action_space.shape))
    for act in acts:
        lanes.step(act, np.ones(2, dtype=bool))
        told.append(lanes.regimes())
    for lane, seed in enumerate(seeds):
        env.reset(seed=seed)
        for act in acts[:, lane]:
            env.step(act)
            true.append(env.unwrapped.is_healthy)
    assert np.stack(told, 1).ravel().tolist() == true
    assert 0 < sum(true) < len(true)


def test_where_the_reward_does_not_jump_but_for_the_end_there_is_none_to_tell():
    for make in (
        "Hopper-v5",
        functools.partial(gymnasium.make, "Hopper-v5", terminate_when_unhealthy=False, healthy_reward=0),
    ):
        lanes = Simulator(make, threads=1)._lanes
        lanes.reset([0])
        lanes.step(np.zeros((1, 3)), np.ones(1, dtype=bool))
        assert lanes.regimes() is None


def test_itineraries_are_equal_only_where_all_regimes_are():
    rng, count = np.random.default_rng(0), 400
    paths = rng.integers(0, 2, (count, 9))
    lengths = rng.integers(1, 10, count)
    followed = Itineraries(count)
    for step in range(9):
        followed.follow(paths[:, step], step < lengths)
    whole = [tuple(path[:length]) for path, length in zip(paths.tolist(), lengths.tolist(), strict=True)]
    # One that ends sooner in the same regime has no other number; its length tells it.
    by = dict[int, set[tuple[int, ...]]]()
    for number, path in zip(followed.numbers.tolist(), whole, strict=True):
        by.setdefault(number, set()).add((path[0], *(i for i in range(1, len(path)) if path[i] != path[i - 1])))
    assert all(len(found) == 1 for found in by.values())
    assert changes(torch.from_numpy(followed.numbers)).tolist() == [len(set(path)) > 1 for path in whole]


def hopper(threshold: float) -> Simulator:
    return Simulator(
        functools.partial(
            gymnasium.make,
            "Hopper-v5",
            terminate_when_unhealthy=False,
            healthy_reward=5.0,
            healthy_z_range=(threshold, np.inf),
            healthy_angle_range=(-np.inf, np.inf),
        )
    )


def falling(outputs: int, spread: float = 0.0) -> Agent:
    class Actor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(11, 3)
            with torch.no_grad():
                self.layer.weight.copy_(0.05 * torch.randn(3, 11, generator=torch.Generator().manual_seed(0)))
                self.layer.bias.zero_()

        def forward(self, obs: Tensor) -> Tensor:
            mean = torch.tanh(self.layer(obs))
            return torch.cat([mean, torch.full_like(mean, spread)], -1) if outputs == 6 else mean

    return Agent(Actor(), [], [-1] * 3, [1] * 3, 0.99, policy=Gaussian() if outputs == 6 else None)


def test_a_stochastic_policy_whose_rewards_jump_on_the_way_is_refused_and_another_is_not():
    agent = falling(6, spread=-2.0)
    for threshold, refused in ((1.2, True), (-9.0, False)):
        simulator = hopper(threshold)
        states = simulator.visit(agent, 2, seed=0, episodes=2, max_steps=1)
        found = SimulatorReference(simulator, horizon=25, noise_seeds=2, second_way=False).cotangent(agent, states)
        assert found.diagnostics["reason"] == ([REWARD_JUMP] * 2 if refused else [""] * 2)


def test_a_deterministic_policy_is_refused_only_where_siblings_are_paid_otherwise():
    agent, horizon = falling(3), 12
    plain = hopper(-9.0)
    states = plain.visit(agent, 1, seed=0, episodes=1, max_steps=1)
    act = plain.pilot(agent).head(states.obs).detach()
    height = float(plain.rollouts(agent, states, act, horizon=horizon).last_obs[0, 0])
    for threshold, refused in ((height, True), (height + 1e-3, False)):
        simulator = hopper(threshold)
        states = simulator.visit(agent, 1, seed=0, episodes=1, max_steps=1)
        rollouts = simulator.rollouts(agent, states, act, horizon=horizon + 1)
        # Healthy at first, not at the end.
        assert changes(rollouts.regimes).all()
        for second_way in (False, True):
            found = SimulatorReference(simulator, horizon, second_way=second_way).cotangent(agent, states)
            assert found.diagnostics["reason"] == [REWARD_JUMP if refused else ""]
        assert chain_rule(simulator, agent, states, horizon=horizon).reward_jumps.tolist() == [[refused]]
