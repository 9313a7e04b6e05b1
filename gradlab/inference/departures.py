"""Where the values of a series depart from those before them: scores, and the thresholds that fit each history."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.inference.histories import (
    Scatters,
    autocorrelations_along,
    jump_threshold,
    jumps_along,
    scatter_threshold,
    scatters_along,
)

Floats = NDArray[np.float64]

#: Windows of history that the correlation from one value to the next is taken from.
_MEMORY = 5


class Departures(NamedTuple):
    """Scores of values and from where they are alarms, [K − first]; NaN where there is not enough history.

    Attributes:
        centre: the median of the history.
        spread: its robust standard deviation, with what the value's own error adds.
        score: how many of these the value is away.
        limit: the |score| beyond which it is an alarm.
        scatter: changes of late against those before.
        scatter_limit: the score beyond which it is an alarm.
    """

    centre: Floats
    spread: Floats
    score: Floats
    limit: Floats
    scatter: Scatters
    scatter_limit: Floats


def departures(x: Floats, error: Floats, window: int, rate: float, first: int) -> Departures:
    """Each value from ``first`` on against those before it.

    Args:
        x: values, in order.
        error: their standard errors, zero where not known.
        window: how many of the values before make the history.
        rate: of false alarms, of either kind.
        first: index of the first value that is judged.

    Example:
        >>> found = departures(np.array([1.0, 2.0] * 6 + [50.0]), np.zeros(13), 20, 0.0025, 11)
        >>> (np.abs(found.score) > found.limit).tolist()
        [False, True]
    """
    memory = autocorrelations_along(x, _MEMORY * window, first)
    jumps, scatters = jumps_along(x, error, window, first), scatters_along(x, error, window, first)

    def limits(length: NDArray[np.int64], threshold: Callable[[int, float], float]) -> Floats:
        pairs = zip(length.tolist(), memory.tolist(), strict=True)
        return np.array([threshold(size, bound) if size else math.nan for size, bound in pairs])

    return Departures(
        jumps.centre,
        jumps.spread,
        jumps.score,
        limits(jumps.length, lambda size, bound: jump_threshold(size, bound, rate)),
        scatters,
        limits(scatters.length, lambda size, bound: scatter_threshold(scatters.recent_length, size, bound, rate)),
    )
