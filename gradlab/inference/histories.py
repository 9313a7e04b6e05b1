"""A number against the history it comes from: robust scores, and what they are where nothing has changed."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.inference.rank_correlation import spearman

Floats = NDArray[np.float64]

#: Shortest history.
LEAST = 8
#: Makes the median absolute deviation of normal numbers their standard deviation.
_NORMAL = 1.4826022
_DRAWS, _SEED = 40_000, 1_618_034
#: Correlations that thresholds are simulated for; the next larger one is taken.
_MEMORIES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


class Jump(NamedTuple):
    """A number's distance from the median of ``length`` before it, over ``spread``."""

    score: float
    centre: float
    spread: float
    length: int


class Scatter(NamedTuple):
    """Typical changes of late and before, ½ log of their squares' ratio without what errors explain, and lengths."""

    score: float
    recent: float
    previous: float
    recent_length: int
    length: int


def jump_score(history: Floats, errors: Floats, value: float, error: float) -> Jump:
    """How far a value lies from its history, in robust standard deviations.

    Args:
        history: the values before, at least ``LEAST``; the latest are used, as many as there are thresholds for.
        errors: their standard errors, zero where not known.
        value: the value.
        error: its standard error.

    Example:
        >>> found = jump_score(np.array([-2.0, -1, -1, 0, 0, 1, 1, 2]), np.zeros(8), 3.0, 0.0)
        >>> round(found.score, 3), found.centre, found.spread, found.length
        (2.023, 0.0, 1.4826022, 8)
    """
    length = _length(len(history))
    past, known = history[-length:], float(np.square(errors[-length:]).mean())
    centre = float(np.median(past))
    variance = max(float(_deviation(past - centre)) ** 2, known)
    # A measurement that is less precise than those before scatters more.
    spread = math.sqrt(variance + max(error**2 - known, 0.0))
    away = value - centre
    score = away / spread if spread > 0 else math.copysign(math.inf, away) if away else 0.0
    return Jump(score, centre, spread, length)


def scatter_score(values: Floats, errors: Floats, window: int) -> Scatter | None:
    """Whether the latest changes from value to value are larger than those before; None where there are too few.

    Args:
        values: all values up to now.
        errors: their standard errors, zero where not known.
        window: how many changes before are the history; half as many are the latest.
    """
    recent_length = max(_length(window) // 2, LEAST // 2)
    changes = np.abs(np.diff(values))
    if len(changes) < recent_length + LEAST:
        return None
    length = _length(min(len(changes) - recent_length, window))
    late, before = changes[-recent_length:], changes[-recent_length - length : -recent_length]
    scale = _NORMAL / math.sqrt(2)
    recent, previous = (float(scale * np.median(part)) for part in (late, before))
    squares = np.square(errors)
    at_late, at_before = (
        float(squares[-recent_length:].mean()),
        float(squares[-recent_length - length - 1 : -recent_length].mean()),
    )
    variance = recent**2 - max(at_late - at_before, 0.0)
    growth = math.inf if previous == 0 else variance / previous**2
    score = 0.5 * math.log(growth) if variance > 0 else -math.inf
    return Scatter(score, recent, previous, recent_length, length)


def autocorrelation(values: Floats) -> float:
    """An upper bound, by about a standard error, of the correlation from one value to the next; from 0 to .95.

    Spearman's ρ_s of successive pairs, with its bias −(1 + 3ρ)/n taken off (M. Kendall 1954, *Note on bias in the
    estimation of autocorrelation*) and √((1 − ρ²)/n) added.

    Example:
        >>> autocorrelation(np.arange(30.0)), autocorrelation(np.array([1.0, -1.0] * 20))
        (0.95, 0.0)
    """
    pairs = len(values) - 1
    found = spearman(values[:-1], values[1:]) if pairs > 4 else 1.0
    if not math.isfinite(found):
        return 0.0
    corrected = min((pairs * found + 1) / (pairs - 3), 1.0) if pairs > 4 else 1.0
    return min(max(corrected + math.sqrt((1 - min(corrected**2, 1.0)) / max(pairs, 1)), 0.0), _MEMORIES[-1])


def jump_threshold(length: int, memory: float, rate: float) -> float:
    """The |score| that a share ``rate`` of stationary normal values of this autocorrelation exceeds.

    Example:
        >>> jump_threshold(20, 0.0, 0.01) < jump_threshold(8, 0.0, 0.01) < jump_threshold(8, 0.8, 0.01)
        True
    """
    return _jump_threshold(length, _next(memory), rate)


def scatter_threshold(recent: int, length: int, memory: float, rate: float) -> float:
    """The same of ``scatter_score``, one-sided."""
    return _scatter_threshold(recent, length, _next(memory), rate)


@lru_cache(maxsize=1024)
def _jump_threshold(length: int, memory: float, rate: float) -> float:
    chains = _chains(length + 1, memory)
    past = chains[:, :-1]
    centre = np.median(past, axis=1, keepdims=True)
    score = np.abs(chains[:, -1] - centre[:, 0]) / _deviation(past - centre)
    return float(np.quantile(score, 1 - rate))


@lru_cache(maxsize=1024)
def _scatter_threshold(recent: int, length: int, memory: float, rate: float) -> float:
    changes = np.abs(np.diff(_chains(recent + length + 1, memory), axis=1))
    score = np.log(np.median(changes[:, -recent:], axis=1) / np.median(changes[:, :-recent], axis=1))
    return float(np.quantile(score, 1 - rate))


def _chains(length: int, memory: float) -> Floats:
    """Stationary normal autoregressions, [draws, length]."""
    chains = np.random.default_rng([_SEED, length]).standard_normal((_DRAWS, length))
    for i in range(1, length):
        chains[:, i] = memory * chains[:, i - 1] + math.sqrt(1 - memory**2) * chains[:, i]
    return chains


def _deviation(centred: Floats) -> Floats:
    """The robust standard deviation over the last axis; by the mean deviation where most are the same."""
    away = np.abs(centred)
    middle = _NORMAL * np.median(away, axis=-1)
    return np.where(middle > 0, middle, math.sqrt(math.pi / 2) * away.mean(-1))


def _length(count: int) -> int:
    """The length that is used of a history: 8, 12, 16, 20, 28, 40, … of which thresholds are simulated."""
    found = LEAST
    for length in (12, 16, 20, 28, 40, 60, 80, 120, 160):
        found = length if length <= count else found
    return found


def _next(memory: float) -> float:
    return next(found for found in _MEMORIES if found >= memory - 1e-9)
