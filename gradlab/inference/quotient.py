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
