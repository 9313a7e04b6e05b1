"""Observations out of the replay buffer, without its own sampling."""

import numpy as np
import pytest
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from gradlab.adapters.stable_baselines3 import observations, replay_observations


def rows(array):
    return {row.tobytes() for row in np.ascontiguousarray(array)}


def stored(model):
    return model.replay_buffer.observations.reshape(-1, 3)


def test_distinct_steps_that_are_stored(train):
    model = train(TD3, steps=80)
    obs = replay_observations(model, 50, np.random.default_rng(0))
    assert obs.shape == (50, 3)
    assert len(rows(obs)) == 50
    assert rows(obs) <= rows(stored(model)[:80])


def test_all_of_them_and_no_more(train):
    model = train(TD3, steps=80)
    assert rows(replay_observations(model, 80, np.random.default_rng(0))) == rows(stored(model)[:80])
    assert replay_observations(model, 81, np.random.default_rng(0)) is None


def test_none_before_anything_is_stored(train):
    assert replay_observations(train(TD3, steps=0), 1, np.random.default_rng(0)) is None


def test_a_buffer_that_has_wrapped(train):
    model = train(TD3, steps=80, buffer_size=60)
    assert model.replay_buffer.full
    assert rows(replay_observations(model, 60, np.random.default_rng(0))) == rows(stored(model))


def test_several_environments(train, drift, boxes):
    env = DummyVecEnv([lambda: drift(*boxes["unit"])] * 3)
    model = train(TD3, env=env, steps=60)
    assert model.replay_buffer.pos == 20
    obs = replay_observations(model, 60, np.random.default_rng(0))
    assert rows(obs) == rows(model.replay_buffer.observations[:20].reshape(-1, 3))


@pytest.mark.parametrize("steps", [45, 80])
def test_the_memory_efficient_buffer_leaves_out_the_row_being_written(steps, train):
    options = {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}}
    model = train(TD3, steps=steps, buffer_size=60, **options)
    buffer = model.replay_buffer
    valid = [row for row in range(60) if row != buffer.pos] if buffer.full else list(range(buffer.pos))
    obs = replay_observations(model, len(valid), np.random.default_rng(0))
    assert rows(obs) == rows(buffer.observations[valid, 0])
    assert replay_observations(model, len(valid) + 1, np.random.default_rng(0)) is None


def test_normalised_as_the_library_samples_them(train, drift, boxes):
    env = VecNormalize(DummyVecEnv([lambda: drift(*boxes["unit"])]))
    model = train(SAC, env=env)
    obs = replay_observations(model, 80, np.random.default_rng(0))
    every = model.replay_buffer._get_samples(np.arange(80), env=env).observations.numpy()
    assert rows(obs) == rows(every)
    assert abs(obs.mean()) < 0.2 < abs(stored(model)[:80].mean())
    raw = stored(model)[:5]
    before = env.obs_rms.mean.copy()
    assert np.array_equal(observations(model, raw), every[:5])
    assert np.array_equal(env.obs_rms.mean, before)


def test_random_states_and_the_buffer_are_left_alone(train, random_states):
    model = train(TD3)
    before, data = random_states(), model.replay_buffer.observations.copy()
    obs = replay_observations(model, 40, np.random.default_rng(5))
    obs[:] = 0
    assert random_states() == before
    assert np.array_equal(model.replay_buffer.observations, data)
    again = replay_observations(model, 40, np.random.default_rng(5))
    assert np.array_equal(again, replay_observations(model, 40, np.random.default_rng(5)))
