"""The ends of the intervals of a gradient error, from what draws and reference scatter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import stdtrit
from torch import Tensor

from gradlab.inference.intervals import (
    Interval,
    Noise,
    cosine_interval,
    ratio_interval,
    squared_norm_interval,
    sum_interval,
)
from gradlab.inference.jackknife import Moments

#: Draws that stand for a covariance that is known.
_KNOWN = 10**9


@dataclass(frozen=True)
class Spread:
    """How the draws scatter: inner products of e_d = w_d − w̄ in parameter space, in the words of ``jackknife``.

    Attributes:
        squares: ‖e_d‖², [D].
        with_mean: e_d·w̄, [D].
        with_reference: e_d·r, [D].
        gram_squared: Σ_de (e_d·e_e)².
        gram_reference: Σ_de (r·e_d)(e_d·e_e)(e_e·r).
    """

    squares: Tensor
    with_mean: Tensor
    with_reference: Tensor
    gram_squared: float
    gram_reference: float


@dataclass(frozen=True)
class ReferenceNoise:
    """What the reference's covariance Ω = (1/B²) Σ_i J_iᵀ diag(stderr_i²) J_i adds, as plain numbers.

    Attributes:
        trace: tr Ω.
        square: tr Ω².
        with_spread: tr(ΩΣ), Σ the covariance of one draw.
        error: w̄ᵀΩw̄.
        cross: w̄ᵀΩr.
        reference: rᵀΩr.
    """

    trace: float = 0.0
    square: float = 0.0
    with_spread: float = 0.0
    error: float = 0.0
    cross: float = 0.0
    reference: float = 0.0


def interval_ends(
    moments: Moments, spread: Spread, noise: ReferenceNoise, variance: Interval, to_cosine: float
) -> dict[str, Interval]:
    """95 % intervals by name of what is quadratic in noise: bias², MSE, cosine, norm ratio.

    Args:
        moments: of all draws.
        spread: how they scatter.
        noise: of the reference.
        variance: the interval of the variance.
        to_cosine: variance of the cosine that the reference's noise makes, to first order.
    """
    draws, total = moments.draws, float(moments.variance)
    known = draws if total > 0 else _KNOWN
    square = trace_of_square(total, spread.gram_squared / (draws - 1) ** 2, draws - 1)
    pairs = (draws - 1) * draws
    error_noise = Noise(
        total / draws + noise.trace,
        square / draws**2 + noise.square + 2 * noise.with_spread / draws,
        float(spread.with_mean.square().sum()) / pairs + noise.error,
    )
    bias = squared_norm_interval(float(moments.mean_squared), error_noise, known)
    if noise.trace > 0:
        mse = sum_interval(float(moments.bias_squared), bias, total, variance)
    else:
        # The mean of ‖w_d‖² is the estimate itself; bias² and variance, which err together where draws are skewed,
        # need not be put together.
        squares = spread.squares + 2 * spread.with_mean + moments.mean_squared
        mse = variance_interval(float(squares.mean()), float(squares.std()) / math.sqrt(draws), squares)
    ends = {"bias_squared": bias, "mse": mse}

    gradient, true = float(moments.gradient_squared), float(moments.true_squared)
    if not (gradient > 0 and true > 0):
        return ends
    along = float((spread.with_mean + spread.with_reference).square().sum()) / pairs
    plug_in = gradient + total / draws
    of_gradient = squared_norm_interval(plug_in, Noise(total / draws, square / draws**2, along), known)
    of_true = squared_norm_interval(
        float(moments.reference_squared), Noise(noise.trace, noise.square, noise.reference), _KNOWN
    )
    low, high = ratio_interval(gradient, of_gradient, true, of_true)
    ends["norm_ratio"] = math.sqrt(low), math.sqrt(high)
    ends["cosine"] = _cosine_ends(moments, spread, square, noise, known, to_cosine)
    return ends


def variance_interval(value: float, stderr: float, squares: Tensor, level: float = 0.95) -> Interval:
    """Interval of a variance, or of a mean squared error, from the squared deviations it is the mean of.

    Symmetric in the inverse of the variance, since a sample variance that is too small comes with a standard error
    that is too small. The standard error is itself the root of a sample variance, of the squares, with about
    2D/(κ − 1) degrees of freedom, κ the squares' kurtosis; Student's quantile with these makes heavy tails honest.

    Args:
        value: the variance.
        stderr: its standard error.
        squares: ‖g_d − ḡ‖² of the draws, [D], up to a factor.
        level: of the interval.

    Returns:
        Both ends; high is infinite where the error is as large as the value.

    Example:
        >>> import torch
        >>> low, high = variance_interval(1.0, 0.1, torch.rand(64, generator=torch.Generator().manual_seed(0)))
        >>> round(low, 2), round(high, 2)
        (0.83, 1.25)
    """
    if not (value > 0 and math.isfinite(stderr)):
        return (value, value) if value == 0 else (math.nan, math.nan)
    relative = _tailed_quantile(squares, level) * stderr / value
    return value / (1 + relative), value / (1 - relative) if relative < 1 else math.inf


def skewed_interval(value: float, stderr: float, influences: Tensor, level: float = 0.95) -> Interval:
    """Interval of a mean, or of what is one to first order, of numbers that are skewed and have heavy tails.

    Student's, with the degrees of freedom that the kurtosis leaves (see ``variance_interval``), and with the end on the
    tail's side moved out by μ₃(1 + 2t²)/(6σ²n) (N. Johnson 1978, *Modified t tests and confidence intervals for
    asymmetrical populations*, section 3), by no more than the half-width. The other end stays: the sample's own
    skewness is large just when the tail is in it.

    Args:
        value: the mean.
        stderr: its standard error.
        influences: the numbers, or the jackknife's pseudo-values, [D], up to a constant and a positive factor.
        level: of the interval.

    Example:
        >>> import torch
        >>> low, high = skewed_interval(1.0, 0.1, torch.arange(9.0).exp())
        >>> round(1.0 - low, 2) < round(high - 1.0, 2)
        True
    """
    half = tailed_half(stderr, influences, level)
    centred = influences.double() - influences.double().mean()
    second = float(centred.square().mean())
    if not (second > 0 and math.isfinite(half)):
        return value - half, value + half
    skewness = float(centred.pow(3).mean()) / second**1.5
    shift = stderr * skewness * (1 + 2 * (half / stderr) ** 2) / (6 * math.sqrt(len(influences))) if stderr > 0 else 0.0
    return value - half - min(max(-shift, 0.0), half), value + half + min(max(shift, 0.0), half)


def tailed_half(stderr: float, influences: Tensor, level: float = 0.95) -> float:
    """Half the width of a mean's symmetric interval: Student's, with the degrees of freedom that the kurtosis leaves.

    Example:
        >>> import torch
        >>> round(tailed_half(1.0, torch.arange(10.0)), 2)
        2.26
    """
    return _tailed_quantile(influences, level) * stderr


def snr_interval(value: float, stderr: float, squares: Tensor, level: float = 0.95) -> Interval:
    """Interval of a signal-to-noise ratio, whose noise is the mean of ``squares``; Student's quantile as for that.

    Downwards it is symmetric in the ratio, as the variance's is in its inverse: draws that have missed a heavy tail
    give too large a ratio. Upwards it is symmetric in the logarithm.

    Args:
        value: the ratio.
        stderr: its standard error.
        squares: ‖g_d − ḡ‖² of the draws, [D], up to a factor.
        level: of the interval.

    Example:
        >>> import torch
        >>> low, high = snr_interval(1.0, 0.1, torch.rand(64, generator=torch.Generator().manual_seed(0)))
        >>> round(low, 2), round(high, 2)
        (0.8, 1.22)
    """
    if not (value > 0 and math.isfinite(value) and math.isfinite(stderr)):
        return math.nan, math.nan
    half = _tailed_quantile(squares, level) * stderr
    return value - half, value * math.exp(min(half / value, 700.0))


def _tailed_quantile(squares: Tensor, level: float) -> float:
    """Student's quantile with the degrees of freedom that the squares' kurtosis leaves of the draws."""
    scaled = squares.double() - squares.double().mean()
    second = float(scaled.square().mean())
    draws = len(squares)
    freedom = draws - 1.0
    if second > 0:
        excess = float(scaled.pow(4).mean()) / second**2 - 1
        freedom = min(freedom, max(2 * draws / excess, 2.0)) if excess > 0 else freedom
    return float(stdtrit(freedom, 0.5 + level / 2))


def _cosine_ends(
    moments: Moments, spread: Spread, square: float, reference: ReferenceNoise, known: int, to_cosine: float
) -> Interval:
    """E g is split into its part along r and the rest, whose squared norm is what a cosine near one hangs on."""
    draws, total = moments.draws, float(moments.variance)
    norm = float(moments.reference_squared)
    overlap = float(moments.cross) + norm
    parallel = overlap / math.sqrt(norm)
    along = float(spread.with_reference.square().sum()) / norm
    half = float(stdtrit(draws - 1, 0.975)) * math.sqrt(along / ((draws - 1) * draws))
    # What is left of the scatter when its part along r is taken off.
    gram = spread.gram_squared - 2 * spread.gram_reference / norm + along**2
    rest = max(total - along / (draws - 1), 0.0)
    rest_square = trace_of_square(rest, max(gram, 0.0) / (draws - 1) ** 2, draws - 1)
    tilt, scale = 1 - overlap / norm, overlap**2 / (norm * float(moments.true_squared))
    with_rest = spread.with_mean + tilt * spread.with_reference
    plug_in = max(float(moments.gradient_squared) + total / draws - parallel**2, 0.0)
    # An error of the reference turns r, which leaves E g with a rest that is larger by E g·r/‖r‖² of that error.
    noise = Noise(
        rest / draws + scale * (reference.trace - reference.reference / norm),
        min(rest_square, square) / draws**2 + scale**2 * reference.square + 2 * scale * reference.with_spread / draws,
        float(with_rest.square().sum()) / ((draws - 1) * draws)
        + scale * (reference.error + 2 * tilt * reference.cross + tilt**2 * reference.reference),
    )
    # With one parameter there is no rest, only rounding.
    none = noise.trace <= 1e-12 * parallel**2
    perpendicular = (plug_in, plug_in) if none else squared_norm_interval(plug_in, noise, known)
    at = parallel, max(plug_in - noise.trace, 0.0)
    low, high = cosine_interval((parallel - half, parallel + half), perpendicular, at)
    # The rest was varied with the part along r held fixed; turning r trades one for the other, sin² of it there.
    value = float(moments.cosine)
    traded = 1.959964 * math.sqrt(to_cosine) * max(1 - value**2, 0.0)
    # The estimate is not clipped, so it may lie beyond one; the interval holds it all the same.
    return min(max(low - traded, -1.0), value), max(min(high + traded, 1.0), value)


def trace_of_square(trace: float, plug_in: float, freedom: int) -> float:
    """Tr Σ² from tr S and tr S², without the bias (tr Σ)²/n of the latter (Z. Bai, H. Saranadasa 1996, section 3)."""
    if not trace > 0:
        return 0.0
    debiased = freedom**2 / ((freedom + 2) * max(freedom - 1, 1)) * (plug_in - trace**2 / freedom)
    # No covariance of rank n has less than (tr Σ)²/n.
    return min(max(debiased, 1e-3 * trace**2), trace**2)
