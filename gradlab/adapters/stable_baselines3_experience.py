"""Steps that a Stable-Baselines3 run's replay holds, read without its own sampling, and whether new ones enter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradlab.experience import Transitions

#: Rows of the buffer, the last it took, in which a run's latest steps are looked for, for each of those.
_BACK = 2


def replay_transitions(model: Any, count: int, generator: np.random.Generator) -> Transitions | None:
    """Distinct steps out of the replay, as training gets them: normalised where the model has a ``VecNormalize``.

    A step that a time limit cut off has not terminated; one that a buffer holds without saying so is taken at its word.

    Args:
        model: an off-policy algorithm.
        count: how many.
        generator: where the choice comes from.

    Returns:
        ``count`` of them, or None while the buffer holds fewer or is not one of flat observations.
    """
    buffer = getattr(model, "replay_buffer", None)
    stored = getattr(buffer, "observations", None)
    # A buffer of another class may keep its steps otherwise; one that is a subclass keeps these arrays.
    if buffer is None or not isinstance(stored, np.ndarray) or stored.ndim != 3:
        return None
    shared = bool(getattr(buffer, "optimize_memory_usage", False))
    steps, envs = buffer.buffer_size if buffer.full else buffer.pos, stored.shape[1]
    # One array holds observations and their successors; the row being written belongs to no step then.
    first, steps = (buffer.pos + 1, steps - 1) if buffer.full and shared else (0, steps)
    if steps * envs < count:
        return None
    row, env = np.divmod(generator.choice(steps * envs, size=count, replace=False), envs)
    row = (first + row) % len(stored)
    following = stored[(row + 1) % len(stored), env] if shared else buffer.next_observations[row, env]
    cut_off = buffer.timeouts[row, env] if getattr(buffer, "handle_timeout_termination", False) else 0.0
    reward = buffer.rewards[row, env]
    statistics = model.get_vec_normalize_env()
    obs = stored[row, env]
    if statistics is not None:
        obs, following = statistics.normalize_obs(obs), statistics.normalize_obs(following)
        reward = statistics.normalize_reward(reward)
    return transitions(obs, buffer.actions[row, env], reward, following, buffer.dones[row, env] * (1 - cut_off) > 0)


def entered_share(model: Any, obs: NDArray[Any]) -> float | None:
    """Share of observations that are among the last rows of the replay, as they are there; None where it is not read.

    Args:
        model: an off-policy algorithm.
        obs: raw observations of steps that the run has taken, [B, n].
    """
    buffer = getattr(model, "replay_buffer", None)
    stored = getattr(buffer, "observations", None)
    if buffer is None or not isinstance(stored, np.ndarray) or stored.ndim != 3 or not len(obs):
        return None
    held = len(stored) if buffer.full else buffer.pos
    # A small buffer has let go of what it took before.
    obs = obs[-max(1, held * stored.shape[1]) :]
    rows = min(held, _BACK * len(obs))
    last = stored[(buffer.pos - 1 - np.arange(rows)) % len(stored)].reshape(-1, stored.shape[-1])
    known = {row.tobytes() for row in last}
    return float(np.mean([row.tobytes() in known for row in obs.astype(stored.dtype)]))


def transitions(obs: Any, act: Any, reward: Any, next_obs: Any, terminated: Any) -> Transitions:
    """Arrays as transitions."""
    s, a, r, following = (torch.as_tensor(np.asarray(part)) for part in (obs, act, reward, next_obs))
    return Transitions(s, a, r, following, torch.as_tensor(np.asarray(terminated, dtype=bool)))
