"""The training step that all pages look at: where the slider may stop, and which measurement is nearest."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.records import Records

_NONE = np.zeros(0, dtype=np.int64)
#: Stops to either side that a page knows of.
_AROUND = 20


def stops(records: Records, run: int | None, probes: Collection[str] = ()) -> NDArray[np.int64]:
    """Steps at which the slider stops, ascending, [n]: those of the number that was measured most often.

    Args:
        records: what is known of the store.
        run: the run.
        probes: whose measurements; those of every probe when empty.
    """
    fields = np.array([step for step, _ in records.fields(run)], dtype=np.int64)
    if tuple(probes) == ("field",):
        return fields
    found = [one.step for key, one in records.series(run).items() if not probes or key.probe in probes]
    most = max(found, key=len, default=_NONE)
    # Of two records of one step the slider stops at one: it would never get past the other.
    return most[np.diff(most, prepend=most[0] - 1) > 0] if len(most) else fields


def nearest(steps: NDArray[np.int64], at: Any) -> int:
    """The place of the stop that is nearest to a step; the last one where none is given, −1 where there are none.

    Example:
        >>> nearest(np.array([1000, 2000, 3000]), 2400), nearest(np.array([1000]), None), nearest(np.array([]), 5)
        (1, 0, -1)
    """
    if not len(steps) or not isinstance(at, int | float):
        return len(steps) - 1
    right = int(np.searchsorted(steps, at))
    if right == len(steps):
        return right - 1
    if right == 0:
        return 0
    return right if steps[right] - at <= at - steps[right - 1] else right - 1


def around(steps: NDArray[np.int64], place: int) -> list[int]:
    """Stops before and after one, with it; enough for a key that is held while the next are on their way.

    Example:
        >>> around(np.arange(100), 50)[:2], len(around(np.arange(100), 50)), around(np.array([7, 8]), 1)
        ([30, 31], 41, [7, 8])
    """
    return steps[max(0, place - _AROUND) : place + _AROUND + 1].tolist() if place >= 0 else []


def looked_at(at: Any, follow: Any) -> int | None:
    """The step that a page looks at, of what the browser says; None where it follows the newest.

    Args:
        at: data of the store ``at``: the step first.
        follow: whether the slider follows.

    Example:
        >>> looked_at([2000, 1, 5, []], False), looked_at([2000, 1, 5, []], True), looked_at(None, False)
        (2000, None, None)
    """
    return at[0] if at and not follow else None


def picture_at(records: Records, run: int | None, at: Any) -> tuple[int, int] | None:
    """Step and measurement id of the picture of the field that is nearest to a step; None where there is none."""
    fields = records.fields(run)
    place = nearest(np.array([step for step, _ in fields], dtype=np.int64), at)
    return fields[place] if fields else None


def extent(records: Records, run: int | None) -> tuple[int, int] | None:
    """The first and the last step of a run at which anything was measured; None while nothing was."""
    ends = [(int(one.step[0]), int(one.step[-1])) for one in records.series(run).values() if len(one)]
    ends += [(fields[0][0], fields[-1][0]) for fields in [records.fields(run)] if fields]
    return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None
