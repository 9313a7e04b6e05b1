"""What each measurement of a probe took, as columns that grow with the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.store.records import Where

#: Rows for which there is room at first; doubled whenever there is none left.
_ROOM = 64
_ROW = np.dtype([("time", "f8"), ("step", "i8"), ("cost", "f8"), ("inline", "?")])


class Entry(NamedTuple):
    """What one measurement cost: when it was stored, its training step, seconds, and the process it was made in."""

    time: float
    step: int
    cost: float
    where: Where


class Columns(NamedTuple):
    """Entries as arrays, [n] each: see ``Entry``."""

    time: NDArray[np.float64]
    step: NDArray[np.int64]
    cost: NDArray[np.float64]


class Entries:
    """What measurements cost, in the order in which they were stored; one thread adds while others read.

    Args:
        entries: the first ones.

    Example:
        >>> entries = Entries([Entry(50.0, 500, 2.0, "inline"), Entry(60.0, 600, 3.0, "background")])
        >>> entries.append(Entry(90.0, 1000, 1.0, "inline"))
        >>> len(entries), entries.places(), entries.of("inline").cost
        (3, ['inline', 'background'], array([2., 1.]))
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._rows = np.zeros(_ROOM, _ROW)
        self._count = 0
        for entry in entries:
            self.append(entry)

    def append(self, entry: Entry) -> None:
        """Adds one."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros(len(self._rows), _ROW)])
        self._rows[self._count] = (entry.time, entry.step, entry.cost, entry.where == "inline")
        # Whoever reads meanwhile sees whole rows only.
        self._count += 1

    def places(self) -> list[Where]:
        """Where it was measured, in the order in which that was first seen."""
        inline = self._seen()["inline"]
        if not len(inline):
            return []
        here, there = ("inline", "background") if inline[0] else ("background", "inline")
        return [here] if inline.all() or not inline.any() else [here, there]

    def of(self, where: Where) -> Columns:
        """Those that were made in one of the two processes."""
        rows = self._seen()
        rows = rows[rows["inline"] == (where == "inline")]
        return Columns(rows["time"], rows["step"], rows["cost"])

    def columns(self) -> Columns:
        """All of them."""
        rows = self._seen()
        return Columns(rows["time"], rows["step"], rows["cost"])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        for time, step, cost, inline in self._seen().tolist():
            yield Entry(time, step, cost, "inline" if inline else "background")

    def _seen(self) -> NDArray[np.void]:
        # The count first: rows may only become more meanwhile.
        count = self._count
        return self._rows[:count]
