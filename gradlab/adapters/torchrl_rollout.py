"""A TensorDict that a value estimator of TorchRL has gone over, as a rollout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.adapters.torchrl import loss_of, observation_key
from gradlab.adapters.torchrl_networks import Key
from gradlab.errors import GradlabError
from gradlab.rollout import Rollout


def rollout_of(data: Any, loss: Any) -> Rollout:
    """A copy of what a PPO or A2C loss is about to train on.

    Call it after the advantages have been worked out (GAE) and before the first step of an optimizer, on the steps in
    their order. Time is the last dimension of the batch, as collectors have it; a trajectory ends where ``done`` says
    so, at the end of its row, and where the collector's ``traj_ids`` change. Padded steps are left out.

    Args:
        data: batch of shape [steps] or [environments, …, steps] with the observation, the action, the value, its
            target, the advantage and ("next", done).
        loss: the loss module (or trainer), for its keys and how it normalises advantages.

    Returns:
        The steps, trajectory after trajectory.

    Raises:
        GradlabError: one of these is missing, or the loss is not supported.
    """
    loss = loss_of(loss)
    keys = loss.tensor_keys
    steps = data.batch_size.numel()
    obs, act = (_entry(data, key).reshape(steps, -1) for key in (observation_key(loss), keys.action))
    value, target, advantage = (
        _entry(data, key).reshape(steps, -1) for key in (keys.value, keys.value_target, keys.advantage)
    )
    if {part.shape[-1] for part in (value, target, advantage)} != {1}:
        raise GradlabError("rollout: more than one value or advantage a step is not supported; make a Rollout yourself")
    kept = _mask(data, steps)
    named = {"obs": obs, "act": act, "advantage": advantage[:, 0], "target": target[:, 0], "value": value[:, 0]}
    parts = {name: part.detach()[kept].clone() for name, part in named.items()}
    starts = _starts(data, keys.done, steps)
    # A number a trajectory; those of which every step is padded leave a gap, which is closed.
    trajectory = torch.unique_consecutive((starts.cumsum(0) - 1)[kept], return_inverse=True)[1]
    notes: tuple[str, ...] = ()
    if getattr(loss, "normalize_advantage", False) and len(trajectory) > 1:
        found = parts["advantage"]
        parts["advantage"] = (found - found.mean()) / found.std().clamp_min(1e-6)
        notes = (
            f"advantages are normalised over the rollout's {len(found)} steps; the loss does so in each minibatch",
        )
    return Rollout(
        obs=parts["obs"],
        act=parts["act"],
        advantage=parts["advantage"],
        target=parts["target"],
        value=parts["value"],
        trajectory=trajectory,
        notes=notes,
    )


def _starts(data: Any, done: Key, steps: int) -> Tensor:
    """Which steps begin a trajectory, [steps]."""
    length = data.batch_size[-1]
    ended = _entry(data, ("next", done) if isinstance(done, str) else ("next", *done)).reshape(steps)
    starts = torch.zeros(steps, dtype=torch.bool, device=ended.device)
    starts[1:] = ended[:-1]
    starts[::length] = True
    numbers = data.get(("collector", "traj_ids"), None)
    if numbers is not None:
        numbers = numbers.reshape(steps)
        starts[1:] |= numbers[1:] != numbers[:-1]
    return starts


def _mask(data: Any, steps: int) -> Tensor:
    mask = data.get(("collector", "mask"), None)
    return torch.ones(steps, dtype=torch.bool) if mask is None else mask.reshape(steps)


def _entry(data: Any, key: Key) -> Tensor:
    found = data.get(key, None)
    if not isinstance(found, Tensor):
        raise GradlabError(f"rollout: the batch has no {key!r}; hand it over after its advantages have been worked out")
    return found
