"""A number against the history it comes from: robust scores, of one or of all numbers of a series at once."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gradlab.inference.deviations import NORMAL, deviation
from gradlab.inference.history_thresholds import MEMORIES, jump_threshold, scatter_threshold

__all__ = [
    "LEAST",
    "Jump",
    "Jumps",
    "Scatter",
    "Scatters",
    "autocorrelation",
    "autocorrelations_along",
    "jump_score",
    "jump_threshold",
    "jumps_along",
    "scatter_score",
    "scatter_threshold",
    "scatters_along",
]

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

#: Shortest history.
LEAST = 8
_LENGTHS = np.array([LEAST, 12, 16, 20, 28, 40, 60, 80, 120, 160])
#: Histories ranked at a time.
_ROWS = 4096


class Jump(NamedTuple):
    """A number's distance from the median of ``length`` before it, over ``spread``."""

    score: float
    centre: float
    spread: float
    length: int


class Jumps(NamedTuple):
    """The same of each number from ``start`` on, [K − start]; NaN where there is no history of ``LEAST``."""

    score: Floats
    centre: Floats
    spread: Floats
    length: Whole


class Scatter(NamedTuple):
    """Typical changes of late and before, ½ log of their squares' ratio without what errors explain, and lengths."""

    score: float
    recent: float
    previous: float
    recent_length: int
    length: int


class Scatters(NamedTuple):
    """The same at each number from ``start`` on, [K − start]; NaN where there are too few changes."""

    score: Floats
    recent: Floats
    previous: Floats
    recent_length: int
    length: Whole


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
    size = len(history)
    found = jumps_along(np.append(history, value), np.append(errors, error), size, size)
    return Jump(float(found.score[0]), float(found.centre[0]), float(found.spread[0]), int(found.length[0]))


def jumps_along(values: Floats, errors: Floats, window: int, start: int = 0) -> Jumps:
    """``jump_score`` of every value from ``start`` on against the ``window`` before it, or as many as there are."""
    at = np.arange(start, len(values))
    length = np.where(at >= LEAST, _lengths(np.minimum(at, window)), 0)
    score, centre, spread = (np.full(len(at), math.nan) for _ in range(3))
    for size in np.unique(length[length > 0]):
        rows = np.flatnonzero(length == size)
        past, known = _before(values, at[rows], size), np.square(_before(errors, at[rows], size)).mean(1)
        middle = np.median(past, axis=1)
        variance = np.maximum(deviation(past - middle[:, None]) ** 2, known)
        # A measurement that is less precise than those before scatters more.
        scale = np.sqrt(variance + np.maximum(errors[at[rows]] ** 2 - known, 0.0))
        away = values[at[rows]] - middle
        safe = np.where(scale > 0, scale, 1.0)
        still = np.where(away == 0, 0.0, np.copysign(math.inf, away))
        score[rows], centre[rows], spread[rows] = np.where(scale > 0, away / safe, still), middle, scale
    return Jumps(score, centre, spread, length)


def scatter_score(values: Floats, errors: Floats, window: int) -> Scatter | None:
    """Whether the latest changes from value to value are larger than those before; None where there are too few.

    Args:
        values: all values up to now.
        errors: their standard errors, zero where not known.
        window: how many changes before are the history; half as many are the latest.
    """
    found = scatters_along(values, errors, window, len(values) - 1)
    if not found.length[0]:
        return None
    score, recent, previous = (float(part[0]) for part in found[:3])
    return Scatter(score, recent, previous, found.recent_length, int(found.length[0]))


def scatters_along(values: Floats, errors: Floats, window: int, start: int = 0) -> Scatters:
    """``scatter_score`` at every value from ``start`` on, of the values up to it."""
    late_length = max(int(_lengths(np.array([window]))[0]) // 2, LEAST // 2)
    # At the value of index k there are k changes.
    at = np.arange(start, len(values))
    length = np.where(at >= late_length + LEAST, _lengths(np.minimum(at - late_length, window)), 0)
    changes, squares = np.abs(np.diff(values)), np.square(errors)
    factor = NORMAL / math.sqrt(2)
    score, recent, previous = (np.full(len(at), math.nan) for _ in range(3))
    for size in np.unique(length[length > 0]):
        rows = np.flatnonzero(length == size)
        end = at[rows]
        late = factor * np.median(_before(changes, end, late_length), axis=1)
        before = factor * np.median(_before(changes, end - late_length, size), axis=1)
        explained = _before(squares, end + 1, late_length).mean(1)
        explained = np.maximum(explained - _before(squares, end + 1 - late_length, size + 1).mean(1), 0.0)
        variance = late**2 - explained
        grown = np.where(before > 0, variance / np.where(before > 0, before, 1.0) ** 2, math.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            score[rows] = np.where(variance > 0, 0.5 * np.log(grown), -math.inf)
        recent[rows], previous[rows] = late, before
    return Scatters(score, recent, previous, late_length, length)


def autocorrelation(values: Floats) -> float:
    """An upper bound, by about a standard error, of the correlation from one value to the next; from 0 to .95.

    Spearman's ρ_s of successive pairs, with its bias −(1 + 3ρ)/n taken off (M. Kendall 1954, *Note on bias in the
    estimation of autocorrelation*) and √((1 − ρ²)/n) added.

    Example:
        >>> autocorrelation(np.arange(30.0)), autocorrelation(np.array([1.0, -1.0] * 20))
        (0.95, 0.0)
    """
    return float(autocorrelations_along(np.append(values, 0.0), len(values), len(values))[0])


def autocorrelations_along(values: Floats, longest: int, start: int = 0) -> Floats:
    """``autocorrelation`` of the values before each from ``start`` on, [K − start], the last ``longest`` of them."""
    found = np.empty(len(values) - start)
    size = max(min(longest, len(values) - 1), 2)
    padded = np.concatenate([np.full(size, math.inf), values])
    for first in range(start, len(values), _ROWS):
        at = np.arange(first, min(first + _ROWS, len(values)))
        found[at - start] = _autocorrelations(_before(padded, at + size, size), np.minimum(at, size))
    return found


def _autocorrelations(history: Floats, count: Whole) -> Floats:
    """Of each row's last ``count`` values; before them it is infinite."""
    pairs = np.maximum(count - 1, 0)
    # A pair is there where both of its values are.
    there = np.arange(history.shape[1] - 1) >= history.shape[1] - 1 - pairs[:, None]
    middle = (pairs[:, None] + 1) / 2
    one, other = (
        np.where(there, _ranks(np.where(there, part, math.inf)) - middle, 0.0)
        for part in (history[:, :-1], history[:, 1:])
    )
    scale = np.sqrt((one * one).sum(1) * (other * other).sum(1))
    varies = (scale > 0) & (pairs > 1)
    rho = (one * other).sum(1) / np.where(varies, scale, 1.0)
    enough = pairs > 4
    corrected = np.where(enough, np.minimum((pairs * rho + 1) / np.where(enough, pairs - 3, 1), 1.0), 1.0)
    bound = corrected + np.sqrt((1 - np.minimum(corrected**2, 1.0)) / np.maximum(pairs, 1))
    # Of a few pairs nothing is known; of values that are all the same there is no correlation.
    return np.where(varies | ~enough, np.clip(bound, 0.0, MEMORIES[-1]), 0.0)


def _ranks(rows: Floats) -> Floats:
    """Ranks within each row, from 1, with the mean rank for ties."""
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, 1)
    place = np.broadcast_to(np.arange(1.0, rows.shape[1] + 1), rows.shape)
    new = np.ones(rows.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    if not bool(new.all()):
        last = np.roll(new, -1, axis=1)
        last[:, -1:] = True
        first = np.maximum.accumulate(np.where(new, place, 0.0), axis=1)
        ends = np.where(last, place, math.inf)[:, ::-1]
        place = (first + np.minimum.accumulate(ends, axis=1)[:, ::-1]) / 2
    ranks = np.empty(rows.shape)
    np.put_along_axis(ranks, order, place, 1)
    return ranks


def _before(values: Floats, at: Whole, length: int) -> Floats:
    """The ``length`` values before each place, [places, length]."""
    if len(at) and bool((np.diff(at) == 1).all()):
        # A view, where the places follow each other.
        view: Floats = sliding_window_view(values[at[0] - length : at[-1]], length)
        return view
    rows: Floats = values[at[:, None] - length + np.arange(length)]
    return rows


def _lengths(counts: Whole) -> Whole:
    """The lengths that are used of histories: 8, 12, 16, 20, 28, 40, … of which thresholds are simulated."""
    return _LENGTHS[np.maximum(np.searchsorted(_LENGTHS, counts, side="right") - 1, 0)]
