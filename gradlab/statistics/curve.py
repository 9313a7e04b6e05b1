"""Error as a curve over an estimator's parameter or over the batch size, and where the curve is lowest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.error import GradientError, gradient_error
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators.base import Estimator
from gradlab.inference.intervals import sum_interval
from gradlab.inference.jackknife import corrected_variance
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.checked import Checked, check
from gradlab.statistics.paired import Errors, seed_from
from gradlab.tangent import TangentKernel, tangent_kernel

#: Resamples of whole draws behind the uncertainty of an argmin.
_RESAMPLES = 1000


@dataclass(frozen=True)
class Lowest:
    """Where a curve is lowest, and how sure that is.

    Attributes:
        value: the parameter at the lowest point of the curve.
        low: lower end of the 95 % interval of the parameter, over resamples of whole draws.
        high: upper end.
        shares: share of the resamples whose curve is lowest at each parameter.
        at_edge: whether it is the first or the last of the values, so that the minimum may lie beyond.
    """

    value: float
    low: float
    high: float
    shares: tuple[float, ...]
    at_edge: bool

    def __str__(self) -> str:
        edge = "; at the edge of the values: try further ones" if self.at_edge else ""
        return f"{self.value:g} in [{self.low:g}, {self.high:g}]{edge}"


@dataclass(frozen=True)
class Curve:
    """Mean squared error over the parameter at one batch size.

    Attributes:
        batch_size: B′.
        mse: ‖bias‖² + V/B′ for each value of the parameter.
        best: where it is lowest.
    """

    batch_size: float
    mse: list[Estimate]
    best: Lowest


@dataclass(frozen=True)
class Sweep:
    """Errors over a parameter, under common random numbers.

    Attributes:
        values: of the parameter, [P].
        bias_squared: ‖bias‖² at each, of the expected gradient at these states.
        variance: trace of the covariance of one minibatch gradient of these B states.
        mse: their sum.
        best: where the mean squared error is lowest.
        batches: the same curves at the batch sizes asked for.
        errors: everything else, at each value.
        notes: what a person should know.
    """

    values: tuple[float, ...]
    bias_squared: list[Estimate]
    variance: list[Estimate]
    mse: list[Estimate]
    best: Lowest
    batches: list[Curve]
    errors: list[GradientError]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = zip(self.values, self.bias_squared, self.variance, self.mse, strict=True)
        lines = [f"{value:<10g} bias² {bias}; variance {spread}; MSE {mse}" for value, bias, spread, mse in rows]
        return "\n".join([*lines, f"lowest MSE at {self.best}"])


def sweep(
    make: Callable[[float], Estimator],
    values: Sequence[float],
    agent: Agent,
    obs: Any,
    ref: ReferenceCotangent,
    draws: int = 256,
    generator: torch.Generator | None = None,
    *,
    batch_sizes: Sequence[float] = (),
    kernel: TangentKernel | None = None,
    allow_mismatch: bool = False,
) -> Sweep:
    """Bias, variance and mean squared error as curves over a parameter, and the parameter where it is lowest.

    Every estimator is drawn from the same seed, and one tangent kernel serves them all, so that no backward pass is
    taken per point or draw beyond what drawing takes. The lowest point's uncertainty is a bootstrap of whole draws,
    the same for all values, with the reference's noise, which moves the curve by −2w̄·δr, added to it as a Gaussian
    (B. Efron, R. Tibshirani 1993, *An introduction to the bootstrap*, chapter 6). At another batch size B′ the curve
    is ‖bias‖² + V/B′, V/B the variance at these B states: draws are taken as independent over states.

    Args:
        make: value → estimator, of one kind that takes the same noise whatever the value.
        values: of the parameter, one or more, in the order of the curves.
        agent: the agent; neither changed nor given gradients. Pass a snapshot.
        obs: observations [B, n].
        ref: the reference at the same states.
        draws: independent draws at each value, four or more.
        generator: source of the common seed.
        batch_sizes: batch sizes to give the curves for as well.
        kernel: ``tangent_kernel(agent, obs)``, to share it.
        allow_mismatch: compare with a reference for another objective all the same, and say so.

    Raises:
        GradlabError: no values, fewer than four draws, a batch size below one, or what ``gradient_error`` raises.

    Example:
        >>> from gradlab.estimators import ZerothOrder
        >>> from gradlab.references import CriticReference
        >>> class Critic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return 2.0 + torch.sin(3 * act).sum(-1)
        >>> actor = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [Critic()], action_low=-1, action_high=1)
        >>> obs, generator = torch.zeros(64, 1), torch.Generator().manual_seed(0)
        >>> ref = CriticReference().cotangent(agent, obs)
        >>> curve = sweep(lambda mu: ZerothOrder(mu, points=1), [0.01, 0.1, 0.3, 1.0], agent, obs, ref, 64, generator)
        >>> curve.variance[0].value > 100 * curve.variance[2].value, curve.best.value
        (True, 0.3)
    """
    points = tuple(float(value) for value in values)
    if not points or draws < 4 or any(not batch >= 1 for batch in batch_sizes):
        raise GradlabError(
            f"sweep: {len(points)} values, {draws} draws, batch sizes {list(batch_sizes)}; "
            "give at least one value, four draws, and batch sizes of one or more"
        )
    obs = agent.observations(obs)
    kernel = kernel or tangent_kernel(agent, obs)
    seed = seed_from(generator)
    curves = _Curves(points, draws, seed)
    for value in points:
        # One value's draws at a time, so that memory does not grow with their number.
        v = make(value).draw(agent, obs, draws, torch.Generator().manual_seed(seed))
        error = gradient_error(agent, obs, v, ref, kernel=kernel, allow_mismatch=allow_mismatch)
        curves.add(check(agent, obs, v, ref, kernel=kernel, allow_mismatch=allow_mismatch), error)
    errors = curves.errors
    return Sweep(
        points,
        [error.bias_squared for error in errors],
        [error.variance for error in errors],
        [error.mse for error in errors],
        curves.lowest(curves.states),
        [Curve(float(batch), curves.mse(batch), curves.lowest(batch)) for batch in batch_sizes],
        errors,
        tuple(dict.fromkeys(note for error in errors for note in error.notes)),
    )


class _Curves:
    """What is kept of each value: inner products of its draws' errors, and what the reference's noise meets."""

    def __init__(self, values: tuple[float, ...], draws: int, seed: int) -> None:
        self.values, self.draws = values, draws
        self.errors: list[GradientError] = []
        self.states = 0
        self._inner: list[Errors] = []
        self._shift: list[Tensor] = []
        # Resampled draws are the same for all values: counts [resamples, D].
        self._generator = torch.Generator().manual_seed(seed ^ 0x5EED)
        picks = torch.randint(draws, (_RESAMPLES, draws), generator=self._generator)
        self._counts = torch.nn.functional.one_hot(picks, draws).sum(1).double()

    def add(self, given: Checked, error: GradientError) -> None:
        """Keep one value's draws."""
        inner = Errors.of(given)
        self.errors.append(error)
        self.states = len(given.obs)
        self._inner.append(replace(inner, centred=inner.centred[:0]))
        self._shift.append((inner.mean * given.stderr.flatten()).cpu())

    def mse(self, batch: float) -> list[Estimate]:
        """‖bias‖² + V/B′ of each value."""
        shrink, estimates = self.states / batch, []
        for inner, error in zip(self._inner, self.errors, strict=True):
            bias, variance, whole = error.bias_squared, error.variance, error.mse
            if shrink == 1:
                estimates.append(whole)
                continue
            left_out = inner.left_out()[1:]
            one, two = (x[0] + shrink * x[1] for x in left_out)
            # The reference's noise moves ‖bias‖² alone, hence every curve alike: what it adds to the MSE here.
            here = corrected_variance(self.draws, left_out[0].sum(0), left_out[1].sum(0))
            from_reference = max(whole.stderr**2 - here, 0.0)
            low, high = variance.interval()
            ends = sum_interval(bias.value, bias.interval(), shrink * variance.value, (shrink * low, shrink * high))
            stderr = math.sqrt(corrected_variance(self.draws, one, two) + from_reference)
            value = bias.value + shrink * variance.value
            estimates.append(replace(whole, value=value, stderr=stderr, scale="linear", ends=ends))
        return estimates

    def lowest(self, batch: float) -> Lowest:
        """Where the curve at a batch size is lowest, over resamples of whole draws."""
        n, shrink = self.draws, self.states / batch
        curves, resampled = [], []
        for inner in self._inner:
            gram = inner.gram.cpu()
            bias, variance = (float(x) for x in inner.left_out()[0])
            curves.append(bias + shrink * variance)
            # A resample's own U-statistic has the mean ‖w̄‖², not ‖w̄‖² − tr Var/n: it takes the draws for the truth.
            mean = ((self._counts @ gram) * self._counts).sum(1) / n**2
            spread = (self._counts @ gram.diagonal() / n - mean) * n / (n - 1)
            resampled.append(mean - spread / n - variance / n + shrink * spread * n / (n - 1))
        noise = torch.randn(_RESAMPLES, len(self._shift[0]), generator=self._generator, dtype=torch.float64)
        moved = torch.stack(resampled, 1) - 2 * noise @ torch.stack(self._shift, 1)
        winners = moved.argmin(1)
        shares = torch.bincount(winners, minlength=len(self.values)).double() / _RESAMPLES
        best = min(range(len(curves)), key=curves.__getitem__)
        chosen = torch.tensor(self.values, dtype=torch.float64)
        ends = chosen[winners].quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), interpolation="nearest")
        value = self.values[best]
        return Lowest(
            value,
            min(float(ends[0]), value),
            max(float(ends[1]), value),
            tuple(shares.tolist()),
            value in (min(self.values), max(self.values)),
        )
