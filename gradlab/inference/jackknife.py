"""Squared norms, cosines and ratios of a mean gradient, debiased, with standard errors over draws.

Everything here is a function of inner products in parameter space. With w_d = g_d − r the error of draw d against
the reference r, w̄ its mean over D draws and e_d = w_d − w̄:

    Q = Σ‖e_d‖²                           variance   = Q/(D−1)
    β = ‖w̄‖²                              ‖bias‖²    = β − variance/D − ν      (= Σ_{d≠e} w_d·w_e/(D(D−1)) − ν)
    x = w̄·r, ρ = ‖r‖²                     ‖E g‖²     = β − variance/D + 2x + ρ
    ν = tr Var(r)                         E g·r      = x + ρ,   ‖r‖² = ρ − ν

Leaving draws out changes β, Q and x in closed form, so no leave-one-out loop runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """The numbers above, of all draws or of each subset of them (any shape, float64).

    Attributes:
        draws: D.
        mean_squared: β.
        spread: Q.
        cross: x.
        reference_squared: ρ.
        reference_noise: ν.
    """

    draws: int
    mean_squared: Tensor
    spread: Tensor
    cross: Tensor
    reference_squared: Tensor
    reference_noise: Tensor

    @property
    def variance(self) -> Tensor:
        """Trace of the covariance of one draw's gradient; NaN for a single draw."""
        return self.spread / (self.draws - 1) if self.draws > 1 else torch.full_like(self.spread, torch.nan)

    @property
    def bias_squared(self) -> Tensor:
        """‖E g − r‖²; unbiased, hence negative at times."""
        return self.mean_squared - self.variance / self.draws - self.reference_noise

    @property
    def mse(self) -> Tensor:
        """E‖g − r‖²; bias² + variance exactly, and defined for a single draw too."""
        return self.mean_squared + self.spread / self.draws - self.reference_noise

    @property
    def gradient_squared(self) -> Tensor:
        """‖E g‖², unbiased."""
        return self.mean_squared - self.variance / self.draws + 2 * self.cross + self.reference_squared

    @property
    def true_squared(self) -> Tensor:
        """‖r‖² without the reference's noise, unbiased."""
        return self.reference_squared - self.reference_noise

    @property
    def cosine(self) -> Tensor:
        """Cosine of E g and r; NaN where a debiased squared norm is not positive."""
        norms = _root(self.gradient_squared) * _root(self.true_squared)
        return (self.cross + self.reference_squared) / norms

    @property
    def norm_ratio(self) -> Tensor:
        """‖E g‖/‖r‖; NaN where a debiased squared norm is not positive."""
        return _root(self.gradient_squared) / _root(self.true_squared)

    @property
    def snr(self) -> Tensor:
        """‖E g‖²/tr Var g; NaN where ‖E g‖² is not positive."""
        return _root(self.gradient_squared).square() / self.variance


def _root(squared: Tensor) -> Tensor:
    return torch.where(squared > 0, squared, torch.nan).sqrt()


@dataclass(frozen=True)
class LeftOut:
    """Moments with each draw left out, [D], and with each pair left out, [D, D] (None where D is extreme)."""

    one: Moments
    two: Moments | None


def leave_out(
    all_draws: Moments, squares: Tensor, gram: Tensor | None, with_mean: Tensor, with_reference: Tensor
) -> LeftOut:
    """Leave draws out of ``all_draws``, in closed form.

    Args:
        all_draws: moments of all D ≥ 3 draws.
        squares: ‖e_d‖², [D].
        gram: e_d·e_e, [D, D]; None to leave out no pairs.
        with_mean: e_d·w̄, [D].
        with_reference: e_d·r, [D].
    """
    one = _without(all_draws, 1, squares, squares, with_mean, with_reference)
    if gram is None or all_draws.draws < 4:
        return LeftOut(one, None)
    either = squares[:, None] + squares[None, :]
    mean, reference = (x[:, None] + x[None, :] for x in (with_mean, with_reference))
    return LeftOut(one, _without(all_draws, 2, either, either + 2 * gram, mean, reference))


def _without(
    moments: Moments, count: int, squares: Tensor, sum_squared: Tensor, with_mean: Tensor, with_reference: Tensor
) -> Moments:
    # With s the sum of e over the draws left out, the mean of the rest is w̄ − s/(D − count), and
    # their spread around it is Q − Σ‖e‖² − ‖s‖²/(D − count).
    left = moments.draws - count
    return Moments(
        draws=left,
        mean_squared=moments.mean_squared - 2 * with_mean / left + sum_squared / left**2,
        spread=moments.spread - squares - sum_squared / left,
        cross=moments.cross - with_reference / left,
        reference_squared=moments.reference_squared,
        reference_noise=moments.reference_noise,
    )


def jackknife_variance(
    all_draws: Moments, left_out: LeftOut, statistic: Callable[[Moments], Tensor], correction: float = 1.0
) -> float:
    """Sampling variance of a statistic of moments over draws; see ``corrected_variance``.

    Args:
        all_draws: moments of all draws.
        left_out: moments with draws left out.
        statistic: the statistic as a function of moments.
        correction: share of the quadratic part that is taken off; less is more cautious.

    Returns:
        The variance; NaN where the statistic is undefined with a draw left out.
    """
    two = None if left_out.two is None else statistic(left_out.two)
    return corrected_variance(all_draws.draws, statistic(left_out.one), two, correction)


def corrected_variance(n: int, one: Tensor, two: Tensor | None, correction: float = 1.0) -> float:
    """Sampling variance of a statistic of n samples, by the jackknife corrected for its own bias.

    The delete-one jackknife counts the quadratic part of a statistic twice, which is all there is of ‖bias‖² for an
    unbiased estimator. The interactions of pairs, Q_de = Dθ − (D−1)(θ_d + θ_e) + (D−2)θ_de, measure that part, and
    Σ_{d<e}(Q_de − Q̄)²/(D(D−1)) is taken off (B. Efron, C. Stein 1981, *The jackknife estimate of variance*,
    section 5). What is left is kept above half of the delete-one value, below which no quadratic statistic lies, and
    above half of the quadratic part: where ‖bias‖² is near zero the plain difference is noisy, and these floors
    keep the intervals' coverage.

    Args:
        n: number of samples.
        one: the statistic with each sample left out, [n].
        two: the statistic with each pair left out, [n, n] (its diagonal is not looked at); None for no correction.
        correction: share of the quadratic part that is taken off; less is more cautious.

    Returns:
        The variance; NaN where a value of ``one`` is.

    Example:
        >>> x = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
        >>> mean_without = (x.sum() - x) / 2
        >>> round(corrected_variance(3, mean_without, None), 6), round(float(x.var()) / 3, 6)
        (2.333333, 2.333333)
    """
    variance = (n - 1) / n * float((one - one.mean()).square().sum())
    if two is None:
        return variance
    pairs = (n - 2) * two - (n - 1) * (one[:, None] + one[None, :])
    # Both triangles at once; the diagonal is no pair.
    centre = pairs.fill_diagonal_(0.0).sum() / (n * (n - 1))
    twice = float((pairs - centre).fill_diagonal_(0.0).square_().sum()) / (2 * n * (n - 1))
    # Undefined with some pair left out: the uncorrected value errs on the side of caution.
    return max(variance - correction * twice, variance / 2, twice / 2) if math.isfinite(twice) else variance
