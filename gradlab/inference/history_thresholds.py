"""From which score a number departs from its history: quantiles where nothing has changed."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gradlab.inference.deviations import deviation

Floats = NDArray[np.float64]

_DRAWS, _SEED = 40_000, 1_618_034
#: Correlations that thresholds are simulated for; the next larger one is taken.
MEMORIES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)

#: The usual rate and number of recent changes, whose thresholds are kept: simulating them takes a second. By length of
#: the history, for each of the correlations; they are what ``simulated`` gives.
USUAL_RATE, USUAL_RECENT = 0.0025, 10
_JUMPS = {
    8: (8.432844, 9.4513937, 9.4399881, 9.6732562, 9.9497098, 10.237772, 10.379524, 10.79416, 11.3229, 11.563761),
    12: (6.1909043, 6.2335383, 6.2365706, 6.4307493, 6.8022568, 7.2035236, 7.6291644, 7.810398, 7.6854019, 8.2568903),
    16: (5.0719171, 5.21831, 5.2312719, 5.3242034, 5.4918499, 5.5684384, 5.9672787, 6.297778, 6.5710183, 6.9717246),
    20: (4.5517463, 4.5434703, 4.6679499, 4.7443816, 4.942404, 5.1721271, 5.5747267, 5.8649887, 6.1193869, 6.5042255),
}
_SCATTERS = {
    8: (1.7075146, 1.6761123, 1.6710435, 1.6552186, 1.6557779, 1.6548609, 1.6254099, 1.6378446, 1.615608, 1.6139173),
    12: (1.5042621, 1.4777146, 1.4259102, 1.413018, 1.4171837, 1.4209501, 1.4023477, 1.4084284, 1.388494, 1.3689856),
    16: (1.3563937, 1.3039703, 1.2775335, 1.2561442, 1.231617, 1.2623737, 1.2422996, 1.2515413, 1.2447271, 1.2546289),
    20: (1.2645698, 1.2383335, 1.2206086, 1.2100979, 1.1987331, 1.1596753, 1.14783, 1.1531568, 1.1429243, 1.1601616),
}


def jump_threshold(length: int, memory: float, rate: float) -> float:
    """The |score| of ``jump_score`` that a share ``rate`` of stationary normal values of this autocorrelation exceeds.

    There is no formula: the score is a ratio of medians of a few numbers that depend on each other.

    Example:
        >>> jump_threshold(20, 0.0, 0.01) < jump_threshold(8, 0.0, 0.01) < jump_threshold(8, 0.8, 0.01)
        True
    """
    place = _place(memory)
    if rate == USUAL_RATE and length in _JUMPS:
        return _JUMPS[length][place]
    return simulated(None, length, MEMORIES[place], rate)


def scatter_threshold(recent: int, length: int, memory: float, rate: float) -> float:
    """The same of ``scatter_score``, one-sided."""
    place = _place(memory)
    if rate == USUAL_RATE and recent == USUAL_RECENT and length in _SCATTERS:
        return _SCATTERS[length][place]
    return simulated(recent, length, MEMORIES[place], rate)


@lru_cache(maxsize=1024)
def simulated(recent: int | None, length: int, memory: float, rate: float) -> float:
    """Either threshold by simulation, with seeds of its own: of a jump where ``recent`` is None."""
    if recent is None:
        chains = _chains(length + 1, memory)
        past = chains[:, :-1]
        centre = np.median(past, axis=1, keepdims=True)
        score = np.abs(chains[:, -1] - centre[:, 0]) / deviation(past - centre)
    else:
        changes = np.abs(np.diff(_chains(recent + length + 1, memory), axis=1))
        score = np.log(np.median(changes[:, -recent:], axis=1) / np.median(changes[:, :-recent], axis=1))
    return float(np.quantile(score, 1 - rate))


def _chains(length: int, memory: float) -> Floats:
    """Stationary normal autoregressions, [draws, length]."""
    chains = np.random.default_rng([_SEED, length]).standard_normal((_DRAWS, length))
    for i in range(1, length):
        chains[:, i] = memory * chains[:, i - 1] + math.sqrt(1 - memory**2) * chains[:, i]
    return chains


def _place(memory: float) -> int:
    return next(place for place, found in enumerate(MEMORIES) if found >= memory - 1e-9)
