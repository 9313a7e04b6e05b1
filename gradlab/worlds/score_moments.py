"""What the variance of a score-function estimator depends on, for every constant baseline."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimators import Estimator, Mixed, ScoreFunction
from gradlab.worlds.base import Admitted


class ScoreMoments(NamedTuple):
    """Moments of the reward f and the score s = ∇_θ log p(x), [P], at one state; those with f are about E f.

    One draw is s (f − b). Centring at E f keeps the digits that a large f would cost.

    Attributes:
        value: E f.
        spread: Var f.
        gradient: E[s f], [P].
        score: E s², [P], componentwise.
        weighted: E[s² (f − E f)], [P].
        weighted_square: E[s² (f − E f)²], [P].
    """

    value: float
    spread: float
    gradient: Tensor
    score: Tensor
    weighted: Tensor
    weighted_square: Tensor

    def variance(self, baseline: float | Tensor = 0.0) -> float:
        """Trace of the covariance of s (f − b) for a constant b, a number or one a component [P].

        With c = b − E f: Σ_i E[s_i² (f − E f)²] − 2 c_i E[s_i² (f − E f)] + c_i² E[s_i²] − (∂J/∂θ_i)².
        """
        shift = baseline - self.value
        second = self.weighted_square - 2 * shift * self.weighted + shift**2 * self.score
        return float((second - self.gradient**2).sum())

    @property
    def optimal_baseline(self) -> float:
        """The number of least variance, b* = E[‖s‖² f] / E[‖s‖²] (Greensmith, Bartlett & Baxter 2004)."""
        return self.value + float(self.weighted.sum() / self.score.sum())

    @property
    def optimal_baselines(self) -> Tensor:
        """The number of least variance for each component, E[s_i² f] / E[s_i²], [P]."""
        return self.value + self.weighted / self.score

    def leave_one_out(self, samples: int) -> float:
        """Trace of the covariance of (1/K) Σ_k s_k (f_k − mean of the other f), K = ``samples`` actions a draw.

        This is the sample covariance of s and f, whose variance is, for each component,
        μ₂₂/K − (K − 2)/(K (K − 1)) μ₁₁² + μ₂₀ μ₀₂/(K (K − 1)) (Kendall & Stuart, volume 1).

        Raises:
            GradlabError: there is no other action.
        """
        if samples < 2:
            raise GradlabError(f"leave-one-out: {samples} action(s) a draw; it takes at least two")
        K = samples
        parts = self.weighted_square - (K - 2) / (K - 1) * self.gradient**2 + self.score * self.spread / (K - 1)
        return float(parts.sum()) / K


def admitted_scores(moments: ScoreMoments, truth: Tensor, at_mode: float, sigma: float = 0.1) -> tuple[Admitted, ...]:
    """Score functions with every baseline whose variance is known, and those from pilot draws, whose mean is.

    Args:
        moments: of the world's reward and score.
        truth: the objective's gradient, [P].
        at_mode: Q at the action without exploration, which is the "value" baseline.
        sigma: standard deviation around a deterministic actor.

    Example:
        >>> import torch
        >>> one = torch.ones(1).double()
        >>> moments = ScoreMoments(0.0, 1.0, one, one, 0 * one, 3 * one)
        >>> [str(admitted.estimator) for admitted in admitted_scores(moments, one, 0.0)][:2]
        ['score-function', 'score-function-baseline']
    """
    best, mean = moments.optimal_baseline, moments.gradient
    return (
        Admitted(ScoreFunction(sigma), mean, moments.variance(), truth),
        Admitted(ScoreFunction(sigma, "value"), mean, moments.variance(at_mode), truth),
        # A best baseline of zero is none.
        *([Admitted(ScoreFunction(sigma, best), mean, moments.variance(best), truth)] if best else []),
        Admitted(ScoreFunction(sigma, "leave-one-out", samples=4), mean, moments.leave_one_out(4), truth),
        # What their baselines are depends on the pilots, so that only the mean is known.
        Admitted(ScoreFunction(sigma, "optimal"), mean, None, truth),
        Admitted(ScoreFunction(sigma, "optimal-per-component"), mean, None, truth),
    )


def half_and_half(first: Admitted, zeroth: Admitted) -> Admitted:
    """``Mixed`` with α = ½ of two estimators: the mean of their means, and a quarter of the sum of their variances.

    Raises:
        GradlabError: the variance of one is not known.
    """
    if first.variance is None or zeroth.variance is None or not isinstance(first.estimator, Estimator):
        raise GradlabError(f"mixed: the variance of {first.estimator} or {zeroth.estimator} is not known")
    if not isinstance(zeroth.estimator, Estimator):
        raise GradlabError(f"mixed: {zeroth.estimator} is made from trajectories")
    mixed = Mixed(first.estimator, zeroth.estimator, alpha=0.5)
    return Admitted(mixed, (first.mean + zeroth.mean) / 2, (first.variance + zeroth.variance) / 4, first.truth)
