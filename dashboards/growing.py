"""A series that goes on: what is added is written behind what there is, which is not copied for each measurement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dashboards.series import COLUMNS, Series

_WHOLE = ("step", "samples")
_REAL = tuple(name for name in COLUMNS if name not in _WHOLE)


class Growing:
    """One number over training while the run goes on.

    Series that were given out are views of the first rows: later ones are written behind them, so that they stay as
    they were. One thread adds.

    Args:
        first: what there is.

    Example:
        >>> one = Series(np.array([1000]), *[np.ones(1)] * 4, np.array([8]))
        >>> growing = Growing(one)
        >>> two = growing.extended(one.pick(slice(None)))
        >>> len(growing.series), two.step, growing.series is two
        (2, array([1000, 1000]), True)
    """

    def __init__(self, first: Series) -> None:
        self.series = first
        self._whole: NDArray[np.int64] = np.empty((len(_WHOLE), 0), np.int64)
        self._real: NDArray[np.float64] = np.empty((len(_REAL), 0))

    def extended(self, more: Series) -> Series:
        """With later records added; results that arrive late are put where their step belongs."""
        before, count = len(self.series), len(self.series) + len(more)
        if before and len(more) and more.step[0] < self.series.step[-1]:
            # What was given out is not to change: all of it is copied.
            self.series = self.series.extended(more)
            self._whole, self._real = self._whole[:, :0], self._real[:, :0]
            return self.series
        if count > self._whole.shape[1]:
            room = max(16, count + count // 2)
            self._whole, self._real = np.empty((len(_WHOLE), room), np.int64), np.empty((len(_REAL), room))
            self._write(self.series, 0)
        self._write(more, before)
        whole, real = self._whole[:, :count], self._real[:, :count]
        columns = dict(zip((*_WHOLE, *_REAL), (*whole, *real), strict=True))
        self.series = Series(**columns, reference=more.reference, objective=more.objective)
        return self.series

    def _write(self, rows: Series, place: int) -> None:
        for names, room in ((_WHOLE, self._whole), (_REAL, self._real)):
            for row, name in enumerate(names):
                room[row, place : place + len(rows)] = getattr(rows, name)
