"""How old the steps of a rollout are in their episodes: t of γᵗ, as far as it is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.rollout import Rollout


def ages(begun: NDArray[Any], starts: NDArray[Any]) -> Tensor:
    """The step of its episode that each row is.

    Args:
        begun: which rows are the first of an episode, [N] bool.
        starts: which rows are the first of a trajectory, those among them, [N] bool.

    Returns:
        [N] int64; −1 in the episodes that had begun before the rollout.

    Example:
        >>> ages(np.array([False, False, True, False]), np.array([True, False, True, False])).tolist()
        [-1, -1, 0, 1]
    """
    row = np.arange(len(starts))
    first = np.maximum.accumulate(np.where(starts, row, 0))
    return torch.from_numpy(np.where(begun[first], row - first, -1))


def continued(rollout: Rollout, before: Rollout, environments: int) -> Rollout:
    """The rollout with the ages of episodes that began in the rollout just before it, or earlier where that knew.

    Args:
        rollout: of some environments, one after the other.
        before: the rollout that training went through last, of the same environments and as long.
        environments: how many.
    """
    if rollout.age is None or before.age is None or len(rollout) != len(before):
        return rollout
    age, last = (part.reshape(environments, -1) for part in (rollout.age, before.age))
    # The rows of an episode that had begun come first, and no later one has.
    known = (age < 0) & (last[:, -1:] >= 0)
    row = torch.arange(age.shape[1], device=age.device)
    return replace(rollout, age=torch.where(known, last[:, -1:] + 1 + row, age).flatten())
