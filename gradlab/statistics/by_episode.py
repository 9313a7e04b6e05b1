"""Smooth functions of sums over states, with intervals over the episodes that the states were visited in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from gradlab.estimate import Estimate, Scale
from gradlab.inference.confidence import skewed_interval, tailed_half, variance_interval
from gradlab.inference.jackknife import corrected_variance

#: A statistic of sums: a dict of sums, each of any shape → the statistic, of that shape.
Statistic = Callable[[dict[str, Tensor]], Tensor]

#: What a statistic is like: a mean (skewed, of any sign), a mean of squares, a positive ratio, a cosine.
Kind = Literal["mean", "square", "ratio", "cosine"]

_SCALES: dict[Kind, Scale] = {"mean": "linear", "square": "inverse", "ratio": "log", "cosine": "fisher"}

#: Logarithm of the factor beyond which the interval of a ratio is wider than anything it could tell.
_UNKNOWN = math.log(1000.0)


@dataclass(frozen=True)
class EpisodeSums:
    """Sums over the states of each episode; states of one episode are not independent, episodes are.

    Attributes:
        sums: name → [E], float64; ``count`` holds the numbers of states.
        reference: what the estimates are against, in words.
        objective: the objective they belong to, in words.
        caveat: what they must never be shown without.

    Example:
        >>> per_state = {"x": torch.tensor([1.0, 3.0, 2.0, 6.0])}
        >>> sums = EpisodeSums.of(per_state, torch.tensor([7, 7, 9, 9]))
        >>> mean = sums.estimate(lambda s: s["x"] / s["count"])
        >>> mean.value, mean.samples, round(mean.stderr, 6)
        (3.0, 2, 1.0)
    """

    sums: dict[str, Tensor]
    reference: str = ""
    objective: str = ""
    caveat: str = ""
    _whole: dict[str, Tensor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_whole", {name: part.sum() for name, part in self.sums.items()})

    @staticmethod
    def of(
        per_state: dict[str, Tensor], episode: Tensor, reference: str = "", objective: str = "", caveat: str = ""
    ) -> EpisodeSums:
        """Sums of numbers [B] a state by name; ``episode`` [B] says which episode a state belongs to."""
        _, member = episode.cpu().unique(return_inverse=True)
        count = int(member.max()) + 1
        sums = {
            name: torch.zeros(count, dtype=torch.float64).index_add_(0, member, part.detach().cpu().double())
            for name, part in {**per_state, "count": torch.ones(len(member))}.items()
        }
        return EpisodeSums(sums, reference, objective, caveat)

    @property
    def episodes(self) -> int:
        """Number E of episodes."""
        return len(self.sums["count"])

    def estimate(self, statistic: Statistic, kind: Kind = "mean") -> Estimate:
        """The statistic with the standard error of the delete-one-episode jackknife (B. Efron, C. Stein 1981).

        Args:
            statistic: of the sums of all states; called with the sums that are left where an episode is left out too.
            kind: where its interval is symmetric, or on which side its tail lies. A "ratio" is of two positive numbers,
                neither with noise taken off; it is NaN where it is not known within a factor of a thousand.
        """
        value, episodes = float(statistic(self._whole)), self.episodes
        without = statistic({name: self._whole[name] - part for name, part in self.sums.items()})
        stderr = math.sqrt(corrected_variance(episodes, without, None)) if episodes > 1 else math.nan
        found = Estimate(value, stderr, episodes, self.reference, self.objective, _SCALES[kind], caveat=self.caveat)
        if not math.isfinite(value + stderr):
            return found
        pseudo = episodes * value - (episodes - 1) * without
        if kind == "square" and value > 0:
            ends = variance_interval(value, stderr, pseudo)
        elif kind == "ratio" and value > 0:
            relative = tailed_half(stderr, pseudo) / value
            if relative > _UNKNOWN:
                return replace(found, value=math.nan, stderr=math.nan)
            ends = value * math.exp(-relative), value * math.exp(relative)
        elif kind == "cosine" and abs(value) < 1:
            centre, half = math.atanh(value), tailed_half(stderr, pseudo) / (1 - value**2)
            ends = math.tanh(centre - half), math.tanh(centre + half)
        else:
            ends = skewed_interval(value, stderr, pseudo)
        return replace(found, ends=ends)


def root_of(ratio: Estimate) -> Estimate:
    """The square root of a ratio of squares that may be negative by noise, in which case there is none.

    Example:
        >>> root = root_of(Estimate(4.0, 1.0, samples=30, ends=(-1.0, 9.0)))
        >>> root.value, root.stderr, root.ends
        (2.0, 0.25, (0.0, 3.0))
    """
    if not ratio.value > 0:
        return replace(ratio, value=math.nan, stderr=math.nan, ends=None)
    value = math.sqrt(ratio.value)
    low, high = ratio.interval()
    ends = (math.sqrt(max(low, 0.0)), math.sqrt(high)) if math.isfinite(low) else None
    return replace(ratio, value=value, stderr=ratio.stderr / (2 * value), ends=ends)
