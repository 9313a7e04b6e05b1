"""Observations that a Stable-Baselines3 run has stored, read without the buffers' own sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def observations(model: Any, raw: Any) -> NDArray[Any]:
    """Raw observations as the networks get them: normalised where the model has a ``VecNormalize``.

    The running statistics are read, not updated.
    """
    array: NDArray[Any] = np.asarray(raw)
    statistics = model.get_vec_normalize_env()
    return array if statistics is None else statistics.normalize_obs(array)


def stored_observations(model: Any, count: int, generator: np.random.Generator) -> NDArray[Any] | None:
    """Distinct stored steps' observations, as the networks get them, out of whichever buffer the model has.

    Args:
        model: the algorithm.
        count: how many.
        generator: where the choice comes from.

    Returns:
        [count, n], or None while the buffer holds fewer or is not one of flat observations.
    """
    read = rollout_observations if getattr(model, "rollout_buffer", None) is not None else replay_observations
    return read(model, count, generator)


def replay_observations(model: Any, count: int, generator: np.random.Generator) -> NDArray[Any] | None:
    """Likewise, out of the replay buffer of an off-policy algorithm.

    The buffer's arrays are read directly: its own ``sample`` draws from numpy's global state. It keeps raw
    observations, which are normalised here.
    """
    buffer = getattr(model, "replay_buffer", None)
    stored = getattr(buffer, "observations", None)
    if buffer is None or not isinstance(stored, np.ndarray) or stored.ndim != 3:
        return None
    steps, envs = buffer.buffer_size if buffer.full else buffer.pos, stored.shape[1]
    first = 0
    if buffer.full and getattr(buffer, "optimize_memory_usage", False):
        # One array holds observations and their successors; the row being written belongs to no transition.
        first, steps = buffer.pos + 1, steps - 1
    if steps * envs < count:
        return None
    step, env = np.divmod(generator.choice(steps * envs, size=count, replace=False), envs)
    return observations(model, stored[(first + step) % len(stored), env])


def rollout_observations(model: Any, count: int, generator: np.random.Generator) -> NDArray[Any] | None:
    """Likewise, out of a full rollout buffer of an on-policy algorithm.

    Its arrays are read directly: ``get()`` permutes with numpy's global state and flattens them in place. It keeps
    observations as the policy got them, so that they are not normalised again.
    """
    buffer = model.rollout_buffer
    stored = getattr(buffer, "observations", None)
    if not isinstance(stored, np.ndarray) or not buffer.full:
        return None
    # Flattened already once training has gone through it.
    if stored.ndim != (2 if buffer.generator_ready else 3):
        return None
    rows = stored.reshape(-1, stored.shape[-1])
    return rows[generator.choice(len(rows), size=count, replace=False)] if len(rows) >= count else None
