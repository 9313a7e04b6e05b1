"""The quotient of two means that are estimated apart."""

from __future__ import annotations

import math

from gradlab.inference.intervals import Interval


def fieller(top: float, top_stderr: float, below: float, below_stderr: float, quantile: float) -> Interval:
    """Interval of a ratio of two independent normal means; all numbers where the lower one may be zero.

    The ratios ρ with (top − ρ·below)² ≤ t² (σ_top² + ρ² σ_below²).

    Example:
        >>> fieller(1.0, 0.0, 2.0, 0.0, 2.0), fieller(1.0, 0.1, 0.1, 0.1, 2.0)
        ((0.5, 0.5), (-inf, inf))
    """
    square = below**2 - (quantile * below_stderr) ** 2
    if not square > 0:
        return -math.inf, math.inf
    half = top * below
    root = math.sqrt(max(half**2 - square * (top**2 - (quantile * top_stderr) ** 2), 0.0))
    return (half - root) / square, (half + root) / square


def quotient_interval(top: float, of_top: Interval, below: float, of_below: Interval) -> Interval:
    """Interval of a ratio of two independent numbers out of the intervals of each, which need not be symmetric.

    The ratios ρ at which the interval of top − ρ·below, put together from those of its parts (G. Zou, A. Donner 2008),
    holds zero; all numbers where the lower interval holds zero. With symmetric intervals it is ``fieller``'s
    (R. Newcombe 2016, *MOVER-R confidence intervals for ratios and products of two independent quantities*).

    Example:
        >>> quotient_interval(1.0, (0.5, 2.0), 2.0, (2.0, 2.0)), quotient_interval(1.0, (0.8, 1.2), 0.1, (-0.1, 0.3))
        ((0.25, 1.0), (-inf, inf))
    """
    if below < 0:
        top, of_top, below, of_below = -top, (-of_top[1], -of_top[0]), -below, (-of_below[1], -of_below[0])
    if not of_below[0] > 0:
        return -math.inf, math.inf
    high = _end(top, of_top[1] - top, of_top[1] > 0, below, of_below)
    low = -_end(-top, top - of_top[0], of_top[0] < 0, below, of_below)
    return low, high


def _end(top: float, up: float, positive: bool, below: float, of_below: Interval) -> float:
    """The largest ρ with (ρ·below − top)² ≤ up² + ρ²·half², half that of the side that makes ρ large."""
    half = below - of_below[0] if positive else of_below[1] - below
    square, middle, rest = below**2 - half**2, top * below, top**2 - up**2
    root = math.sqrt(max(middle**2 - square * rest, 0.0))
    # Of the two ways to write one root, that which takes no difference of like numbers and survives square = 0.
    return (middle + root) / square if positive else rest / (middle - root)
