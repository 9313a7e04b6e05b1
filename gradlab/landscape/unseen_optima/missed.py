"""How many local optima a search has missed, from how often its uniform starts climbed to those it found.

Optima are species and starts are specimens. Optima that one start alone reached say how often a start still reaches a
new one (I. Good, "The population frequencies of species and the estimation of population parameters", Biometrika 40,
1953); with those that two reached they bound from below how many there are (A. Chao, "Nonparametric estimation of the
number of classes in a population", Scandinavian Journal of Statistics 11, 1984).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradlab.arguments import real_number, whole_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.landscape.entrance import given_optima
from gradlab.landscape.found import LocalOptima
from gradlab.statistics.state_means import bounded_state_mean, count_mean, state_mean

#: Normal quantile of two-sided 95 %.
_QUANTILE = 1.959964

#: Samples too few for the interval of a skewed mean by how they scatter: with 8 it holds in 90 % of repetitions.
_FEW = 16

#: What a number of missed optima must never be shown without.
_LOWER_BOUND = "a lower bound: optima with small basins leave no trace"
#: The same, and of coverage, where starts were spread evenly.
_UPWARDS = "errs upwards for evenly spread starts; optima with small basins leave no trace"
_DOWNWARDS = "errs downwards for evenly spread starts"


@dataclass(frozen=True)
class Unseen:
    """What the starts' visits say about optima that no start reached, at each of S states; float64.

    Attributes:
        seen: number of optima that at least one start climbed to, [S], integers.
        missed: Chao's estimate of how many none climbed to, [S]. A lower bound in expectation, and near the number
            itself only where the missed optima have basins of like size to those that one start reached: an optimum
            whose basin is far below 1/starts leaves no trace. Infinitely many such optima can never be excluded.
        missed_interval: 95 % interval, [S, 2]. Its lower end is below the number missed; its upper end is above the
            number of missed optima whose basins take at least 1/starts of the box each. Where nearly every start
            climbed to an optimum of its own the lower end holds less often (86 % of the time at 64 starts and a
            thousand equal optima).
        coverage: share of the box from which ascent leads to optima seen (or to none), [S]: one less the chance that
            one more uniform start climbs to an optimum not seen yet (Good–Turing).
        coverage_interval: 95 % interval of it, [S, 2].
        once: number of optima that one start climbed to, [S], integers.
        twice: number of optima that two starts climbed to, [S], integers.
        starts: number of uniform starts a state.
        spread: whether the starts were spread evenly, as Sobol points are, and not drawn one by one. Each basin is then
            reached nearer to as often as its share says, and optima that one start reached no longer tell of others:
            with basins of 1/starts each, all could be reached once. Intervals are one-sided then: coverage may be
            up to one, and none may have been missed.
    """

    seen: Tensor
    missed: Tensor
    missed_interval: Tensor
    coverage: Tensor
    coverage_interval: Tensor
    once: Tensor
    twice: Tensor
    starts: int
    spread: bool

    def mean_missed(self, episode: Any = None) -> Estimate:
        """Mean over states of ``missed``; the upper end is for optima whose basins take at least 1/starts each.

        Args:
            episode: which episode each state was visited in, [S]; every state is its own sample when None.
        """
        found = count_mean(self.missed, episode)
        low, high = found.interval()
        # Where no state shows a trace, the states together still cannot exclude what all their starts could miss.
        high = max(_or_value(high, found), self.starts * self._pooled()[1])
        low = 0.0 if self.spread else max(_or_value(low, found), 0.0)
        return replace(found, ends=(low, high), caveat=_UPWARDS if self.spread else _LOWER_BOUND)

    def mean_coverage(self, episode: Any = None) -> Estimate:
        """Mean over states of ``coverage``, on the scale of shares; ``episode`` as for ``mean_missed``.

        The interval is for the distribution that the states come from, by how they scatter, and for these very states,
        by the starts of all of them together. The latter reaches up by the bias of Good and Turing's estimate besides,
        2f₂/(n(n − 1)) in expectation, which many states make no smaller. Where fewer than 16 states or episodes
        scatter, the lower end is no higher than ``bounded_state_mean``'s: a few good ones say little of a rare bad one.
        """
        found = state_mean(self.coverage, episode)
        low, high = found.interval()
        if found.samples < _FEW and bool((self.coverage != self.coverage[0]).any()):
            low = min(
                _or_value(low, found), bounded_state_mean(self.coverage, episode, least=0.0, most=1.0).interval()[0]
            )
        least, most = self._pooled()
        bias = 2 * float(self.twice.double().mean()) / (self.starts * max(self.starts - 1, 1))
        low = max(min(_or_value(low, found), 1 - most), 0.0)
        high = min(max(_or_value(high, found), 1 - least + bias), 1.0)
        if self.spread:
            high = 1.0
        return replace(found, scale="share", ends=(low, high), caveat=_DOWNWARDS if self.spread else "")

    def _pooled(self) -> tuple[float, float]:
        """The interval of the share of all states' starts that lead to optima not seen."""
        once, twice = self.once.sum()[None], self.twice.sum()[None]
        low, high = _unseen_share_interval(once, twice, len(self.once) * self.starts)[0].tolist()
        return low, high


def unseen(optima: LocalOptima, threshold: float = 0.01) -> Unseen:
    """How many optima a search has missed, and the chance that one more start would find another.

    The search's starts are scrambled Sobol points, spread more evenly than independent ones, so that few optima are
    reached often and many once: coverage errs downwards, the number missed upwards, and both intervals are one-sided
    (see ``Unseen.spread``). ``unseen_share`` of a second search has none of these limits.

    Args:
        optima: what ``local_optima`` found.
        threshold: least persistence, as a share of the value range, of optima that count, as in
            ``LocalOptima.count``; starts that climbed to lesser ones count as starts that reached none.

    Returns:
        Per state, with intervals; ``mean_missed()`` and ``mean_coverage()`` give them over states.

    Raises:
        GradlabError: the threshold is negative or no number.

    Example:
        >>> from gradlab.landscape import local_optima
        >>> found = local_optima(lambda a: (9 * a).sin().sum(-1) + 0.4 * a.sum(-1), [-1.0], [1.0])
        >>> left = unseen(found)
        >>> left.seen.tolist(), left.missed.tolist(), left.coverage.tolist()
        ([4], [0.0], [1.0])
        >>> [round(end, 2) for end in left.coverage_interval[0].tolist()]  # none of 64 starts reached one alone
        [0.94, 1.0]
    """
    least, optima = real_number("threshold", threshold, 0.0), given_optima("optima", optima)
    ranges = optima.value_range.tolist()
    kept = [
        visits[persistence >= least * span]
        for visits, persistence, span in zip(optima.visits, optima.persistence, ranges, strict=True)
    ]
    return unseen_from_visits(kept, optima.starts, spread=True)


def unseen_from_visits(visits: Sequence[Tensor], starts: int, *, spread: bool = False) -> Unseen:
    """The same from bare counts: one tensor of integers [k_s] a state, how many starts climbed to each optimum.

    With f₁ and f₂ the numbers of optima reached by one and by two of n starts, a share f₁/n of the box leads to
    optima not seen, and Chao's bound in its bias-corrected form is (n−1)/n · f₁(f₁−1)/(2(f₂+1)). The interval of the
    share M solves (f₁/n − M)² = z² (M(1−M)/n + 2f₂/n²), Esty's variance (W. Esty, "A normal limit law for a
    nonparametric estimator of the coverage of a random sample", Annals of Statistics 11, 1983) with nM in place of f₁,
    as Wilson's interval has it; for the lower end f₂ + 2 replaces f₂, since the last optimum may be among those
    reached once. The interval of the number missed is log-normal (A. Chao, "Estimating the population size for
    capture-recapture data with unequal catchability", Biometrics 43, 1987), from no less than one where M is above
    zero and from zero elsewhere, up to at least n times the upper end of M.

    Args:
        visits: counts; optima with none are ignored, and starts that reached no optimum need not be in them.
        starts: number n of starts a state.
        spread: whether they were spread evenly, as Sobol points are, rather than drawn independently.

    Raises:
        GradlabError: no state, counts are negative or not whole, or there are more of them than starts.

    Example:
        >>> left = unseen_from_visits([torch.tensor([50, 6, 2, 1, 1, 1, 1, 1, 1])], starts=64)
        >>> left.missed.round(decimals=1).tolist(), left.missed_interval.round(decimals=1).tolist()
        ([7.4], [[1.3, 41.9]])
        >>> left.coverage.tolist(), left.coverage_interval.round(decimals=2).tolist()
        ([0.90625], [[0.8, 0.99]])
    """
    n = whole_number("starts", starts, 1)
    if len(visits) == 0:
        raise GradlabError("visits: none; give the counts of at least one state")
    device = visits[0].device
    state = torch.repeat_interleave(torch.tensor([len(v) for v in visits])).to(device)
    counts = torch.cat([torch.as_tensor(v).reshape(-1) for v in visits]).to(torch.float64)
    total = counts.new_zeros(len(visits)).index_add_(0, state, counts)
    if bool((counts < 0).any()) or bool((counts != counts.round()).any()) or bool((total > n).any()):
        raise GradlabError(f"visits: give whole numbers from 0 that add up to no more than the {n} starts of a state")

    def number(which: Tensor) -> Tensor:
        return torch.bincount(state[which], minlength=len(visits))

    seen, once, twice = number(counts > 0), number(counts == 1), number(counts == 2)
    share = _unseen_share_interval(once, twice, n)
    missed, low, high = _chao(once.double(), twice.double(), n)
    if spread:
        share[:, 0] = 0.0
    low = torch.where(share[:, 0] > 0, low.clamp_min(1.0), 0.0)
    return Unseen(
        seen=seen,
        missed=missed,
        missed_interval=torch.stack([torch.minimum(low, missed), torch.maximum(high, n * share[:, 1])], -1),
        coverage=1 - once.double() / n,
        coverage_interval=1 - share.flip(-1),
        once=once,
        twice=twice,
        starts=n,
        spread=spread,
    )


def _unseen_share_interval(once: Tensor, twice: Tensor, starts: int) -> Tensor:
    """Interval [S, 2] of the share of uniform starts that lead to optima not seen."""
    f1, f2, squared = once.double(), twice.double(), _QUANTILE**2

    def solve(pairs: Tensor, side: int) -> Tensor:
        # In units of 1/n: (f₁ − m)² = z² (m (1 − m/n) + 2 pairs).
        a, half = 1 + squared / starts, f1 + squared / 2
        rest = f1.square() - 2 * squared * pairs
        root = (half + side * (half.square() - a * rest).clamp_min(0).sqrt()) / a
        # A lower root below zero means that zero is not excluded.
        return root.clamp(0, starts) / starts

    return torch.stack([solve(f2 + 2, -1), solve(f2, 1)], -1)


def _chao(f1: Tensor, f2: Tensor, starts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Chao's bias-corrected number of species not seen and its log-normal interval, [S] each."""
    rest = (starts - 1) / starts
    missed = rest * f1 * (f1 - 1).clamp_min(0) / (2 * (f2 + 1))
    variance = (
        missed
        + rest**2 * f1 * (2 * f1 - 1).square() / (4 * (f2 + 1).square())
        + rest**2 * f1.square() * f2 * (f1 - 1).square() / (4 * (f2 + 1).pow(4))
    )
    factor = (_QUANTILE * torch.log1p(variance / missed.clamp_min(1e-12).square()).sqrt()).exp()
    return missed, missed / factor, torch.where(missed > 0, missed * factor, 0.0)


def _or_value(end: float, estimate: Estimate) -> float:
    """An end of the interval, or the value itself where too few states leave none."""
    return end if math.isfinite(end) else estimate.value
