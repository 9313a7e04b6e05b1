"""Physics out of observations: rolled out, they go where the states themselves go; bodies stand where MuJoCo says."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.simulation import Simulator
from gradlab.simulation.bodies import bodies
from gradlab.simulation.from_observations import positions_and_velocities, states_at


def agent_of(simulator: Simulator) -> Agent:
    torch.manual_seed(0)
    size, bound = simulator.action_size, 2.0 if simulator.name == "Pendulum-v1" else 1.0
    actor = torch.nn.Sequential(torch.nn.Linear(simulator.obs_size, size), torch.nn.Tanh())
    torch.nn.init.normal_(actor[0].weight, std=0.1)
    return Agent(actor, [], action_low=[-bound] * size, action_high=[bound] * size)


@pytest.mark.parametrize("name", ["Pendulum-v1", "Reacher-v5", "Hopper-v5", "InvertedDoublePendulum-v5"])
def test_states_made_of_float32_observations_earn_what_the_states_themselves_earn(name):
    simulator = Simulator(name, threads=1)
    agent = agent_of(simulator)
    visited = simulator.visit(agent, 3, seed=2, episodes=2, max_steps=4)
    made = states_at(simulator, visited.obs.float())
    actions = torch.rand(3, simulator.action_size, dtype=torch.float64) - 0.5
    truth = simulator.returns(agent, visited, actions, horizon=5)
    # The order of the actions is that of the states: other states earn otherwise.
    assert (truth - truth.flip(0)).abs().max() > 1e-3
    assert torch.allclose(simulator.returns(agent, made, actions, horizon=5), truth, atol=2e-4)
    # The environment's own reset is its own again.
    assert not np.allclose(simulator._env.unwrapped.reset(seed=3)[0], visited.obs[0].numpy())


def test_bodies_stand_where_the_environment_has_them():
    env = gymnasium.make("HalfCheetah-v5").unwrapped
    obs, _ = env.reset(seed=4)
    for _ in range(5):
        obs, *_ = env.step(np.full(6, 0.7))
    found = bodies("HalfCheetah-v5", obs[None])
    torso = np.array([env.data.qpos[0], 0.0, 0.0])
    assert np.allclose(found.body_position[0].values[1:] + torso, env.data.geom_xpos[1:], atol=2e-2)
    assert found.body_kind.values.tolist() == env.model.geom_type.tolist()


def test_what_does_not_hold_the_state_is_refused():
    simulator = Simulator("Reacher-v5", threads=1)
    obs = torch.as_tensor(gymnasium.make("Reacher-v5").reset(seed=0)[0])[None]
    assert len(states_at(simulator, obs)) == 1
    # Cosines and sines that are none, as of a normalised observation.
    with pytest.raises(GradlabError, match="does not hold the state"):
        states_at(simulator, 3 * obs + 1)
    # The elbow at 3.1, or at −3.18: it stops at 3.
    stopped = obs.clone()
    stopped[0, 1], stopped[0, 3] = np.cos(3.1), np.sin(3.1)
    with pytest.raises(GradlabError, match="beyond its stop"):
        states_at(simulator, stopped)
    with pytest.raises(GradlabError, match=r"shape \(1, 9\)"):
        states_at(simulator, obs[:, :9])
    with pytest.raises(GradlabError, match="does not say where"):
        positions_and_velocities(gymnasium.make("CartPole-v1").unwrapped, np.zeros((1, 4)))
