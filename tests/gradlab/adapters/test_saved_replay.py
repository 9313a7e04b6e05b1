"""A saved replay buffer gives what the live one gives, and nothing in its file is run."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.save_util import save_to_pkl

from gradlab.adapters.stable_baselines3_experience import replay_transitions
from gradlab.adapters.stable_baselines3_observations import replay_observations
from gradlab.adapters.stable_baselines3_replay import SavedReplay
from gradlab.errors import GradlabError


def filled(steps, envs=1, n=3, **options):
    """A ring of 40 rows, with so many steps in it; every third is the last of its episode, every sixth cut off."""
    rng = np.random.default_rng(steps)
    buffer = ReplayBuffer(40 * envs, Box(-9, 9, (n,)), Box(-1, 1, (2,)), "cpu", n_envs=envs, **options)
    for step in range(steps):
        obs, following = rng.normal(size=(2, envs, n))
        infos = [{"TimeLimit.truncated": step % 6 == 0}] * envs
        buffer.add(obs, following, rng.uniform(-1, 1, (envs, 2)), rng.normal(size=envs), [step % 3 == 0] * envs, infos)
    return buffer


@pytest.mark.parametrize("steps", [30, 40, 70])
@pytest.mark.parametrize(
    "options",
    [{}, {"envs": 3}, {"optimize_memory_usage": True, "handle_timeout_termination": False}],
    ids=["plain", "three environments", "one array for both"],
)
def test_the_same_generator_chooses_the_same_steps(tmp_path, steps, options):
    buffer = filled(steps, **options)
    model = SimpleNamespace(replay_buffer=buffer, get_vec_normalize_env=lambda: None)
    save_to_pkl(tmp_path / "a.pkl", buffer)
    saved = SavedReplay(tmp_path / "a.pkl")
    assert (saved.obs_size, saved.steps) == (3, min(steps, 40) * options.get("envs", 1))
    for count in (1, 20):
        one, other = (np.random.default_rng(5) for _ in range(2))
        np.testing.assert_array_equal(saved.observations(count, one), replay_observations(model, count, other))
        live, found = replay_transitions(model, count, other), saved.transitions(count, one)
        for name in ("obs", "act", "reward", "next_obs", "terminated"):
            assert torch.equal(getattr(live, name), getattr(found, name)), name
    assert saved.observations(500, np.random.default_rng(0)) is None


def test_what_is_no_buffer_of_flat_observations_is_one_line(tmp_path):
    spaces = {"a": Box(-1, 1, (2,))}
    from gymnasium.spaces import Dict

    save_to_pkl(tmp_path / "dict.pkl", DictReplayBuffer(10, Dict(spaces), Box(-1, 1, (2,)), "cpu"))
    save_to_pkl(tmp_path / "picture.pkl", ReplayBuffer(4, Box(0, 255, (3, 4, 4), np.uint8), Box(-1, 1, (2,)), "cpu"))
    whole = tmp_path / "whole.pkl"
    save_to_pkl(whole, filled(30))
    (tmp_path / "cut.pkl").write_bytes(whole.read_bytes()[:-200])
    (tmp_path / "text.pkl").write_text("a buffer")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"observations": [1.0]}))
    odd = filled(30)
    odd.rewards = odd.rewards[:5]
    save_to_pkl(tmp_path / "odd.pkl", odd)
    for name in ("dict", "picture", "cut", "text", "plain", "odd", "nowhere"):
        with pytest.raises(GradlabError, match=f"replay buffer .*{name}.pkl: ") as caught:
            SavedReplay(tmp_path / f"{name}.pkl")
        assert "\n" not in str(caught.value)
