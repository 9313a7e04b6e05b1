"""Observations that a TorchRL replay buffer has stored, read without its sampler."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlab.adapters.torchrl_networks import Key
from gradlab.errors import GradlabError

#: Transforms of a buffer after which observations are what they were, but for their type or place.
_HARMLESS = frozenset(
    {"DeviceCastTransform", "DoubleToFloat", "DTypeCastTransform", "MultiStepTransform", "StepCounter"}
)


def stored_observations(
    buffer: Any, count: int, generator: np.random.Generator, key: Key = "observation"
) -> Tensor | None:
    """Distinct stored steps' observations.

    The storage is read directly: ``sample`` draws from torch's global state and moves the sampler's own on.

    Args:
        buffer: a ReplayBuffer whose storage holds TensorDicts.
        count: how many.
        generator: where the choice comes from.
        key: of the observations.

    Returns:
        [count, n], or None while the buffer holds fewer.

    Raises:
        GradlabError: the storage is of a kind that is not known, or has no such observations.
    """
    storage: Any = getattr(buffer, "_storage", None)
    held = getattr(storage, "_storage", None)
    if held is None or len(storage) < count:
        return None
    if isinstance(held, list):
        chosen = generator.choice(len(held), size=count, replace=False)
        return torch.stack([_entry(held[int(index)], key) for index in chosen]).reshape(count, -1)
    if not hasattr(storage, "ndim"):
        raise GradlabError(f"sampler: a {type(storage).__name__} is not known; pass a sampler of your own")
    found, dimensions = _entry(held, key), storage.ndim
    # Of a storage of trajectories side by side, as much of each as there is.
    steps = len(storage) // math.prod(found.shape[1:dimensions])
    rows = found[:steps].flatten(0, dimensions - 1)
    mask = held.get(("collector", "mask"), None)
    usable = np.arange(len(rows))
    if mask is not None:
        usable = usable[mask[:steps].reshape(-1).numpy(force=True)]
    if len(usable) < count:
        return None
    index = torch.from_numpy(generator.choice(usable, size=count, replace=False)).to(rows.device)
    return rows[index].reshape(count, -1)


def refuse_transforms(buffer: Any, key: Key) -> None:
    """Refuse a buffer that changes observations when it is sampled: what is stored is not what the networks get.

    Raises:
        GradlabError: it has a transform of that key.
    """
    if name := changed_by(getattr(buffer, "_transform", None), key):
        raise GradlabError(
            f"sampler: the buffer's {name} changes {key!r} when it is sampled; pass a sampler of your own, which gives "
            "observations as the networks get them"
        )


def changed_by(transform: Any, key: Key) -> str | None:
    """The name of the first of the transforms that reads or writes ``key`` and does more than change its type."""
    for one in getattr(transform, "transforms", [transform]):
        keys = (*(getattr(one, "in_keys", None) or ()), *(getattr(one, "out_keys", None) or ()))
        if key in keys and type(one).__name__ not in _HARMLESS:
            return type(one).__name__
    return None


def _entry(held: Any, key: Key) -> Tensor:
    found = held.get(key, None) if hasattr(held, "get") else None
    if not isinstance(found, Tensor):
        raise GradlabError(f"sampler: the buffer holds no {key!r}; name the key of the observations with key=...")
    return found
