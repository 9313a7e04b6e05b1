"""What the field probe stores beyond the first plane: further planes, the field over states, bodies, the true field."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlab.agent import Agent
from gradlab.simulation import Simulator
from gradlab.simulation.from_observations import states_at
from probes.field import Field
from probes.field_planes import pairs


def bowl(obs: torch.Tensor, act: torch.Tensor) -> torch.Tensor:
    """Highest where the action is the observation's first coordinates, each coordinate steeper than the last."""
    size = act.shape[-1]
    return -((act - obs[:, :size]).square() * torch.arange(1, size + 1)).sum(-1)


def agent_of(actions: int, critics=(bowl,), reduction="first") -> Agent:
    actor = torch.nn.Sequential(torch.nn.Linear(5, actions), torch.nn.Tanh())
    torch.nn.init.zeros_(actor[0].weight)
    torch.nn.init.zeros_(actor[0].bias)
    return Agent(actor, list(critics), [-1.0] * actions, [1.0] * actions, reduction=reduction)


def measured(agent: Agent, obs: torch.Tensor, **options) -> dict:
    probe = Field(states=2, resolution=9, arrows=5, starts=4, search_steps=8, ascent_steps=4, **options)
    return probe.measure(agent, probe.choose(obs), torch.Generator().manual_seed(0)).arrays


@pytest.fixture(scope="module")
def obs() -> torch.Tensor:
    # Two coordinates vary, the second most, and neither with the other.
    angle = 2 * torch.pi * torch.arange(64) / 64
    return torch.stack([0.3 * angle.sin(), 2 * angle.cos(), *[torch.zeros(64)] * 3], 1).roll(5, 0) + 0.1


def test_every_pair_of_actions_is_some_plane_and_the_first_is_what_it_was(obs):
    found = measured(agent_of(5), obs)
    assert found["q"].attrs == {"plane": [0, 1], "followed": "critic 1"}
    assert [found[f"plane{k}_q"].attrs["plane"] for k in (1, 2, 3)] == [[2, 3], [3, 4], "optima"]
    assert "plane4_q" not in found
    place = {"critic": 0, "state": 1}
    second = found["plane1_q"].isel(place)
    for x, y in ((-1.0, 0.5), (0.25, 1.0)):
        action = torch.zeros(1, 5)
        action[0, 2], action[0, 3] = x, y
        assert float(second.sel(x=x, y=y)) == pytest.approx(float(bowl(obs[1:2], action)), rel=1e-5)
    arrows = found["plane1_gradient"].isel(place).sel(arrow_x=-1.0, arrow_y=0.5).values
    assert arrows == pytest.approx([2 * 3 * (0.1 + 1.0), 2 * 4 * (0.1 - 0.5)], rel=1e-4)
    assert pairs(1, 3) == []
    assert "plane1_q" not in measured(agent_of(2), obs)


def test_the_plane_through_the_optima_holds_the_actor_and_the_best_one(obs):
    found = measured(agent_of(3), obs)
    assert [found[f"plane{k}_q"].attrs["plane"] for k in (1, 2)] == [[1, 2], "optima"]
    origin, direction = found["plane2_origin"].values[0], found["plane2_direction"].values[0]
    assert origin == pytest.approx(found["actor"].values[0], abs=1e-6)
    way = found["optima"].values[0, 0, 0] - origin
    assert way @ direction[0] == pytest.approx(np.linalg.norm(way), rel=1e-3)
    assert found["optima_persistence"].values[0, 0, 0] == pytest.approx(1.0)


def test_the_actor_follows_the_first_critic_or_what_is_made_of_all(obs):
    def lower(states, act):
        return bowl(states, act) - 1.0

    assert measured(agent_of(2, [bowl, lower]), obs)["q"].attrs["followed"] == "critic 1"
    assert measured(agent_of(2, [bowl, lower], "min"), obs)["q"].attrs["followed"] == "followed"


def test_the_field_over_states_lies_along_the_directions_in_which_they_vary(obs):
    found = measured(agent_of(2), obs)
    norm = found["state_norm"]
    assert norm.attrs["words"] == ["observation 2", "observation 1"]
    place = found["state_place"].values
    middle = obs.mean(0)
    assert place[1] == pytest.approx([float(obs[1, 1] - middle[1]), float(obs[1, 0] - middle[0])], abs=1e-3)
    # ∇_a Q at a = 0 is (2 s_1, 4 s_2), whatever the plane.
    x, y = found["state_side_x"].values[1], found["state_side_y"].values[1]
    first, second = y[:, None] + float(middle[0]), x[None, :] + float(middle[1])
    assert norm.values[0, 1] == pytest.approx(np.hypot(2 * first, 4 * second), abs=5e-3)
    assert found["state_volatility"].values[0, 1, 5, 5] == pytest.approx(np.hypot(2, 4), rel=1e-2)
    assert found["state_seen"].shape == (64, 2)
    # Of hardly any observations nothing is said; nor of an observation of one number.
    assert "state_norm" not in measured(agent_of(2), obs[:8])


def test_states_stay_when_more_is_seen(obs):
    probe = Field(states=2, seen=20)
    first = probe.choose(obs[:2])
    more = probe.choose(obs[10:40])
    assert torch.equal(more[:2], first)
    assert len(more) == 20
    assert probe.choose(obs[40:60]) is more


def test_the_true_field_is_the_return_of_each_action_and_comes_now_and_then():
    simulator = Simulator("Pendulum-v1", threads=1)
    actor = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Tanh())
    agent = Agent(actor, [lambda obs, act: act.sum(-1)], [-2.0], [2.0], discount=0.9)
    obs = simulator.visit(agent, 16, seed=0, episodes=2).obs.float()
    probe = Field(states=3, resolution=9, arrows=5, starts=4, environment="Pendulum-v1", simulated=2, horizon=6)
    generator = torch.Generator()
    first, second = (probe.measure(agent, probe.choose(obs), generator) for _ in range(2))
    assert first.notes == second.notes == ()
    assert "simulated_q" not in first.arrays
    truth = second.arrays["simulated_q"]
    action = truth["x"].values[3]
    expected = simulator.returns(agent, states_at(simulator, obs[1:2]), torch.tensor([[action]]).double(), horizon=6)
    assert truth.values[1, 3] == pytest.approx(float(expected), rel=1e-5)
    assert np.isnan(truth.values[2]).all()
    assert first.arrays["body_position"].shape == (3, 2, 3)


def test_without_a_task_that_can_be_made_it_says_so_and_measures_the_rest(obs):
    probe = Field(states=2, resolution=9, arrows=5, starts=4, environment="Reacher-v5", simulated=1)
    found = probe.measure(agent_of(2), probe.choose(obs), torch.Generator())
    assert "states are shown by their coordinates" in found.notes[0]
    assert "no simulated field" in found.notes[1]
    assert "q" in found.arrays
    probe.stay_apart()
    assert probe.measure(agent_of(2), probe.choose(obs), torch.Generator()).notes == ()
