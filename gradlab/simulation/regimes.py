"""Regimes of a reward: what a derivative along a path cannot see when the reward jumps between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradlab.simulation.lanes.base import Bools

Regimes = NDArray[np.int64]

#: Numbers of itineraries with a change in them begin here, those of single regimes lie below.
_CHANGED = 2**61
_FACTOR = 1_000_003


class Itineraries:
    """Which regimes the rewards of N rollouts went through, one number each: equal only where all are equal.

    A rollout that stays in one regime has that regime's number; every change is mixed in with the step it is at.

    Example:
        >>> import torch
        >>> followed = Itineraries(2)
        >>> every = np.ones(2, dtype=bool)
        >>> for regimes in ([1, 1], [1, 0], [1, 1]):
        ...     followed.follow(np.array(regimes), every)
        >>> int(followed.numbers[0]), changes(torch.from_numpy(followed.numbers)).tolist()
        (1, [False, True])
    """

    def __init__(self, count: int) -> None:
        self.numbers = np.zeros(count, dtype=np.int64)
        self._now: Regimes = np.zeros(count, dtype=np.int64)
        self._step = 0

    def follow(self, regimes: Regimes | None, running: Bools) -> None:
        """The regimes [N] of a step's rewards, in the rollouts that were stepped; None where a task tells none."""
        if regimes is None:
            return
        if self._step == 0:
            self.numbers[running] = regimes[running]
        else:
            at = running & (regimes != self._now)
            # Digits that are never zero, so that fewer of them make another number; one that runs over begins again
            # from below, which is as good.
            before = self.numbers[at] + (self.numbers[at] < _CHANGED)
            self.numbers[at] = ((before * _FACTOR + self._step) & (_CHANGED - 1)) | _CHANGED
        self._now = np.where(running, regimes, self._now)
        self._step += 1


def changes(numbers: Tensor) -> Tensor:
    """Whether an itinerary with that number changes its regime."""
    return numbers >= _CHANGED
