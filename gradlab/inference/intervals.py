"""Confidence intervals of squared norms, cosines and ratios of a mean gradient, where symmetric ones fail.

Near zero a squared norm ‖b‖² is estimated by something like a χ² variable, and near one a cosine is: their errors
are quadratic in the noise and one-sided, so value ± t·stderr covers too much at zero and too little beside it. The
squared norm's interval is therefore found by inverting its distribution, and cosines and ratios are put together
from the intervals of their parts (G. Zou, A. Donner 2008, *Construction of confidence limits about effect measures*).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.special import chndtr, ndtr, ndtri, stdtr

Interval = tuple[float, float]


@dataclass(frozen=True)
class Noise:
    """The covariance Ω of an estimated vector b̂, as far as ‖b̂‖² is concerned.

    Attributes:
        trace: tr Ω.
        square: tr Ω².
        along: b̂ᵀΩb̂, plug-in.
    """

    trace: float
    square: float
    along: float


def squared_norm_interval(plug_in: float, noise: Noise, draws: int, level: float = 0.95) -> Interval:
    """Interval of ‖b‖² from ‖b̂‖², b̂ ~ N(b, Ω), by inverting a scaled noncentral χ².

    At a hypothesis δ² = ‖b‖² the distribution of ‖b̂‖² is approximated by c·χ²_ν(λ) with c, ν and λ = δ²/c such that
    the mean tr Ω + δ² and the variance 2 tr Ω² + 4 bᵀΩb are right; bᵀΩb is taken as δ² times what the data say of
    b̂ᵀΩb̂/‖b̂‖², drawn towards tr Ω²/tr Ω where they say little. A hypothesis is rejected above only at δ² = 0, where
    nothing lies below, and on both sides alike far from it (in the manner of G. Feldman, R. Cousins 1998), so that
    the interval holds the truth equally often wherever it lies.

    Args:
        plug_in: ‖b̂‖², noise included.
        noise: its covariance.
        draws: draws that Ω was estimated from; the tails are widened as Student's are.
        level: of the interval.

    Returns:
        Both ends, at least 0; low is 0 where b = 0 is not excluded.

    Example:
        >>> low, high = squared_norm_interval(1.0, Noise(1.0, 1.0, 1.0), draws=10**6)
        >>> low, round(high, 1)
        (0.0, 8.8)
        >>> low, high = squared_norm_interval(100.0, Noise(1.0, 1.0, 100.0), draws=10**6)
        >>> round(low), round(high)
        (65, 143)
    """
    if not noise.trace > 0:
        return max(plug_in, 0.0), max(plug_in, 0.0)
    tail = _tail(draws, level)
    # An unknown tr Ω² is at most (tr Ω)², which is noise in one dimension.
    square = noise.square if noise.square > 0 else noise.trace**2
    signal = max(plug_in - noise.trace, 0.0) + noise.trace
    along = (max(noise.along - square, 0.0) + square) / signal

    def rejection(norm: float) -> tuple[float, float]:
        """Probability below the estimate under the hypothesis, and the share of the tails that lies above."""
        scale = (square + 2 * norm * along) / (noise.trace + 2 * norm)
        above = tail * (1 + math.exp(-norm / math.sqrt(2 * square)))
        return _noncentral(plug_in / scale, noise.trace / scale, norm / scale), above

    def too_small(norm: float) -> float:
        below, above = rejection(norm)
        return below - (1 - above)

    def too_large(norm: float) -> float:
        below, above = rejection(norm)
        return below - (2 * tail - above)

    low, high = 0.0, plug_in + noise.trace
    while too_large(high) > 0 or too_small(high) > 0:
        high *= 2
    if too_small(0.0) > 0:
        low = float(brentq(too_small, 0.0, high, rtol=1e-6))
    return low, float(brentq(too_large, low, high, rtol=1e-6)) if too_large(low) > 0 else low


def cosine_interval(parallel: Interval, perpendicular: Interval, at: tuple[float, float]) -> Interval:
    """Interval of p/√(p² + q) from those of p, the part of E g along r, and of q, the squared norm of the rest.

    Args:
        parallel: interval of p.
        perpendicular: interval of q ≥ 0.
        at: the estimates of p and q.

    Example:
        >>> low, high = cosine_interval((0.9, 1.1), (0.0, 0.1), (1.0, 0.0))
        >>> round(low, 3), high
        (0.953, 1.0)
    """
    p, q = at[0], max(at[1], 0.0)
    centre = _cosine(p, q)
    one = [_cosine(end, q) for end in parallel]
    if parallel[0] < 0 < parallel[1]:
        one.append(0.0)
    two = [_cosine(p, end) for end in perpendicular]
    low = centre - math.hypot(centre - min([*one, centre]), centre - min([*two, centre]))
    # The upper end's share of p is taken at the smallest q, since a cosine of one (q = 0) leaves p no say.
    nearest = _cosine(p, perpendicular[0])
    up = max(_cosine(end, perpendicular[0]) for end in (*parallel, p)) - nearest
    high = centre + math.hypot(up, max([*two, centre]) - centre)
    return max(low, -1.0), min(high, 1.0)


def sum_interval(a: float, of_a: Interval, b: float, of_b: Interval) -> Interval:
    """Interval of a + b from those of a and b."""
    low = a + b - math.hypot(a - of_a[0], b - of_b[0])
    return low, a + b + math.hypot(of_a[1] - a, of_b[1] - b)


def ratio_interval(a: float, of_a: Interval, b: float, of_b: Interval) -> Interval:
    """Interval of a/b, both positive, from those of a and b; combined on the logarithmic scale.

    Example:
        >>> ratio_interval(4.0, (0.0, 8.0), 2.0, (2.0, 2.0))
        (0.0, 4.0)
    """

    def distance(x: float, y: float) -> float:
        return abs(math.log(x / y)) if 0 < x < math.inf and 0 < y < math.inf else math.inf

    down = math.hypot(distance(a, of_a[0]), distance(b, of_b[1]))
    up = math.hypot(distance(a, of_a[1]), distance(b, of_b[0]))
    return a / b * math.exp(-down), a / b * math.exp(up) if up < 700 else math.inf


def _tail(draws: int, level: float) -> float:
    """Normal tail that is as far out as Student's with these draws."""
    z = ndtri(0.5 + level / 2)
    # The quantile's ratio to the normal one shrinks the tail; stdtr is Student's distribution.
    return float(min(0.5 - level / 2, ndtr(-z * z / ndtri(stdtr(max(draws - 1, 1), z))))) if draws > 2 else 0.0


def _noncentral(x: float, freedom: float, shift: float) -> float:
    exact = float(chndtr(x, freedom, shift)) if shift < 1e4 else math.nan
    if math.isfinite(exact):
        return exact
    # Far from zero it is normal (and the exact series is slow or does not converge).
    return float(ndtr((x - freedom - shift) / math.sqrt(2 * (freedom + 2 * shift))))


def _cosine(parallel: float, perpendicular: float) -> float:
    norm = math.sqrt(parallel**2 + perpendicular)
    return parallel / norm if norm > 0 else 0.0
