"""Slices through the true Q: against the closed form of a linear-quadratic world, and rollouts one by one."""

import numpy as np
import pytest
import torch

import gradlab
from gradlab.landscape import local_optima
from gradlab.landscape.truth.true_slices import true_slice
from gradlab.references import SimulatorReference
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic


@pytest.fixture(scope="module")
def world():
    return LinearQuadratic(A=0.5, B=0.5, Q=1.0, R=1.0, gamma=0.9, K=0.1)


def test_one_action_against_the_closed_form(world):
    reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world, 2.0), horizon=150)
    agent = world.agent(action_bound=2.0)
    states = reference.simulator.visit(agent, 3, seed=0, episodes=3, max_steps=2)
    optima = local_optima(agent, states.obs)
    picture = true_slice(agent, states, reference, optima, resolution=9)
    assert picture.true.dims == ("state", "x")
    assert picture.attrs["objective"] == "γ=0.9, H=150"
    for state, obs in enumerate(states.obs):
        act = torch.tensor(picture.x.values, dtype=agent.dtype)[:, None]
        exact = agent.q(obs.to(agent.dtype).expand(9, -1), act).detach().double().numpy()
        np.testing.assert_allclose(picture.true[state], exact, rtol=1e-4, atol=1e-5)
        assert picture.actor_true[state].item() == pytest.approx(picture.actor_q[state].item(), rel=1e-4, abs=1e-5)
        assert picture.optimum_place[state, 0, 0].item() == pytest.approx(optima.actions[state][0].item())
        assert picture.optimum_true[state, 0].item() == pytest.approx(picture.optimum_q[state, 0].item(), rel=1e-4)


class Bowl(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, obs, act):
        return -(act - 0.3).square().sum(-1) + 0.0 * obs.sum(-1)


@pytest.mark.parametrize(("task", "observed", "size"), [("Reacher-v5", 10, 2), ("Hopper-v5", 11, 3)])
def test_every_point_is_rolled_out_from_its_own_state(task, observed, size):
    actor = torch.nn.Sequential(torch.nn.Linear(observed, size), torch.nn.Tanh())
    for parameter in actor.parameters():
        torch.nn.init.constant_(parameter, 0.05)
    agent = gradlab.Agent(actor, [Bowl(size)], action_low=[-1.0] * size, action_high=[1.0] * size)
    reference = SimulatorReference(task, horizon=4)
    states = reference.simulator.visit(agent, 2, seed=0, episodes=2)
    picture = true_slice(agent, states, reference, local_optima(agent, states.obs), resolution=5)
    assert picture.true.dims == ("state", "y", "x")
    inside = picture.inside.values
    np.testing.assert_array_equal(np.isfinite(picture.true.values), inside)
    for state in range(2):
        for y, x in np.argwhere(inside[state]):
            place = picture.origin.values[state] + picture.x.values[x] * picture.direction.values[state, 0]
            place = place + picture.y.values[y] * picture.direction.values[state, 1]
            alone = reference.values(agent, states[[state]], torch.as_tensor(place[None]).clamp(-1, 1))
            assert picture.true.values[state, y, x] == pytest.approx(alone.mean.item(), rel=1e-5, abs=1e-6)
        # The best optimum lies in every plane that is looked at, where the critic says.
        assert picture.optimum_q[state, 0].item() == pytest.approx(0.0, abs=1e-5)
