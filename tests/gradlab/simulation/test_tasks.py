"""Every number of the vectorised tasks is the one env.step gives, whichever way a state was come by."""

from __future__ import annotations

import pickle

import gymnasium
import mujoco
import numpy as np
import pytest

from gradlab.simulation.lanes.batch import BatchLanes
from gradlab.simulation.lanes.engines import BatchEngine, ContactEngine
from gradlab.simulation.tasks import task_of

TASKS = [
    "Reacher-v5",
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "HalfCheetah-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "Swimmer-v5",
    "Ant-v5",
    "Pusher-v5",
    "Humanoid-v5",
    "HumanoidStandup-v5",
]


def bare(task: str, **options):
    return gymnasium.make(task, **options).unwrapped


def lanes_of(env) -> BatchLanes:
    return BatchLanes(env, task_of(env))


def actions_for(env, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Actions a little beyond the box now and then: the engine clips them, the reward does not."""
    space = env.action_space
    return 1.2 * np.random.default_rng(seed).uniform(space.low, space.high, (*shape, len(space.low)))


def paths_of(env, seeds: range, acts: np.ndarray) -> list[list[tuple]]:
    """What env.step gives, one episode after another: [seed][step]; stepping goes on after an end."""
    paths = []
    for lane, seed in enumerate(seeds):
        path = [(env.reset(seed=seed)[0],)]
        path += [env.step(act)[:3] for act in acts[:, lane]]
        paths.append(path)
    return paths


def assert_same(ours, theirs) -> None:
    """Equal to 1e-12 (relative above one), and not a number in the same places."""
    for one, other in zip(ours, theirs, strict=True):
        one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
        assert one.shape == other.shape
        np.testing.assert_array_less(np.abs(one - other), 1e-12 * np.maximum(1, np.abs(other)) + 1e-300)


@pytest.mark.parametrize("task", TASKS)
def test_a_thousand_steps_from_reset_and_from_step_100_are_those_of_env_step(task):
    env, count, steps, middle = bare(task), 4, 260, 100
    acts = actions_for(env, (steps, count))
    paths = paths_of(env, range(count), acts)
    lanes = lanes_of(env)
    assert_same([lanes.reset(range(count))], [np.stack([path[0][0] for path in paths])])
    kept = None
    for t in range(steps):
        if t == middle:
            kept = pickle.dumps([lanes.capture(lane) for lane in range(count)])
        ours = lanes.step(acts[t], np.ones(count, dtype=bool))
        assert_same(ours, [np.stack(part) for part in zip(*[path[t + 1] for path in paths], strict=True)])
    assert not lanes.unstable().any()
    # From the middle: in other lanes, in another order, each at its own pace.
    owners = [2, 0, 3, 1, 0, 2]
    states = pickle.loads(kept)
    there = lanes.another()
    there.load([states[owner] for owner in owners])
    at, rng = np.full(len(owners), middle), np.random.default_rng(1)
    for _ in range(60):
        running = rng.uniform(size=len(owners)) < 0.7
        obs, reward, ended = there.step(np.stack([acts[t, i] for t, i in zip(at, owners, strict=True)]), running)
        for lane, owner in enumerate(owners):
            if running[lane]:
                at[lane] += 1
                assert_same((obs[lane], reward[lane], ended[lane]), paths[owner][at[lane]])
            else:
                assert not obs[lane].any()
                assert reward[lane] == 0
                assert not ended[lane]
    assert len(set(at)) > 1
    # The snapshots are as they were, and small.
    assert pickle.dumps(states) == pickle.dumps(pickle.loads(kept))
    assert len(kept) / count < 4096


def test_the_paths_compared_cover_ends_and_contacts():
    """What the comparison above would be worth little without."""
    for task in ("InvertedPendulum-v5", "Hopper-v5", "Walker2d-v5", "Humanoid-v5"):
        env = bare(task)
        acts = actions_for(env, (120, 2))
        ended = [end for path in paths_of(env, range(2), acts) for _, _, end in path[1:]]
        assert 5 < sum(ended) < len(ended) - 5
    env = bare("Ant-v5")
    paths = paths_of(env, range(2), actions_for(env, (60, 2)))
    forces = np.stack([obs[27:] for path in paths for obs, *_ in path[1:]])
    assert (np.abs(forces) == 1).any()
    assert ((np.abs(forces) < 1) & (forces != 0)).any()


@pytest.mark.parametrize("task", ["Hopper-v5", "Walker2d-v5", "InvertedDoublePendulum-v5", "InvertedPendulum-v5"])
def test_states_too_fast_to_be_seen_whole_are_clipped_as_env_step_clips_them(task):
    env, rng, clipped = bare(task), np.random.default_rng(3), 0
    lanes = lanes_of(env)
    lanes.reset(range(8))
    states = [lanes.capture(lane) for lane in range(8)]
    for state in states:
        begin = 1 + env.model.nq
        state.state[begin : begin + env.model.nv] = rng.uniform(-30, 30, env.model.nv)
    acts = actions_for(env, (8,))
    lanes.load(states)
    obs, reward, ended = lanes.step(acts, np.ones(8, dtype=bool))
    for lane, state in enumerate(states):
        env.reset(seed=0)
        mujoco.mj_setState(env.model, env.data, state.state, mujoco.mjtState.mjSTATE_INTEGRATION)
        theirs = env.step(acts[lane])
        assert_same((obs[lane], reward[lane], ended[lane]), theirs[:3])
        clipped += np.sum(np.abs(theirs[0]) == 10)
    assert clipped >= 8 or task == "InvertedPendulum-v5"


OPTIONS = [
    ("HalfCheetah-v5", {"forward_reward_weight": 2.5, "ctrl_cost_weight": 0.3, "frame_skip": 2}),
    ("HalfCheetah-v5", {"exclude_current_positions_from_observation": False, "reset_noise_scale": 0.3}),
    ("Swimmer-v5", {"exclude_current_positions_from_observation": False, "ctrl_cost_weight": 1.5}),
    ("Hopper-v5", {"healthy_state_range": (-2.0, 1.5), "healthy_reward": 0.3, "ctrl_cost_weight": 0.7}),
    ("Hopper-v5", {"terminate_when_unhealthy": False, "healthy_z_range": (1.1, 1.24), "forward_reward_weight": 3}),
    ("Hopper-v5", {"healthy_angle_range": (-0.01, 0.02), "exclude_current_positions_from_observation": False}),
    ("Walker2d-v5", {"healthy_z_range": (1.2, 1.3), "healthy_angle_range": (-0.1, 0.1), "healthy_reward": 7.0}),
    ("Walker2d-v5", {"terminate_when_unhealthy": False, "exclude_current_positions_from_observation": False}),
    ("Reacher-v5", {"reward_dist_weight": 3, "reward_control_weight": 0.25, "frame_skip": 3}),
    ("Pusher-v5", {"reward_near_weight": 2, "reward_dist_weight": 0.3, "reward_control_weight": 0.7}),
    ("InvertedPendulum-v5", {"reset_noise_scale": 0.1, "frame_skip": 1}),
    ("InvertedDoublePendulum-v5", {"healthy_reward": 3.5, "reset_noise_scale": 0.01}),
    ("Ant-v5", {"contact_force_range": (-0.2, 0.5), "contact_cost_weight": 0.1, "main_body": 3, "healthy_reward": 2}),
    ("Ant-v5", {"terminate_when_unhealthy": False, "healthy_z_range": (0.5, 0.6), "main_body": "torso"}),
    ("Ant-v5", {"include_cfrc_ext_in_observation": False, "exclude_current_positions_from_observation": False}),
    ("Ant-v5", {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0, "forward_reward_weight": 0.2}),
    ("Humanoid-v5", {"include_cinert_in_observation": False, "contact_cost_range": (0.2, 3.0)}),
    ("Humanoid-v5", {"include_cvel_in_observation": False, "include_qfrc_actuator_in_observation": False}),
    (
        "Humanoid-v5",
        {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0, "healthy_z_range": (1.3, 1.4)},
    ),
    ("Humanoid-v5", {"terminate_when_unhealthy": False, "exclude_current_positions_from_observation": False}),
    ("HumanoidStandup-v5", {"include_cfrc_ext_in_observation": False, "impact_cost_range": (0.1, 0.3)}),
    ("HumanoidStandup-v5", {"include_cfrc_ext_in_observation": False, "impact_cost_weight": 0, "ctrl_cost_weight": 2}),
    ("HumanoidStandup-v5", {"include_cvel_in_observation": False, "uph_cost_weight": 3, "frame_skip": 2}),
]


@pytest.mark.parametrize(("task", "options"), OPTIONS, ids=str)
def test_the_constructors_options_are_honoured(task, options):
    env, count, steps = bare(task, **options), 2, 30
    acts = actions_for(env, (steps, count), seed=2)
    paths = paths_of(env, range(5, 5 + count), acts)
    lanes = lanes_of(env)
    assert_same([lanes.reset(range(5, 5 + count))], [np.stack([path[0][0] for path in paths])])
    for t in range(steps):
        ours = lanes.step(acts[t], np.ones(count, dtype=bool))
        assert_same(ours, [np.stack(part) for part in zip(*[path[t + 1] for path in paths], strict=True)])
    # The options do change something: this is not the comparison above again.
    plain = paths_of(bare(task), range(5, 5 + count), acts)
    assert any(
        len(path[t][0]) != len(other[t][0])
        or not np.array_equal(path[t][0], other[t][0])
        or path[t][1:] != other[t][1:]
        for path, other in zip(paths, plain, strict=True)
        for t in range(1, steps + 1)
    )


def test_contact_forces_are_computed_only_where_they_are_looked_at():
    for task, options, engine in (
        ("Ant-v5", {}, ContactEngine),
        ("Ant-v5", {"include_cfrc_ext_in_observation": False}, ContactEngine),
        ("Ant-v5", {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}, BatchEngine),
        ("Humanoid-v5", {"contact_cost_weight": 0}, ContactEngine),
        ("Hopper-v5", {}, BatchEngine),
    ):
        lanes = lanes_of(bare(task, **options))
        lanes.reset([0])
        assert type(lanes._engine) is engine


def test_only_gymnasiums_own_classes_as_they_are_have_a_vectorised_task():
    from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

    class Heavier(HopperEnv):
        def _get_rew(self, x_velocity, action):
            return 2 * x_velocity, {}

    assert task_of(HopperEnv()) is not None
    assert task_of(Heavier()) is None
    replaced = HopperEnv()
    replaced.step = lambda action: HopperEnv.step(replaced, 2 * action)
    assert task_of(replaced) is None
    assert task_of(bare("Pendulum-v1")) is None
