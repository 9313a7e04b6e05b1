"""Do two independent ways to one gradient agree?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.confidence import trace_of_square
from gradlab.inference.intervals import Noise, squared_norm_interval
from gradlab.objective import compare_objectives
from gradlab.references.gradient_samples import PolicyGradient


@dataclass(frozen=True)
class Projection:
    """Two gradients along one direction of unit length.

    Attributes:
        direction: which, in words.
        first: g₁·d with its interval.
        second: g₂·d, likewise.
        difference: g₁·d − g₂·d with Welch's interval.
    """

    direction: str
    first: Estimate
    second: Estimate
    difference: Estimate

    @property
    def overlap(self) -> bool:
        """Whether the two 95 % intervals have a point in common."""
        (low, high), (other_low, other_high) = self.first.interval(), self.second.interval()
        return low <= other_high and other_low <= high

    @property
    def agree(self) -> bool:
        """Whether the 95 % interval of the difference holds zero, which is the sharper question."""
        return not self.difference.resolved


@dataclass(frozen=True)
class Agreement:
    """Two independent estimates of a gradient, compared.

    Attributes:
        difference_squared: ‖g₁ − g₂‖², without the noise of both; its interval begins at 0 where no difference shows.
        norm_squared: ‖g₁‖² of the one that is known better, without its noise.
        projections: along the gradient, and along random directions of parameter space.
        notes: what a person should know, a line each.
    """

    difference_squared: Estimate
    norm_squared: Estimate
    projections: tuple[Projection, ...]
    notes: tuple[str, ...] = ()

    @property
    def agree(self) -> bool:
        """Whether the whole vectors are compatible: the interval of ‖g₁ − g₂‖² holds zero."""
        return self.difference_squared.interval()[0] <= 0

    @property
    def overlapping(self) -> int:
        """In how many directions the two intervals overlap."""
        return sum(one.overlap for one in self.projections)

    @property
    def largest(self) -> float:
        """Upper end of ‖g₁ − g₂‖/‖g₁‖: what the comparison could not have missed; NaN where ‖g₁‖ is not resolved."""
        norm, high = self.norm_squared.value, self.difference_squared.interval()[1]
        return math.sqrt(max(high, 0.0) / norm) if norm > 0 else math.nan

    def __str__(self) -> str:
        verdict = "agree" if self.agree else "disagree"
        return (
            f"{verdict}: {self.overlapping} of {len(self.projections)} directions overlap; "
            f"the vectors differ by at most {self.largest:.0%} of the norm"
        )


def cross_check(
    first: PolicyGradient,
    second: PolicyGradient,
    *,
    directions: int = 32,
    seed: int = 0,
    allow_mismatch: bool = False,
) -> Agreement:
    """Compare two gradients that come from independent episodes, as whole vectors and along directions.

    With S_k the covariance of one of the n_k samples of g_k, ‖g₁ − g₂‖² − tr S₁/n₁ − tr S₂/n₂ is unbiased, and
    Ω = S₁/n₁ + S₂/n₂ decides its distribution (Z. Bai, H. Saranadasa 1996, *Effect of high dimension: by an example of
    a two sample problem*; S. Chen, Y. Qin 2010): it needs no inverse, so there may be more parameters than episodes.
    The interval is that of a squared norm, found by inverting the distribution.

    Along the gradient the direction is that of one half of the better known gradient's samples, and the other half is
    measured along it, so that no noise is projected on itself; both ways, averaged.

    Args:
        first: a gradient.
        second: another, of other episodes.
        directions: how many random directions, uniform on the sphere in parameter space.
        seed: of them.
        allow_mismatch: compare gradients of different objectives all the same; every number then says so.

    Raises:
        GradlabError: one is per unit of weight and the other is not, they have other parameters or other objectives.

    Example:
        >>> from gradlab.objective import Objective
        >>> generator = torch.Generator().manual_seed(0)
        >>> def draw(count):
        ...     noise = torch.randn(count, 5, generator=generator, dtype=torch.float64)
        ...     return PolicyGradient(1 + noise, "example", Objective())
        >>> found = cross_check(draw(64), draw(64))
        >>> found.agree, found.overlapping, len(found.projections)
        (True, 33, 33)
    """
    if first.per_weight != second.per_weight:
        raise GradlabError(
            f"cross-check: {first.name} and {second.name} are not alike, one is divided by the weight of its states; "
            "take both at discounted states, or both per unit of weight"
        )
    if first.gradient.shape != second.gradient.shape:
        raise GradlabError(
            f"cross-check: {first.gradient.numel()} against {second.gradient.numel()} parameters; of one agent, please"
        )
    caveat, notes = compare_objectives(first.objective, second.objective, second.name, allow_mismatch=allow_mismatch)
    better, other = sorted((first, second), key=lambda found: found.noise().trace)
    sign = 1.0 if better is first else -1.0
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(directions, first.gradient.numel(), generator=generator, dtype=torch.float64)
    lines = [_along_gradient(better, other, sign, caveat)]
    for number, one in enumerate(random):
        unit = one / one.norm()
        each = [_mean(found.samples @ unit, found, caveat) for found in (first, second)]
        lines.append(Projection(f"random {number}", each[0], each[1], _welch(each[0], each[1], caveat)))
    return Agreement(_difference(first, second, caveat), better.norm_squared, tuple(lines), notes)


def _difference(first: PolicyGradient, second: PolicyGradient, caveat: str) -> Estimate:
    apart = first.gradient - second.gradient
    parts = [(found.samples - found.gradient, found.count) for found in (first, second)]
    trace = square = along = 0.0
    for centred, count in parts:
        gram, freedom = centred @ centred.T, count - 1
        own = float(gram.trace()) / freedom
        square += trace_of_square(own, float(gram.square().sum()) / freedom**2, freedom) / count**2
        along += float((centred @ apart).square().sum()) / freedom / count
        trace += own / count
    (a, n), (b, k) = parts
    square += 2 * float((a @ b.T).square().sum()) / ((n - 1) * (k - 1) * n * k)
    noise = Noise(trace, square, along)
    count = min(n, k)
    plug_in = float(apart @ apart)
    ends = squared_norm_interval(plug_in, noise, count)
    stderr = math.sqrt(max(4 * along - 2 * square, 2 * square))
    objective = str(first.objective)
    return Estimate(plug_in - trace, stderr, count, second.name, objective, ends=ends, caveat=caveat)


def _along_gradient(better: PolicyGradient, other: PolicyGradient, sign: float, caveat: str) -> Projection:
    odd, even = better.samples[1::2], better.samples[::2]
    if min(len(odd), len(even)) < 2:
        raise GradlabError(f"cross-check: {better.name} has {better.count} samples; halves of it need at least four")
    units = [half.mean(0) / half.mean(0).norm() for half in (even, odd)]
    halves = [half @ unit for half, unit in zip((odd, even), units, strict=True)]
    value = float(sum(part.mean() for part in halves)) / 2
    stderr = math.sqrt(float(sum(part.var() / len(part) for part in halves))) / 2
    first = Estimate(value, stderr, better.count, better.name, str(better.objective), caveat=caveat)
    second = _mean(other.samples @ (sum(units) / 2), other, caveat)
    both = (first, second) if sign > 0 else (second, first)
    return Projection("the gradient", *both, _welch(*both, caveat))


def _mean(each: Tensor, found: PolicyGradient, caveat: str) -> Estimate:
    stderr = float(each.std()) / math.sqrt(len(each))
    return Estimate(float(each.mean()), stderr, len(each), found.name, str(found.objective), caveat=caveat)


def _welch(first: Estimate, second: Estimate, caveat: str) -> Estimate:
    """The difference, with Welch and Satterthwaite's degrees of freedom."""
    value, variances = first.value - second.value, [first.stderr**2, second.stderr**2]
    total = sum(variances)
    below = sum(v**2 / (one.samples - 1) for v, one in zip(variances, (first, second), strict=True))
    freedom = total**2 / below if below > 0 else math.inf
    half = float(stdtrit(min(freedom, 1e9), 0.975)) * math.sqrt(total)
    samples = min(first.samples, second.samples)
    ends = (value - half, value + half)
    return Estimate(value, math.sqrt(total), samples, second.reference, first.objective, ends=ends, caveat=caveat)
