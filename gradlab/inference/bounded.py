"""Means of bounded, skewed numbers of which many may be zero: intervals that do not end at what was seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from gradlab.errors import GradlabError

#: Random weightings, and numbers of them at a time; more groups have fewer weightings, but no fewer than the least.
_WEIGHTINGS, _LEAST, _NUMBERS = 8_000, 1_000, 4_000_000
#: Most numbers of weightings that are kept from one call to the next (8 MB).
_KEPT = 1_000_000
_SEED = 6_350_461


def bounded_mean(
    values: Tensor, low: Tensor, high: Tensor, group: Tensor | None = None, level: float = 0.95
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Means of several bounded numbers over the same samples, with intervals that hold for small samples too.

    With x₁ … x_n in [l, h] and D uniform on the simplex of n + 1 weights, the interval's ends are the quantiles

        lower: Σ D_i x_i + D_{n+1} l at (1 − level)/2,    upper: Σ D_i x_i + D_{n+1} h at (1 + level)/2

    (N. Gaffke 2005, *Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
    variable*; E. Learned-Miller, P. Thomas 2020, *A new confidence interval for the mean of a bounded random
    variable*). For zeros and ones it is the interval of C. Clopper and E. Pearson: n zeros of at most 1 may have a mean
    of 1 − ((1 − level)/2)^{1/n}, where value ± t·stderr would say that there can be nothing but zeros. No distribution
    is known for which it fails, though none is proved not to exist. Samples of one group are not independent: groups
    are weighted then, as ratios of sums, and the one more has as many samples as groups have on average; that is a
    large-sample argument.

    Args:
        values: [N, k], k numbers of each sample.
        low: the lowest each can be, [k].
        high: the highest, [k].
        group: [N] which group a sample is of; every sample its own when None.
        level: of the intervals.

    Returns:
        Means [k]; standard errors [k], over groups, NaN where there is one; ends [2, k]; the number of groups.

    Raises:
        GradlabError: shapes do not fit, or a value is not finite or beyond its bounds.

    Example:
        >>> mean, stderr, ends, n = bounded_mean(torch.zeros(10, 1), torch.tensor([0.0]), torch.tensor([1.0]))
        >>> mean.item(), n, [round(end, 2) for end in ends[:, 0].tolist()]
        (0.0, 10, [0.0, 0.31])
    """
    x = values.detach().cpu().double()
    if x.ndim != 2 or x.shape[0] == 0 or low.shape != x.shape[1:] or high.shape != x.shape[1:]:
        raise GradlabError(
            f"bounded mean: values {tuple(x.shape)}, bounds {tuple(low.shape)} and {tuple(high.shape)}; expected "
            "[samples, numbers], not empty, and a bound a number"
        )
    if group is not None and group.shape != (len(x),):
        raise GradlabError(f"bounded mean: {tuple(group.shape)} group numbers for {len(x)} samples; give one each")
    bottom, top = low.detach().cpu().double(), high.detach().cpu().double()
    if not bool(((x >= bottom) & (x <= top)).all()):
        raise GradlabError("bounded mean: a value is NaN or beyond its bounds")
    member = torch.arange(len(x)) if group is None else group.cpu().unique(return_inverse=True)[1]
    groups = int(member.max()) + 1
    # Of x − l, so that sums of large values with small differences keep their digits.
    sums = torch.zeros(groups, x.shape[1], dtype=torch.float64).index_add_(0, member, x - bottom)
    sizes = torch.bincount(member).double()
    mean = sums.sum(0) / sizes.sum()
    stderr = torch.full_like(mean, math.nan)
    if groups > 1:
        residual = sums - sizes[:, None] * mean
        stderr = (residual.square().sum(0) * groups / (groups - 1)).sqrt() / sizes.sum()
    lower, upper = _weighted(sums, sizes, top - bottom, (1 - level) / 2)
    # Rounding, and weightings that are random, must not put an end on the wrong side of the mean.
    ends = torch.stack([torch.minimum(lower, mean), torch.maximum(upper, mean)])
    return mean + bottom, stderr, ends + bottom, groups


def _weighted(sums: Tensor, sizes: Tensor, span: Tensor, tail: float) -> tuple[Tensor, Tensor]:
    """The two quantiles, of numbers whose lowest is zero, [k] each."""
    numbers, weight, extra = [], [], []
    for drawn in _weightings(len(sums)):
        numbers.append(drawn[:, :-1] @ sums)
        weight.append(drawn[:, :-1] @ sizes)
        extra.append(drawn[:, -1] * sizes.mean())
    total, below, one = torch.cat(numbers), torch.cat(weight)[:, None], torch.cat(extra)[:, None]
    lower = (total / (below + one)).quantile(tail, dim=0)
    upper = ((total + one * span) / (below + one)).quantile(1 - tail, dim=0)
    return lower, upper


def _weightings(groups: int) -> Iterator[Tensor]:
    """Weights of the groups and of the one more, [weightings, groups + 1], a few million numbers at a time."""
    count = max(_LEAST, min(_WEIGHTINGS, _NUMBERS // (groups + 1)))
    if count * (groups + 1) <= _KEPT:
        yield _kept(count, groups + 1)
        return
    generator = torch.Generator().manual_seed(_SEED)
    for chunk in torch.arange(count).split(max(1, _NUMBERS // (groups + 1))):
        yield _drawn(len(chunk), groups + 1, generator)


@lru_cache(maxsize=1)
def _kept(count: int, weights: int) -> Tensor:
    """The same for every call of as many groups, and drawing them takes longer than all the rest."""
    return _drawn(count, weights, torch.Generator().manual_seed(_SEED))


def _drawn(count: int, weights: int, generator: torch.Generator) -> Tensor:
    # Exponential weights over their sum are uniform on the simplex.
    return torch.empty(count, weights, dtype=torch.float64).exponential_(generator=generator)
