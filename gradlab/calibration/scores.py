"""How far a measurement is from a truth, as the z of a standard normal variable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, ndtri, stdtr, stdtrit
from scipy.stats import chi2, ncx2, norm

from gradlab.estimate import Estimate

#: The largest |z| told apart: beyond it the tail underflows.
LARGEST = 37.0
#: The 97.5 % quantile of the normal distribution.
QUANTILE = float(ndtri(0.975))


@dataclass(frozen=True)
class Score:
    """A measured value with its standard error, its 95 % interval and its z against a truth."""

    measured: float
    stderr: float
    interval: tuple[float, float]
    z: float


def score_of_mean(values: NDArray[np.float64], truth: float) -> Score:
    """Is ``truth`` the expectation of these independent, identically distributed values?

    Student's t with the skewness taken out by the monotone cubic map of P. Hall 1992, *On the removal of skewness by
    transformation*: with W = (x̄ − μ)/s and γ the sample skewness, T = W + γW²/3 + γ²W³/27 + γ/(6n), and √n T is taken
    for Student's t with n − 1 degrees of freedom. Sample variances and squared norms are skewed, which makes a plain
    t far too large below the truth.

    Args:
        values: [n], n ≥ 3.
        truth: μ.

    Returns:
        The mean, its plain standard error, the interval of the same test, and the normal z of the same probability.

    Example:
        >>> score = score_of_mean(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), truth=3.0)
        >>> score.measured, round(score.stderr, 3), score.z
        (3.0, 0.707, 0.0)
    """
    n = len(values)
    mean, std = float(values.mean()), float(values.std())
    if std == 0:
        return Score(mean, 0.0, (mean, mean), 0.0 if mean == truth else math.copysign(LARGEST, mean - truth))
    skewness = float(((values - mean) ** 3).mean()) / std**3
    offset = skewness / (6 * n)
    w = (mean - truth) / std
    t = math.sqrt(n - 1) * (w + skewness * w**2 / 3 + skewness**2 * w**3 / 27 + offset)
    half = float(stdtrit(n - 1, 0.975)) / math.sqrt(n - 1)
    low, high = (mean - std * _unmapped(end - offset, skewness) for end in (half, -half))
    return Score(mean, std / math.sqrt(n - 1), (low, high), _normal(t, n - 1))


def _unmapped(t: float, skewness: float) -> float:
    """W from W + γW²/3 + γ²W³/27 = [(1 + γW/3)³ − 1]/γ."""
    return t if abs(skewness) < 1e-6 else 3 / skewness * (float(np.cbrt(1 + skewness * t)) - 1)


def _normal(t: float, freedom: int) -> float:
    """The normal variable as far out as Student's t."""
    return math.copysign(_deviate(float(stdtr(freedom, -abs(t)))), t) if t else 0.0


def _deviate(tail: float) -> float:
    """The normal z > 0 with this probability above it."""
    return min(float(-ndtri(tail)), LARGEST) if tail > 0 else LARGEST


def score_of_squared_norm(
    values: NDArray[np.float64], bias: NDArray[np.float64], covariance: NDArray[np.float64]
) -> Score:
    """Is ‖b‖² the expectation of these debiased squared norms ‖b̂‖² − tr Ω, b̂ ~ N(b, Ω)?

    They are skewed, and bounded from below by −tr Ω, so that no t is to be trusted. Their sum over n repeats has the
    law of c χ²_ν(λ) − n tr Ω with c = (tr Ω² + 2 bᵀΩb)/(tr Ω + 2‖b‖²), ν = n tr Ω/c and λ = n ‖b‖²/c, whose mean and
    variance, 2n (tr Ω² + 2 bᵀΩb), are the right ones.

    Args:
        values: [n], measured.
        bias: b, [P].
        covariance: Ω, [P, P].

    Returns:
        The mean with the law's standard error; an interval that holds the truth where the law holds the mean in its
        central 95 %; z.

    Example:
        >>> normal = np.random.default_rng(0).normal(size=(24, 3))
        >>> values = (normal**2).sum(1) - 3
        >>> score = score_of_squared_norm(values, np.zeros(3), np.eye(3))
        >>> abs(score.z) < 3, score_of_squared_norm(values + 3, np.zeros(3), np.eye(3)).z > 4
        (True, True)
    """
    n, truth, mean = len(values), float(bias @ bias), float(values.mean())
    trace, square = float(np.trace(covariance)), float((covariance * covariance.T).sum())
    along = float(bias @ covariance @ bias)
    scale = (square + 2 * along) / (trace + 2 * truth)
    law = _law(n * trace / scale, n * truth / scale)
    z = float(np.clip(_z_under(law, (n * mean + n * trace) / scale), -LARGEST, LARGEST))
    low, high = (float(law.ppf(share)) * scale / n - trace - truth for share in (0.025, 0.975))
    return Score(mean, math.sqrt(2 * (square + 2 * along) / n), (mean - high, mean - low), z)


def _law(freedom: float, shift: float) -> Any:
    """χ²_ν(λ); normal where it is far from zero, since the exact series is slow there or does not converge."""
    if shift > 1e4:
        return norm(freedom + shift, math.sqrt(2 * (freedom + 2 * shift)))
    return ncx2(freedom, shift) if shift > 0 else chi2(freedom)


def _z_under(law: Any, value: float) -> float:
    below, above = float(law.cdf(value)), float(law.sf(value))
    if min(below, above) > 0:
        return float(ndtri(below)) if below < above else float(-ndtri(above))
    # Beyond what the tail resolves, the plain number of standard deviations is a lower bound for a skewed law.
    return float((value - law.mean()) / law.std())


def score_of_vector(draws: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[Score, float] | None:
    """Is ``truth`` the expected vector? Hotelling's T² of all components at once (H. Hotelling 1931).

    With T² = D (x̄ − μ)ᵀ S⁻¹ (x̄ − μ), (D − k)/(k(D − 1)) T² is F with k and D − k degrees of freedom, k the rank of S.
    Along directions in which the draws do not scatter (the logits of a softmax add up to nothing) the means must agree
    to rounding.

    Args:
        draws: [D, P], independent.
        truth: [P].

    Returns:
        T² with its standard deviation, the values below its 95 % quantile and z ≥ 0, the normal variable whose two
        tails are as likely; and the expectation of T². None where the rank is below two and one component says all.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=(1000, 3))
        >>> [score_of_vector(draws, np.full(3, mean))[0].z > 5 for mean in (0.0, 1.0)]
        [False, True]
    """
    count = len(draws)
    mean = draws.mean(0)
    centred = draws - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / (count - 1))
    scatters = values > 1e-12 * values[-1]
    rank, freedom = int(scatters.sum()), count - int(scatters.sum())
    if rank < 2 or freedom < 5:
        return None
    along = vectors.T @ (mean - truth)
    square = count * float((along[scatters] ** 2 / values[scatters]).sum())
    scale = rank * (count - 1) / freedom
    z = _deviate(float(fdtrc(rank, freedom, square / scale)) / 2)
    rounding = 1e-9 * max(float(np.abs(truth).max()), math.sqrt(values[-1]))
    if np.abs(along[~scatters]).max(initial=0.0) > rounding:
        z = LARGEST
    # Mean and standard deviation of F.
    expected = scale * freedom / (freedom - 2)
    spread = expected * math.sqrt(2 * (count - 2) / (rank * (freedom - 4)))
    return Score(square, spread, (0.0, expected + QUANTILE * spread), z), expected


def score_of_estimate(estimate: Estimate, truth: float) -> float:
    """Z of an estimate by its own 95 % interval: ±1.96 where the truth lies on one of its ends.

    In between and beyond it is linear in the truth, on either side with that side's own half width. NaN without an
    interval.

    Example:
        >>> round(score_of_estimate(Estimate(2.0, 0.5, 64, ends=(1.0, 4.0)), 0.0), 2)
        3.92
        >>> round(score_of_estimate(Estimate(2.0, 0.5, 64, ends=(1.0, 4.0)), 3.0), 2)
        -0.98
    """
    low, high = estimate.interval()
    if not math.isfinite(estimate.value) or math.isnan(low) or math.isnan(high):
        return math.nan
    away = estimate.value - truth
    half = estimate.value - low if away > 0 else high - estimate.value
    if away == 0 or math.isinf(half):
        return 0.0
    if abs(abs(away) - half) <= 1e-9 * half:
        # A truth at an end that no interval goes beyond, as a cosine of one, is inside; how far, the error says.
        return math.copysign(min(abs(away) / estimate.stderr, QUANTILE) if estimate.stderr > 0 else 0.0, away)
    return math.copysign(min(QUANTILE * abs(away) / half, LARGEST) if half > 0 else LARGEST, away)
