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
from gradlab.inference.intervals import Interval, Noise, squared_norm_interval
from gradlab.objective import compare_objectives
from gradlab.references.gradient_samples import PolicyGradient, beyond_student

#: The whole vectors and the gradient's own direction are tested at half of 5 % each (C. Bonferroni).
_EACH = 0.975


@dataclass(frozen=True)
class Projection:
    """Two gradients along one direction of unit length.

    Attributes:
        direction: which, in words.
        first: g₁·d with its interval.
        second: g₂·d, likewise.
        difference: g₁·d − g₂·d with Welch's interval, widened for skewness and tails.
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
        vectors_agree: whether the interval of ‖g₁ − g₂‖² at 97.5 % holds zero.
        gradients_agree: whether the interval of the difference along the gradient at 97.5 % does. It is the sharper
            test of a wrong scale: noise of many parameters hides that from the whole vectors.
        projections: along the gradient, and along random directions of parameter space.
        notes: what a person should know, a line each.
    """

    difference_squared: Estimate
    norm_squared: Estimate
    vectors_agree: bool
    gradients_agree: bool
    projections: tuple[Projection, ...]
    notes: tuple[str, ...] = ()

    @property
    def agree(self) -> bool:
        """Whether neither test tells the gradients apart: of equal ones it says so 95 times in 100 at least."""
        return self.vectors_agree and self.gradients_agree

    @property
    def verdict(self) -> str:
        """The same in words, and where they disagree."""
        tests = {"along the gradient": self.gradients_agree, "as whole vectors": self.vectors_agree}
        failed = [what for what, passed in tests.items() if not passed]
        return f"disagree {' and '.join(failed)}" if failed else "agree along the gradient and as whole vectors"

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
        return (
            f"{self.verdict}: {self.overlapping} of {len(self.projections)} directions overlap; "
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
    measured along it, so that no noise is projected on itself; both ways, averaged. The gradients agree where both
    tests pass, each at 2.5 %: of two right ones at most one comparison in twenty says otherwise. Agreement is no proof
    that they are equal: ``largest`` and the interval along the gradient say what could have been seen.

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
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(directions, first.gradient.numel(), generator=generator, dtype=torch.float64)
    along = _along_gradient(better, other)
    along = along if better is first else along[::-1]
    lines = [_projection("the gradient", *along, first, second, caveat)]
    for number, one in enumerate(random):
        unit = one / one.norm()
        sides = (_Side.of(first.samples @ unit), _Side.of(second.samples @ unit))
        lines.append(_projection(f"random {number}", *sides, first, second, caveat))
    low, high = _welch(*along, _EACH)
    apart, sharper = _difference(first, second, caveat)
    return Agreement(apart, better.norm_squared, sharper[0] <= 0, low <= 0 <= high, tuple(lines), notes)


def _difference(first: PolicyGradient, second: PolicyGradient, caveat: str) -> tuple[Estimate, Interval]:
    """‖g₁ − g₂‖², and its interval at the level of one of the two tests."""
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
    found = Estimate(plug_in - trace, stderr, count, second.name, objective, ends=ends, caveat=caveat)
    return found, squared_norm_interval(plug_in, noise, count, _EACH)


@dataclass(frozen=True)
class _Side:
    """A gradient along a direction.

    Attributes:
        value: g·d.
        variances: the independent parts of its variance.
        freedoms: degrees of freedom that each is known with.
        each: numbers as skewed and as heavy-tailed as those that it is the mean of.
    """

    value: float
    variances: tuple[float, ...]
    freedoms: tuple[int, ...]
    each: Tensor

    @staticmethod
    def of(each: Tensor) -> _Side:
        return _Side(float(each.mean()), (float(each.var()) / len(each),), (len(each) - 1,), each)


def _along_gradient(better: PolicyGradient, other: PolicyGradient) -> tuple[_Side, _Side]:
    halves = better.samples[1::2], better.samples[::2]
    if min(len(half) for half in halves) < 2:
        raise GradlabError(f"cross-check: {better.name} has {better.count} samples; halves of it need at least four")
    means = [half.mean(0) for half in halves]
    norms = [float(mean.norm()) for mean in means]
    units = [mean / norm for mean, norm in zip(reversed(means), reversed(norms), strict=True)]
    parts = [half @ unit for half, unit in zip(halves, units, strict=True)]
    variances = [float(part.var()) / len(part) / 4 for part in parts]
    freedoms = [len(part) - 1 for part in parts]
    side = _Side(
        float(sum(part.mean() for part in parts)) / 2,
        tuple(variances),
        tuple(freedoms),
        torch.cat([part - part.mean() for part in parts]),
    )
    return side, _Side.of(other.samples @ (sum(units) / 2))


def _projection(
    what: str, one: _Side, two: _Side, first: PolicyGradient, second: PolicyGradient, caveat: str
) -> Projection:
    objective = str(first.objective)
    sides = [
        Estimate(
            side.value,
            math.sqrt(sum(side.variances)),
            found.count,
            found.name,
            str(found.objective),
            ends=_welch(side, None, 0.95),
            caveat=caveat,
        )
        for side, found in ((one, first), (two, second))
    ]
    stderr = math.hypot(*(side.stderr for side in sides))
    ends, samples = _welch(one, two, 0.95), min(first.count, second.count)
    apart = Estimate(one.value - two.value, stderr, samples, second.name, objective, ends=ends, caveat=caveat)
    return Projection(what, sides[0], sides[1], apart)


def _welch(one: _Side, two: _Side | None, level: float) -> Interval:
    """Of a difference, or of one side: B. Welch and F. Satterthwaite's, with the ends moved out as skewness demands."""
    sides = [one] if two is None else [one, two]
    parts = [part for side in sides for part in zip(side.variances, side.freedoms, strict=True)]
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts)
    half = float(stdtrit(min(total**2 / below if below > 0 else math.inf, 1e9), 0.5 + level / 2)) * math.sqrt(total)
    down, up = beyond_student(one.each, level)
    value = one.value
    if two is not None:
        other_down, other_up = beyond_student(two.each, level)
        down, up, value = math.hypot(down, other_up), math.hypot(up, other_down), value - two.value
    return value - half - down, value + half + up
