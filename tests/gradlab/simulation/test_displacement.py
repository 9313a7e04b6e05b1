"""Tangent coordinates move a state where they say, by as much as they say, and leave the original alone."""

from __future__ import annotations

import copy
import pickle
from collections import deque

import mujoco
import numpy as np
import pytest
import torch
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.simulation import Simulator
from gradlab.simulation.chain import chain_rule
from gradlab.simulation.chain.displacement import AttributeDisplacement
from gradlab.simulation.chain.mujoco import DataDisplacement, RowDisplacement
from gradlab.simulation.chain.tangents import tangent_coordinates


def snapshots(simulator: Simulator, count: int = 2) -> list:
    """Mid-episode states under random actions."""
    lanes, rng = simulator._lanes, np.random.default_rng(0)
    lanes.reset(range(count))
    space = simulator._env.action_space
    for _ in range(7):
        lanes.step(rng.uniform(space.low, space.high, (count, *space.shape)), np.ones(count, dtype=bool))
    return [lanes.capture(lane) for lane in range(count)]


class OwnAnt(AntEnv):
    """The same task, but not one that is known: kept as the engine's whole data."""


@pytest.mark.parametrize("task", ["Ant-v5", "Humanoid-v5", "HalfCheetah-v5", OwnAnt], ids=str)
def test_what_is_moved_is_found_moved_by_as_much(task):
    simulator = Simulator(task)
    origins = snapshots(simulator)
    coordinates = tangent_coordinates(simulator._lanes.env, origins[0])
    assert isinstance(coordinates, DataDisplacement if task is OwnAnt else RowDisplacement)
    before = [pickle.dumps(origin) for origin in origins]
    scale = coordinates.scale(origins)
    model = simulator._env.unwrapped.model
    assert np.isfinite(scale).sum() >= len(origins) * 2 * model.nv
    offsets = np.random.default_rng(1).normal(size=(2, 3, scale.shape[-1])) * 1e-3
    moved = coordinates.displaced(origins, offsets)
    assert len(moved) == 6
    np.testing.assert_allclose(coordinates.between(origins, moved), offsets, rtol=1e-9, atol=1e-12)
    assert [pickle.dumps(origin) for origin in origins] == before
    # They can be loaded and stepped, and quaternions stay of length one.
    lanes = simulator._lanes
    lanes.load(moved)
    obs, _, _ = lanes.step(np.zeros((6, simulator.action_size)), np.ones(6, dtype=bool))
    assert np.isfinite(obs).all()
    if task in ("Ant-v5", "Humanoid-v5"):
        begin = 1 + 3
        for snapshot in moved:
            assert np.linalg.norm(snapshot.state[begin : begin + 4]) == pytest.approx(1, abs=1e-12)


def test_positions_move_along_the_tangent_that_mujoco_uses():
    simulator = Simulator("Ant-v5")
    model = simulator._env.unwrapped.model
    (origin,) = snapshots(simulator, 1)
    coordinates = tangent_coordinates(simulator._lanes.env, origin)
    offset = np.zeros((1, 1, coordinates.scale([origin]).shape[-1]))
    velocity = np.random.default_rng(0).normal(size=model.nv)
    offset[0, 0, : model.nv] = 0.1 * velocity
    (moved,) = coordinates.displaced([origin], offset)
    expected = origin.state[1 : 1 + model.nq].copy()
    mujoco.mj_integratePos(model, expected, velocity, 0.1)
    np.testing.assert_allclose(moved.state[1 : 1 + model.nq], expected, atol=1e-14)
    untouched = np.r_[0, 1 + model.nq : len(moved.state)]
    np.testing.assert_array_equal(moved.state[untouched], origin.state[untouched])


def test_quantities_that_lag_belong_to_the_state_however_it_is_kept():
    known, own = Simulator("Ant-v5"), Simulator(OwnAnt)
    actor = nn.Sequential(nn.Linear(105, 8, bias=False), nn.Tanh())
    with torch.no_grad():
        actor[0].weight.copy_(0.05 * torch.randn(8, 105, generator=torch.Generator().manual_seed(0)))
    agent = Agent(actor, [], [-1] * 8, [1] * 8)
    ours = known.visit(agent, 2, seed=0, episodes=2, max_steps=20)
    theirs = own.visit(agent, 2, seed=0, episodes=2, max_steps=20)
    torch.testing.assert_close(ours.obs, theirs.obs, rtol=1e-12, atol=1e-12)
    one, two = chain_rule(known, agent, ours, horizon=3), chain_rule(own, agent, theirs, horizon=3)
    assert one.open.all()
    torch.testing.assert_close(one.gradient, two.gradient, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(one.growth, two.growth, rtol=1e-5, atol=0)


def test_real_attributes_are_found_in_containers_and_nothing_else_is_touched():
    coordinates = AttributeDisplacement()
    generator = np.random.default_rng(0)
    origin = {
        "x": np.array([[1.0, -3.0]]),
        "inner": {"speed": 2.0, "pairs": [(np.float64(0.5), 7)], "none": None},
        "queue": deque([8.0, 0.25], maxlen=2),
        "count": 3,
        "on": True,
        "generator": generator,
        "gone": np.nan,
        "many": np.arange(3),
    }
    before = copy.deepcopy({name: value for name, value in origin.items() if name != "generator"})
    np.testing.assert_array_equal(coordinates.scale([origin]), [[1.0, 3.0, 2.0, 1.0, 8.0, 1.0]])
    (moved,) = coordinates.displaced([origin], np.array([[[0.1, 0.2, 0.3, 0.4, 0.5, 0.75]]]))
    np.testing.assert_allclose(moved["x"], [[1.1, -2.8]])
    assert moved["inner"]["speed"] == 2.3
    assert moved["inner"]["pairs"] == [(0.9, 7)]
    assert isinstance(moved["inner"]["pairs"][0], tuple)
    assert moved["queue"] == deque([8.5, 1.0])
    assert moved["queue"].maxlen == 2
    assert (moved["count"], moved["on"], moved["generator"]) == (3, True, generator)
    np.testing.assert_equal({name: value for name, value in origin.items() if name != "generator"}, before)
    np.testing.assert_allclose(coordinates.between([origin], [moved]), [[[0.1, 0.2, 0.3, 0.4, 0.5, 0.75]]])


def test_coordinates_keep_their_places_when_attributes_turn_up_later():
    coordinates = AttributeDisplacement()
    first, later = {"b": 1.0}, {"a": 5.0, "b": 2.0}
    assert coordinates.scale([first]).shape == (1, 1)
    np.testing.assert_array_equal(coordinates.between([first], [later]), [[[1.0, 0.0]]])
    # An offset from before has no entry for what was not there.
    (moved,) = coordinates.displaced([later], np.array([[[0.5]]]))
    assert moved == {"a": 5.0, "b": 2.5}
    (moved,) = coordinates.displaced([later], np.array([[[0.5, 1.0]]]))
    assert moved == {"a": 6.0, "b": 2.5}


def test_snapshots_of_another_kind_are_refused():
    with pytest.raises(GradlabError, match="kept as bytes, which cannot be moved"):
        tangent_coordinates(None, b"state")
    data = mujoco.MjData(mujoco.MjModel.from_xml_string("<mujoco/>"))
    with pytest.raises(GradlabError, match="attributes with an MjData among them, which cannot be moved"):
        tangent_coordinates(None, ({"frames": 3}, {"data": data}))
