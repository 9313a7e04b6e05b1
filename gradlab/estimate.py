"""A number with its uncertainty and how it was obtained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from scipy.special import stdtrit

from gradlab.errors import GradlabError

#: More samples than these are no advice.
_MANY = 1e12

Scale = Literal["linear", "log", "inverse", "fisher", "share"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its standard error, and what it is an estimate of.

    Attributes:
        value: the estimate itself; unclipped, so an unbiased estimate of a squared norm may be negative.
        stderr: its standard error; NaN when there are too few samples to know.
        samples: number of independent samples behind it (draws, states or episodes; never pairs).
        reference: what it is measured against, in words; empty when it is absolute.
        objective: the objective it belongs to, in words.
        scale: where the interval is symmetric: ``linear``; ``log`` for positive, skewed quantities; ``inverse``
            for variances, whose standard error is too small when they are; ``fisher`` (artanh) for cosines;
            ``share`` (Wilson) for proportions, which stays inside [0, 1] and has a width even at 0 and 1. Where the
            value lies outside the scale's domain the interval is linear.
        ends: the 95 % interval itself, where its maker knows better than any symmetric one.
        caveat: what the number must never be shown without, such as a difference of objectives that was allowed.

    Example:
        >>> bias = Estimate(0.5, 0.1, samples=64, reference="critic")
        >>> print(bias)
        0.50 ± 0.10 (n=64, against critic)
        >>> print(Estimate(0.05, 0.1, samples=64))
        unresolved: 0.05 ± 0.10 (n=64; about 984 samples would resolve it)
        >>> low, high = bias.interval()
        >>> round(low, 3), round(high, 3)
        (0.3, 0.7)
    """

    value: float
    stderr: float
    samples: int
    reference: str = ""
    objective: str = ""
    scale: Scale = "linear"
    ends: tuple[float, float] | None = None
    caveat: str = ""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided confidence interval from Student's t with ``samples - 1`` degrees of freedom.

        On the ``log`` and ``fisher`` scales the standard error is carried over by the delta method and the
        ends are mapped back. Both ends are NaN when ``stderr`` is. ``ends`` is returned at the 95 % it is for.

        Raises:
            GradlabError: the level is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise GradlabError(f"level is {level}; it must lie strictly between 0 and 1")
        if self.ends is not None and level == 0.95:
            return self.ends
        if self.samples < 2 or not math.isfinite(self.stderr):
            return math.nan, math.nan
        quantile = float(stdtrit(self.samples - 1, 0.5 + level / 2))
        half = quantile * self.stderr
        if self.scale == "log" and self.value > 0:
            factor = math.exp(min(half / self.value, 700.0))
            return self.value / factor, self.value * factor
        if self.scale == "inverse" and self.value > 0:
            relative = half / self.value
            return self.value / (1 + relative), self.value / (1 - relative) if relative < 1 else math.inf
        if self.scale == "fisher" and abs(self.value) < 1:
            centre, half = math.atanh(self.value), half / (1 - self.value**2)
            return math.tanh(centre - half), math.tanh(centre + half)
        if self.scale == "share" and 0 <= self.value <= 1:
            return _wilson(self.value, self.stderr, self.samples, quantile)
        return self.value - half, self.value + half

    @property
    def resolved(self) -> bool:
        """Whether the 95 % interval (``ends``, or else the symmetric one) excludes zero, so that there is a sign."""
        if self.ends is not None:
            return self.ends[0] > 0 or self.ends[1] < 0
        if self.samples < 2 or not math.isfinite(self.stderr):
            return False
        quantile = float(stdtrit(self.samples - 1, 0.975))
        return abs(self.value) > quantile * self.stderr

    @property
    def samples_to_resolve(self) -> float:
        """About how many samples would make the interval exclude zero, were the value exact; inf if it is as good as 0.

        Always more than ``samples`` where these do not resolve it.
        """
        if self.value == 0 or not math.isfinite(self.stderr):
            return math.inf
        half = 1.959964 * self.stderr
        # The lower end of a share stops at zero, so that its distance is the share itself and says nothing.
        if self.ends is not None and not (self.scale == "share" and self.ends[0] <= 0):
            half = self.value - self.ends[0] if self.value > 0 else self.ends[1] - self.value
        # Half the width falls as 1/√n; 1.96 is the quantile at the large n this is asked for.
        enough = self.samples * (half / self.value) ** 2
        if not math.isfinite(enough) or enough > _MANY:
            return math.inf
        return math.ceil(enough) if self.resolved else max(math.ceil(enough), self.samples + 1)

    def widened(self, stderr: float, samples: int) -> Estimate:
        """The same estimate with an independent error added in quadrature; it then rests on ``samples`` samples.

        An error that is not known (NaN, or of fewer than two samples) leaves no interval.
        """
        total = math.hypot(self.stderr, stderr) if math.isfinite(self.value) else math.nan
        ends = None
        if self.ends is not None and math.isfinite(stderr) and samples > 1:
            half = float(stdtrit(samples - 1, 0.975)) * stderr
            ends = (
                self.value - math.hypot(self.value - self.ends[0], half),
                self.value + math.hypot(self.ends[1] - self.value, half),
            )
        return replace(self, stderr=total, samples=samples, ends=ends)

    def __str__(self) -> str:
        caveat = f"; {self.caveat}" if self.caveat else ""
        if not math.isfinite(self.stderr):
            return f"{self.value} (no interval: n={self.samples}{caveat})"
        exact = self.stderr == 0
        digits = 2 if exact else max(0, 1 - math.floor(math.log10(self.stderr)))
        small = digits > 5 or abs(self.value) >= 1e6

        def number(value: float) -> str:
            return f"{value:.3g}" if small or exact else f"{value:.{digits}f}"

        about = f"{number(self.value)} ± {self.stderr:.2g}" if small or exact else ""
        about = about or f"{number(self.value)} ± {self.stderr:.{digits}f}"
        if self.ends is not None and self.ends[0] < self.ends[1]:
            # The ends are where the truth is; ± would give an impression that the maker knows to be wrong.
            about = f"{number(self.value)} in [{number(self.ends[0])}, {number(self.ends[1])}]"
        about += f" (n={self.samples}"
        if not self.resolved and math.isfinite(self.samples_to_resolve):
            return f"unresolved: {about}; about {self.samples_to_resolve:.0f} samples would resolve it{caveat})"
        # A value as good as zero has no sign that more samples would show.
        about = about if self.resolved or exact else f"unresolved: {about}"
        return about + (f", against {self.reference}" if self.reference else "") + f"{caveat})"


def _wilson(share: float, stderr: float, samples: int, quantile: float) -> tuple[float, float]:
    """Wilson's interval of a proportion, with the sample size that its standard error amounts to.

    Clustered samples have a larger standard error than √(p(1 − p)/n); at 0 and 1, where it vanishes, n is all
    that is known.
    """
    effective = share * (1 - share) / stderr**2 if stderr > 0 and 0 < share < 1 else samples
    spread = quantile**2 / effective
    centre = (share + spread / 2) / (1 + spread)
    half = (share * (1 - share) * spread + spread**2 / 4) ** 0.5 / (1 + spread)
    return max(centre - half, 0.0), min(centre + half, 1.0)
