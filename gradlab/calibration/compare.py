"""From what was measured of a case to its rows: every quantity with a known truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gradlab.calibration.measure import ROUNDING, Case, along_episodes, at_states
from gradlab.calibration.row import INTERVALS, NORMAL, Row
from gradlab.calibration.scores import (
    Score,
    score_of_estimate,
    score_of_mean,
    score_of_squared_norm,
    score_of_vector,
)
from gradlab.error import GradientError
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators.base import TrajectoryEstimator
from gradlab.worlds.base import Admitted

#: By how much a truth is made larger for the control.
SHIFT = 0.1

Array = NDArray[np.float64]


def measure(case: Case, seed: int, draws: int, repeats: int, *, corrected: bool = True) -> list[Row]:
    """Every quantity of a case with a known truth.

    Args:
        case: the case.
        seed: with the case's labels it makes its generator.
        draws: D of one measurement.
        repeats: independent measurements.
        corrected: False leaves the U-statistic's correction out of every bias²: the sabotage of the control.

    Raises:
        GradlabError: the world's word is no number or of the wrong size, or a draw is not finite.
    """
    estimator, generator, truths = case.admitted.estimator, case.generator(seed), _Truths.of(case.admitted)
    size = sum(parameter.numel() for parameter in case.world.agent().named_parameters().values())
    if len(truths.mean) != size:
        raise GradlabError(f"admitted mean has {len(truths.mean)} numbers, the agent {size} parameters; mend the world")
    if isinstance(estimator, TrajectoryEstimator):
        measured = along_episodes(case, estimator, draws, repeats, generator)
    else:
        measured = at_states(case, estimator, draws, repeats, generator)
    gradients = measured.gradients.numpy()
    rows = _Rows(case, truths, float(np.sqrt(gradients.var(0).sum())))
    rows.add_gradient(gradients)
    rows.add_bias(measured.errors, draws, gradients, corrected=corrected)
    rows.add_spreads(measured.errors)
    if not rows.silent:
        rows.add_ratios(measured.pooled, measured.errors)
    return rows.rows


@dataclass(frozen=True)
class _Truths:
    """The numbers that follow from an estimator's mean, its variance and the true gradient."""

    mean: Array
    bias: Array
    values: dict[str, float]
    size: float

    @classmethod
    def of(cls, admitted: Admitted) -> _Truths:
        mean, truth = admitted.mean.detach().double().flatten(), admitted.truth.detach().double().flatten()
        if mean.shape != truth.shape or not bool(torch.isfinite(torch.cat([mean, truth])).all()):
            raise GradlabError("admitted mean and truth differ in size, or are NaN or infinite; mend the world")
        bias, norm, true = float((mean - truth).square().sum()), float(mean.norm()), float(truth.norm())
        # What rounding leaves of an unbiased estimator's bias is none.
        values = {"bias_squared": bias if bias > (1e-12 * max(norm, true)) ** 2 else 0.0}
        if admitted.variance is not None and not (math.isfinite(admitted.variance) and admitted.variance >= 0):
            raise GradlabError(f"admitted variance is {admitted.variance}; mend the world, or give None if unknown")
        if admitted.variance is not None:
            values |= {"variance": float(admitted.variance), "mse": bias + float(admitted.variance)}
        if norm > 0 and true > 0:
            # One parameter has no direction, only a sign.
            values |= {"cosine": float(mean @ truth) / (norm * true)} if len(mean) > 1 else {}
            values["norm_ratio"] = norm / true
        if norm > 0 and admitted.variance:
            values["snr"] = norm**2 / float(admitted.variance)
        if values["bias_squared"] == 0:
            truth = mean
        return cls(mean.numpy(), (mean - truth).numpy(), values, max(norm, true))


class _Rows:
    """Collects a case's rows."""

    def __init__(self, case: Case, truths: _Truths, spread: float) -> None:
        self.case, self.truths = case, truths
        self.rows: list[Row] = []
        #: Whether the draws are all the same, up to rounding: there is nothing random, and answers are exact.
        self.silent = spread <= ROUNDING * truths.size

    def add_gradient(self, draws: Array) -> None:
        """The mean gradient along the expected one, and all of its components."""
        mean = self.truths.mean
        norm = float(np.linalg.norm(mean))
        along = mean / norm if norm > 0 else np.full(len(mean), 1 / math.sqrt(len(mean)))
        score = score_of_mean(draws @ along, norm)
        self._add("gradient", norm, score, shifted=score_of_mean(draws @ along, (1 + SHIFT) * norm).z)
        components = None if self.silent else score_of_vector(draws, mean)
        if components is not None:
            self._add("components", components[1], components[0])
        elif self.silent:
            difference = float(np.linalg.norm(draws.mean(0) - mean))
            self._add("components", 0.0, Score(difference, 0.0, (difference, difference), difference))

    def add_bias(self, errors: Sequence[GradientError], draws: int, gradients: Array, *, corrected: bool) -> None:
        """bias² on average over the repeats, each of whose mean gradients scatters with the draws' covariance / D."""
        estimates = [error.bias_squared for error in errors]
        values = np.array([estimate.value for estimate in estimates])
        truth = self.truths.values["bias_squared"]
        if self.silent:
            self._add("bias_squared", truth, score_of_mean(values, truth), estimates)
            return
        plain = values + np.array([error.variance.value for error in errors]) / draws
        law = self.truths.bias, np.atleast_2d(np.cov(gradients.T)) / draws
        score, without = score_of_squared_norm(values, *law), score_of_squared_norm(plain, *law)
        self._add("bias_squared", truth, score if corrected else without, estimates, without.z)

    def add_spreads(self, errors: Sequence[GradientError]) -> None:
        """Variance and MSE, on average over the repeats: unbiased for any number of draws."""
        for quantity in ("variance", "mse"):
            if quantity in self.truths.values:
                truth = self.truths.values[quantity]
                estimates: list[Estimate] = [getattr(error, quantity) for error in errors]
                values = np.array([estimate.value for estimate in estimates])
                control = score_of_mean(values, (1 + SHIFT) * truth).z if quantity == "variance" else math.nan
                self._add(quantity, truth, score_of_mean(values, truth), estimates, control)

    def add_ratios(self, pooled: GradientError, errors: Sequence[GradientError]) -> None:
        """Ratios, which are right for many draws only: from all draws at once."""
        for quantity in ("cosine", "norm_ratio", "snr"):
            if quantity in self.truths.values:
                truth = self.truths.values[quantity]
                estimate: Estimate = getattr(pooled, quantity)
                score = Score(estimate.value, estimate.stderr, estimate.interval(), score_of_estimate(estimate, truth))
                self._add(quantity, truth, score, [getattr(error, quantity) for error in errors])

    def _add(
        self,
        quantity: str,
        truth: float,
        score: Score,
        estimates: Sequence[Estimate] = (),
        shifted: float = math.nan,
    ) -> None:
        size = self.truths.size
        if quantity in ("bias_squared", "variance", "mse"):
            size = size**2 + self.truths.values.get("variance", 0.0)
        # Some numbers are the same for all draws though the draws are not: |g|² on one state with two actions.
        exact = self.silent or (quantity in NORMAL and score.stderr <= ROUNDING * size)
        z = score.z
        if exact:
            z = 0.0 if abs(score.measured - truth) <= ROUNDING * size else math.inf
        intervals = [estimate.interval() for estimate in estimates] if quantity in INTERVALS else []
        known = [ends for ends in intervals if not math.isnan(ends[0] + ends[1])]
        slack = 1e-12 * max(size, abs(truth))
        self.rows.append(
            Row(
                *self.case.labels,
                quantity=quantity,
                truth=truth,
                measured=score.measured,
                stderr=score.stderr,
                interval=score.interval,
                z=z,
                exact=exact,
                held=sum(low - slack <= truth <= high + slack for low, high in known),
                intervals=len(known),
                control=math.nan if exact else shifted,
            )
        )
