"""Lanes stepped together stay apart: from diverging neighbours, from other threads, from other models."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import warnings

import gymnasium
import mujoco
import numpy as np
import pytest

from gradlab.errors import GradlabError
from gradlab.simulation.lanes import exactness
from gradlab.simulation.lanes.batch import BatchLanes, BatchSnapshot
from gradlab.simulation.lanes.exactness import open_lanes
from gradlab.simulation.lanes.mujoco import MujocoLanes
from gradlab.simulation.tasks import task_of
from gradlab.simulation.tasks.planar import Runner

#: One task whose states go through ``mujoco.batch``, and one whose states go through one engine in turn.
BOTH = ["HalfCheetah-v5", "Ant-v5"]


def bare(task: str, **options):
    return gymnasium.make(task, **options).unwrapped


def lanes_of(env) -> BatchLanes:
    return BatchLanes(env, task_of(env))


def actions_for(env, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    space = env.action_space
    return np.random.default_rng(seed).uniform(space.low, space.high, (*shape, len(space.low)))


def some_states(env, count: int, steps: int = 20) -> list[BatchSnapshot]:
    lanes = lanes_of(env)
    lanes.reset(range(count))
    for act in actions_for(env, (steps, count), seed=9):
        lanes.step(act, np.ones(count, dtype=bool))
    return [lanes.capture(lane) for lane in range(count)]


def run(lanes, snapshots, acts) -> list[tuple]:
    lanes.load(snapshots)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [lanes.step(act, np.ones(len(snapshots), dtype=bool)) for act in acts]


def velocities(env) -> slice:
    """Where they are in a row: after the time and the positions."""
    return slice(1 + env.model.nq, 1 + env.model.nq + env.model.nv)


@pytest.mark.parametrize("task", BOTH)
@pytest.mark.parametrize("bad", [np.nan, 1e12])
@pytest.mark.parametrize("autoreset", [True, False])
def test_a_diverging_lane_is_reported_and_changes_no_other(task, bad, autoreset):
    env = bare(task)
    if not autoreset:
        # MuJoCo then goes on with numbers that are not, all over its data.
        env.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    healthy = some_states(env, 3)
    broken = copy.deepcopy(healthy[1])
    broken.state[velocities(env)] = bad
    acts = actions_for(env, (15, 3))
    alone = [run(lanes_of(env), [healthy[lane]], acts[:, lane : lane + 1]) for lane in range(3)]
    lanes = lanes_of(env)
    together = run(lanes, [healthy[0], broken, healthy[2]], acts)
    for lane in (0, 2):
        for ours, theirs in zip(together, alone[lane], strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one[lane], other[0])
    assert lanes.unstable().tolist() == [False, True, False] or not autoreset
    # What a lane has gone through does not outlive it.
    assert not np.array_equal(together[-1][0][1], alone[1][-1][0][0])
    again = run(lanes, healthy, acts)
    np.testing.assert_array_equal(again[-1][0][1], alone[1][-1][0][0])
    assert not lanes.unstable().any()


@pytest.mark.parametrize("task", BOTH)
def test_a_diverging_lane_gives_what_env_step_gives(task):
    env = bare(task)
    broken = some_states(env, 1)[0]
    broken.state[velocities(env)] = 1e12
    acts = actions_for(env, (5, 1))
    ours = run(lanes_of(env), [broken], acts)
    env.reset(seed=0)
    mujoco.mj_setState(env.model, env.data, broken.state, mujoco.mjtState.mjSTATE_INTEGRATION)
    if task == "Ant-v5":
        env.data.xpos[1, :2] = broken.carried
    for t in range(5):
        obs, reward, ended, *_ = env.step(acts[t, 0])
        np.testing.assert_array_equal(ours[t][0][0], obs)
        np.testing.assert_allclose(ours[t][1][0], reward, rtol=1e-12)
        assert ours[t][2][0] == ended


@pytest.mark.parametrize("forces", [True, False])
def test_a_lane_in_which_mujoco_raises_an_error_is_reported_and_stops_no_other(tmp_path, forces):
    # An ant whose engine has memory for few contacts: with two legs on the floor its solver's stack overflows.
    assets = os.path.join(os.path.dirname(gymnasium.__file__), "envs", "mujoco", "assets", "ant.xml")
    with open(assets) as file:
        small = file.read().replace("<option", '<size memory="20K"/>\n<option', 1)
    (tmp_path / "ant.xml").write_text(small)
    options = {} if forces else {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}
    env = bare("Ant-v5", xml_file=str(tmp_path / "ant.xml"), **options)
    lanes = lanes_of(env)
    lanes.reset([0, 1])
    fresh = [lanes.capture(lane) for lane in range(2)]
    acts = np.full((3, 1, 8), 0.5)
    alone = run(lanes_of(env), [fresh[1]], acts)
    # The first lane's episode goes on until it fails, by env.step as well.
    env.reset(seed=0)
    lanes.load(fresh[:1])
    for _ in range(60):
        before = lanes.capture(0)
        obs, reward, ended = lanes.step(acts[0], np.array([True]))
        if lanes.unstable()[0]:
            break
        np.testing.assert_array_equal(env.step(acts[0, 0])[0], obs[0])
    assert np.isnan(obs).all()
    assert np.isnan(reward).all()
    assert not ended.any()
    with pytest.raises(mujoco.FatalError):
        env.step(acts[0, 0])
    lanes.load([before, fresh[1], before])
    for t in range(3):
        act = np.repeat(acts[t], 3, 0)
        obs, reward, _ = lanes.step(act, np.array([t == 0, True, False]))
        np.testing.assert_array_equal(obs[1], alone[t][0][0])
        assert reward[1] == alone[t][1][0]
    assert lanes.unstable().tolist() == [True, False, False]
    np.testing.assert_array_equal(lanes.capture(2).state, before.state)


@pytest.mark.parametrize("task", BOTH)
def test_another_threads_lanes_are_independent(task):
    env = bare(task)
    states, count = some_states(env, 4), 3
    acts = actions_for(env, (count, 25, 4))
    first = lanes_of(env)
    first.promise = "something"
    every = [first, *(first.another() for _ in range(count - 1))]
    assert {lanes.promise for lanes in every} == {"something"}
    wanted = [run(lanes_of(env), states, acts[i]) for i in range(count)]
    resets = [lanes_of(env).reset([10 * i, 10 * i + 1]) for i in range(count)]
    got: dict[int, tuple] = {}

    def work(i: int) -> None:
        got[i] = (run(every[i], states, acts[i]), every[i].reset([10 * i, 10 * i + 1]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(count):
        for ours, theirs in zip(got[i][0], wanted[i], strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(got[i][1], resets[i])


def test_lanes_may_be_fewer_and_more_than_before():
    env = bare("HalfCheetah-v5")
    states, lanes = some_states(env, 5), lanes_of(env)
    acts = actions_for(env, (4, 5))
    wanted = run(lanes_of(env), states, acts)
    for count in (2, 5, 1, 4):
        for ours, theirs in zip(run(lanes, states[:count], acts[:, :count]), wanted, strict=True):
            assert len(ours[0]) == count
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other[:count])


def test_results_are_new_arrays_and_standing_still_is_free():
    env = bare("Reacher-v5")
    states, lanes = some_states(env, 2), lanes_of(env)
    acts = actions_for(env, (2, 2))
    lanes.load(states)
    first = lanes.step(acts[0], np.array([True, True]))
    kept = copy.deepcopy(first)
    row = lanes.capture(1)
    second = lanes.step(acts[1], np.array([False, False]))
    assert not any(part.any() for part in second)
    np.testing.assert_array_equal(lanes.capture(1).state, row.state)
    lanes.step(acts[1], np.array([True, True]))
    for one, other in zip(first, kept, strict=True):
        np.testing.assert_array_equal(one, other)


def test_snapshots_of_another_model_are_refused_in_one_line():
    cheetah, ant = bare("HalfCheetah-v5"), bare("Ant-v5")
    cases = (
        (lanes_of(cheetah), some_states(ant, 1)[0]),
        (lanes_of(ant), {"state": 1}),
        (MujocoLanes(cheetah), some_states(cheetah, 1)[0]),
    )
    for lanes, snapshot in cases:
        with pytest.raises(GradlabError, match="visit states anew") as caught:
            lanes.load([snapshot])
        assert "\n" not in str(caught.value)


def test_opening_holds_the_lanes_against_env_step_and_says_what_is_promised():
    lanes, draws = open_lanes("Hopper-v5", bare("Hopper-v5"))
    assert isinstance(lanes, BatchLanes)
    assert not draws
    assert lanes.promise.startswith("equal to env.step to the last bit")
    assert lanes.another().promise == lanes.promise


@pytest.mark.parametrize(("wrong", "allowed"), [(1e-9, False), (1e-14, True), (np.nan, False)])
def test_a_task_that_departs_from_env_step_gives_way_to_env_step(monkeypatch, wrong, allowed):
    class Other(Runner):
        def outcome(self, fields, before, after, act):
            obs, reward, ended = super().outcome(fields, before, after, act)
            return obs, reward + wrong, ended

    monkeypatch.setattr(exactness, "task_of", Other)
    lanes, _ = open_lanes("HalfCheetah-v5", bare("HalfCheetah-v5"))
    assert isinstance(lanes, BatchLanes if allowed else MujocoLanes)
    assert ("to 1e-12" if allowed else "departs from env.step by") in lanes.promise
    assert "\n" not in lanes.promise


def test_a_model_that_a_batch_cannot_run_gives_way_to_env_step(tmp_path):
    assets = os.path.join(os.path.dirname(gymnasium.__file__), "envs", "mujoco", "assets", "half_cheetah.xml")
    with open(assets) as file:
        sleepy = file.read().replace("<option ", '<option> <flag sleep="enable"/> </option>\n<option ', 1)
    (tmp_path / "cheetah.xml").write_text(sleepy)
    lanes, _ = open_lanes("sleepy", bare("HalfCheetah-v5", xml_file=str(tmp_path / "cheetah.xml")))
    assert isinstance(lanes, MujocoLanes)
    assert "stepping its states together" in lanes.promise
    assert "\n" not in lanes.promise


def test_an_environment_of_the_users_own_keeps_env_step():
    from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

    class Own(HalfCheetahEnv):
        def _get_rew(self, x_velocity, action):
            return float(x_velocity**3), {}

    lanes, _ = open_lanes("own", Own())
    assert isinstance(lanes, MujocoLanes)
    assert lanes.promise.startswith("equal to env.step to the last bit: it is env.step")


def test_pendulums_stepped_together_are_those_of_env_step():
    env = bare("Pendulum-v1")
    lanes, draws = open_lanes("Pendulum-v1", bare("Pendulum-v1"))
    assert not draws
    assert lanes.promise.startswith("equal to env.step")
    count, steps = 5, 220
    acts = 1.3 * actions_for(env, (steps, count))
    first = lanes.reset(range(count))
    states, ours = None, []
    for t in range(steps):
        if t == 100:
            states = pickle.loads(pickle.dumps([lanes.capture(lane) for lane in range(count)]))
        ours.append(lanes.step(acts[t], np.ones(count, dtype=bool)))
    for lane in range(count):
        np.testing.assert_array_equal(env.reset(seed=lane)[0], first[lane])
        for t in range(steps):
            obs, reward, ended, *_ = env.step(acts[t, lane])
            np.testing.assert_allclose(ours[t][0][lane], obs, rtol=1e-7, atol=1e-7)
            np.testing.assert_allclose(ours[t][1][lane], reward, rtol=1e-12, atol=1e-12)
            assert ours[t][2][lane] == ended
    there = lanes.another()
    there.load(states[::-1])
    for t in range(100, steps):
        running = np.array([True, False, True, True, False])
        obs, reward, _ = there.step(acts[t, ::-1], running)
        for lane in np.flatnonzero(running):
            np.testing.assert_array_equal(obs[lane], ours[t][0][count - 1 - lane])
            assert reward[lane] == ours[t][1][count - 1 - lane]
        assert not obs[1].any()
