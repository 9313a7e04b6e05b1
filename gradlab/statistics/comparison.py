"""Two estimators side by side: which has the smaller error here, by how much, and from which batch size on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import brentq
from torch import Tensor

from gradlab.agent import Agent
from gradlab.error import GradientError, gradient_error
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators.base import Estimator
from gradlab.inference.confidence import skewed_interval, tailed_half
from gradlab.inference.intervals import Interval
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.checked import Checked, check
from gradlab.statistics.paired import Errors, common_draws, seed_from
from gradlab.tangent import TangentKernel, tangent_kernel

#: Batch sizes between which a crossing is looked for.
_SMALLEST, _LARGEST = 1.0, 1e12


@dataclass(frozen=True)
class Comparison:
    """Estimator a against estimator b, at the same states and with common random numbers.

    Attributes:
        first: name of a.
        second: name of b.
        difference: MSE(a) − MSE(b) of one minibatch gradient of these B states.
        ratio: MSE(a)/MSE(b).
        bias_squared: ‖bias_a‖² − ‖bias_b‖².
        variance: V_a − V_b, of a gradient from one draw at one state (B times that of the minibatch).
        better: the name of the one with the smaller MSE; empty where that is unresolved.
        crossing: the batch size B at which ‖bias_a‖² + V_a/B = ‖bias_b‖² + V_b/B; infinite where there is none.
        verdict: the comparison over all batch sizes, in words.
        errors: the error of a and that of b.
        notes: what a person should know.
    """

    first: str
    second: str
    difference: Estimate
    ratio: Estimate
    bias_squared: Estimate
    variance: Estimate
    better: str
    crossing: Estimate
    verdict: str
    errors: tuple[GradientError, GradientError]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.first} against {self.second}: {self.better or 'neither'} has the smaller mean squared error here\n"
            f"difference  {self.difference}\nratio       {self.ratio}\n{self.verdict}"
        )


def compare(
    a: Estimator,
    b: Estimator,
    agent: Agent,
    obs: Any,
    ref: ReferenceCotangent,
    draws: int = 64,
    generator: torch.Generator | None = None,
    *,
    kernel: TangentKernel | None = None,
    allow_mismatch: bool = False,
) -> Comparison:
    """Compare two estimators' mean squared errors, paired draw by draw under common random numbers.

    Draw d of either estimator is made from the same seed, so what noise they share cancels in the difference of
    ‖g_d − r‖². The noise of the reference cancels in its mean, and adds 4(w̄_a − w̄_b)ᵀΩ(w̄_a − w̄_b) to its variance.
    Standard errors: the jackknife over whole draws, of both estimators at once. Variances are those of draws at these
    states, independent over states, so that they fall as 1/B; that of sampling states is the same for both where their
    means are.

    Intervals know the tails and the skewness that the draws show. Sixteen draws do not show all of a tail of
    kurtosis 500 to 30 000: intervals of differences hold 80 to 90 % there, those of 64 draws about 90 %; where both
    estimators have such tails, on opposite sides of the difference, 55 to 80 %.

    The curves ‖bias‖² + V/B cross at B* = (V_b − V_a)/(‖bias_a‖² − ‖bias_b‖²). Its interval holds the batch sizes at
    which the difference of the curves is not resolved (E. Fieller 1954), so it may have no upper end.

    Args:
        a: the first estimator.
        b: the second.
        agent: the agent; neither changed nor given gradients. Pass a snapshot.
        obs: observations [B, n].
        ref: the reference at the same states.
        draws: independent draws of each, four or more.
        generator: source of the common seed.
        kernel: ``tangent_kernel(agent, obs)``, to share it.
        allow_mismatch: compare with a reference for another objective all the same, and say so.

    Raises:
        GradlabError: fewer than four draws, or what ``gradient_error`` raises.

    Example:
        >>> from gradlab.estimators import ZerothOrder
        >>> from gradlab.references import CriticReference
        >>> class Critic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return 3.0 + act.sum(-1) - act.square().sum(-1)
        >>> actor = torch.nn.Linear(2, 3)
        >>> _ = torch.nn.init.constant_(actor.weight, 0.1), torch.nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [Critic()], action_low=[-1] * 3, action_high=[1] * 3)
        >>> obs = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
        >>> ref, generator = CriticReference().cotangent(agent, obs), torch.Generator().manual_seed(1)
        >>> found = compare(ZerothOrder(0.1, points=1), ZerothOrder(0.1, points=2), agent, obs, ref, 64, generator)
        >>> found.better, found.ratio.value > 10
        ('zeroth-order-2', True)
    """
    if draws < 4:
        raise GradlabError(f"compare: {draws} draws; an interval needs at least four")
    obs = agent.observations(obs)
    kernel = kernel or tangent_kernel(agent, obs)
    seed = seed_from(generator)
    given, errors = [], []
    for estimator in (a, b):
        v = common_draws(estimator, agent, obs, draws, seed)
        given.append(check(agent, obs, v, ref, kernel=kernel, allow_mismatch=allow_mismatch))
        errors.append(gradient_error(agent, obs, v, ref, kernel=kernel, allow_mismatch=allow_mismatch))
    return Paired(*given).result(_name(a, b, 0), _name(a, b, 1), errors[0], errors[1])


def _name(a: Estimator, b: Estimator, which: int) -> str:
    # Two of a kind, of another radius say, may carry one name.
    name = (a, b)[which].name
    return name if a.name != b.name else f"{name} ({'ab'[which]})"


class Paired:
    """θ = (Δ‖bias‖², ΔV), V per state, with each draw left out, and its covariance by the jackknife.

    Attributes:
        mse: of a and of b, ‖bias‖² + variance of one minibatch gradient: of all draws, and with each left out.
    """

    def __init__(self, a: Checked, b: Checked) -> None:
        self.label, self.states = a.label, len(a.obs)
        self.draws = len(a.draws)
        self.of = Errors.of(a), Errors.of(b)
        left_out = [errors.left_out() for errors in self.of]
        scale = torch.tensor([1.0, self.states], dtype=torch.float64)
        value, one = (
            (x - y) * scale.to(x).reshape(2, *[1] * (x.ndim - 1))
            for x, y in zip(*(part[:2] for part in left_out), strict=True)
        )
        n = self.draws
        self.value = value
        centred = one - one.mean(1, keepdim=True)
        self.centred = centred
        self.plain = (n - 1) / n * (centred @ centred.T)
        self.mse = [(float(x[0].sum()), x[1].sum(0)) for x in left_out]
        # What the reference's noise does to the difference: 4 dᵀΩd, d = w̄_a − w̄_b, less what d's own noise adds.
        stderr = a.stderr.flatten()
        self.stderr = stderr
        shift = (self.of[0].mean - self.of[1].mean) * stderr
        spread = (self.of[0].centred - self.of[1].centred) * stderr
        own = float(spread.square().sum()) / (n * (n - 1))
        self.from_reference = 4 * max(float(shift.square().sum()) - own, 0.0)

    @staticmethod
    def _at(batch: float, like: Tensor) -> Tensor:
        return torch.tensor([1.0, 1.0 / batch], dtype=like.dtype, device=like.device).reshape(2, *[1] * (like.ndim - 1))

    def variance(self, x: Tensor) -> float:
        """Of x·θ, by the jackknife and what the reference's noise adds.

        It keeps the quadratic part that ``gradlab.inference.jackknife.corrected_variance`` takes off: a bias² that
        comes out near zero comes with too small a standard error, which a symmetric interval of a difference needs made
        up for.
        """
        return float(x @ self.plain @ x) + self.from_reference * float(x[0]) ** 2

    def interval(self, x: Tensor) -> Interval:
        """Of x·θ; Student's, knowing the tails and the skewness of the jackknife's pseudo-values.

        Where one estimator has a heavy tail it is on one side of the difference, which draws that missed it put too
        near zero.
        """
        # A draw that raises x·θ lowers it where left out.
        return skewed_interval(float(x @ self.value), math.sqrt(self.variance(x)), -(x @ self.centred))

    def estimate(self, x: Tensor) -> Estimate:
        """x·θ with its interval."""
        label = self.label
        return Estimate(
            float(x @ self.value),
            math.sqrt(self.variance(x)),
            self.draws,
            label.reference,
            label.objective,
            ends=self.interval(x),
            caveat=label.caveat,
        )

    @property
    def difference(self) -> Estimate:
        """MSE(a) − MSE(b) of one minibatch gradient of these states."""
        return self.estimate(self._at(self.states, self.value))

    def result(self, first: str, second: str, a: GradientError, b: GradientError) -> Comparison:
        """All that is said of the two."""
        unit = torch.eye(2, dtype=torch.float64, device=self.value.device)
        difference = self.difference
        crossing, verdict = self.crossing(first, second)
        better = (first if difference.value < 0 else second) if difference.resolved else ""
        notes = dict.fromkeys((*a.notes, *b.notes))
        return Comparison(
            first,
            second,
            difference,
            self.ratio(),
            self.estimate(unit[0]),
            self.estimate(unit[1]),
            better,
            crossing,
            verdict,
            (a, b),
            tuple(notes),
        )

    def ratio(self) -> Estimate:
        """MSE(a)/MSE(b); NaN where that of b is not above zero."""
        n = self.draws
        (top, top_without), (bottom, bottom_without) = self.mse
        words = self.label
        if not (top >= 0 and bottom > 0):
            return Estimate(math.nan, math.nan, n, words.reference, words.objective, caveat=words.caveat)
        without = top_without / bottom_without
        over_draws = (n - 1) / n * float((without - without.mean()).square().sum())
        # ∂(MSE_a/MSE_b)/∂r = −2 w̄_a/MSE_b + 2 w̄_b MSE_a/MSE_b².
        slope = 2 * (self.of[0].mean / bottom - self.of[1].mean * top / bottom**2) * self.stderr
        stderr = math.sqrt(over_draws + float(slope.square().sum()))
        ends = None
        if top > 0 and bool((without > 0).all()):
            logs = -without.log()
            low, high = skewed_interval(math.log(top / bottom), stderr / (top / bottom), logs)
            ends = math.exp(low), math.exp(min(high, 700.0))
        return Estimate(top / bottom, stderr, n, words.reference, words.objective, "log", ends, words.caveat)

    def crossing(self, first: str, second: str) -> tuple[Estimate, str]:
        """B*, with the batch sizes at which the curves are not told apart, and what that means."""
        bias, variance = (float(x) for x in self.value)
        point = -variance / bias if bias * variance < 0 else math.inf

        def told_apart(log_batch: float) -> float:
            """Above zero where the difference at this batch size is resolved."""
            x = self._at(math.exp(log_batch), self.value)
            # On both sides alike: with the skewness too, the doubt held the crossing more often than it says.
            half = tailed_half(math.sqrt(self.variance(x)), x @ self.centred)
            return abs(float(x @ self.value)) - half

        grid = torch.linspace(math.log(_SMALLEST), math.log(_LARGEST), 400).tolist()
        resolved = [told_apart(x) > 0 for x in grid]
        label = self.label

        def estimate(low: float, high: float) -> Estimate:
            stderr = math.nan
            if bias != 0 and math.isfinite(point):
                # ∂B*/∂θ = (−B*, −1)/Δ‖bias‖² for B* = −ΔV/Δ‖bias‖².
                slope = torch.tensor([-point, -1.0], dtype=torch.float64).to(self.value) / bias
                stderr = math.sqrt(self.variance(slope))
            ends = (min(low, point), max(high, point))
            return Estimate(point, stderr, self.draws, label.reference, label.objective, ends=ends, caveat=label.caveat)

        def ahead(log_batch: float) -> str:
            return first if float(self._at(math.exp(log_batch), self.value) @ self.value) < 0 else second

        if all(resolved):
            at_ends = ahead(grid[0]), ahead(grid[-1])
            if at_ends[0] == at_ends[1]:
                return estimate(math.inf, math.inf), f"they never cross: {at_ends[0]} is better at every batch size"
            # The doubt is narrower than the grid.
            return estimate(point, point), f"{at_ends[0]} is better below a batch of {point:.3g}, {at_ends[1]} above"
        doubt = [k for k, sure in enumerate(resolved) if not sure]
        low = _SMALLEST if doubt[0] == 0 else math.exp(brentq(told_apart, grid[doubt[0] - 1], grid[doubt[0]]))
        high = math.inf
        if doubt[-1] + 1 < len(grid):
            high = math.exp(brentq(told_apart, grid[doubt[-1]], grid[doubt[-1] + 1]))
        below = f"{ahead(grid[0])} is better below a batch of {low:.3g}" if doubt[0] > 0 else ""
        above = f"{ahead(grid[-1])} is better above a batch of {high:.3g}" if math.isfinite(high) else ""
        between = f"unresolved from {low:.3g} to {high:.3g}" if math.isfinite(high) else f"unresolved from {low:.3g} on"
        if not (below or above):
            between = "unresolved at every batch size"
        return estimate(low, high), "; ".join(part for part in (below, between, above) if part)
