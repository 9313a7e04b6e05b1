"""The rollout that a Stable-Baselines3 on-policy algorithm is about to train on, read without the buffer's ``get``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.rollout import Rollout

#: What the libraries keep a standard deviation from zero with.
_SMALL = 1e-8


def stored_rollout(model: Any) -> Rollout | None:
    """A copy of a full rollout that training has not gone through yet, advantages normalised where the actor's are.

    The buffer's arrays are read directly: ``get()`` permutes with numpy's global state and flattens them in place.
    They hold observations as the policy got them and actions before they are clipped for the environment.

    Args:
        model: PPO, A2C or TRPO.

    Returns:
        The steps of each environment one after the other, in float32 as they are kept; None where the buffer is not
        full, flattened already by training, or not one of flat observations.
    """
    buffer = model.rollout_buffer
    stored = getattr(buffer, "observations", None)
    if not isinstance(stored, np.ndarray) or stored.ndim != 3 or not buffer.full or buffer.generator_ready:
        return None
    starts = _by_environment(buffer.episode_starts).astype(bool)
    starts[:: buffer.buffer_size] = True
    act = _copy(buffer.actions)
    if type(model.action_space).__name__ == "Discrete":
        act = torch.nn.functional.one_hot(act[:, 0].long(), int(model.action_space.n)).float()
    advantage = _copy(buffer.advantages)
    notes: tuple[str, ...] = ()
    if model.normalize_advantage and len(advantage) > 1:
        advantage = (advantage - advantage.mean()) / (advantage.std() + _SMALL)
        # Only PPO takes the actor's gradient of a part of the rollout.
        if type(model).__name__ == "PPO" and model.batch_size < len(advantage):
            where = (
                f"over the rollout's {len(advantage)} steps; PPO does so within each minibatch of {model.batch_size}"
            )
            notes = (f"advantages are normalised {where}",)
    return Rollout(
        obs=_copy(stored),
        act=act,
        advantage=advantage,
        target=_copy(buffer.returns),
        value=_copy(buffer.values),
        trajectory=torch.from_numpy(starts.cumsum() - 1),
        notes=notes,
    )


def _by_environment(array: NDArray[Any]) -> NDArray[Any]:
    """[steps, envs, ...] as [envs · steps, ...], an array of its own."""
    flat: NDArray[Any] = array.swapaxes(0, 1).reshape(-1, *array.shape[2:]).copy()
    return flat


def _copy(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(_by_environment(array))
