"""Spearman's rank correlation: over states visited in episodes, and over the checkpoints of a run."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from scipy.stats import t as student

from gradlab.arguments import real_tensor, whole_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate

_RESAMPLES, _NUMBERS = 500, 4_000_000
#: As many episodes at least, or resampling them says nothing.
_FEWEST_GROUPS = 5
#: Of fewer pairs than this the bootstrap alone says too little: of 8 its intervals held a ρ of .9 in 86 % of cases.
_FEW = 12
#: So many numbers have all their orders gone through; of more, this many random ones.
_ALL_ORDERS, _ORDERS = 8, 20_000

Floats = NDArray[np.float64]


def rank_correlation(x: Any, y: Any, group: Any = None, *, seed: int = 0, reference: str = "") -> Estimate:
    """Spearman's ρ_s over states, with an interval from resampling whole episodes.

    The standard error is that of artanh ρ_s over resamples of the groups, each with its ranks worked out anew, and the
    interval is artanh ρ_s ± t_{G−1} times it, mapped back (B. Efron, R. Tibshirani, *An Introduction to the Bootstrap*,
    1993, sections 8.3 and 12.6; D. Bonett, T. Wright 2000 for the scale, and for the least error of fewer than twelve
    pairs that are each their own group). Of two normal numbers of correlation ρ it is an estimate of
    ρ_s = 6/π asin(ρ/2). Ties get their mean rank.

    Args:
        x: numbers [N]; a pair with a NaN in it is left out.
        y: the others, [N].
        group: which episode each is of, [N]; every pair its own when None. Episodes are the independent samples.
        seed: of the resamples.
        reference: what it is a correlation with, in words.

    Returns:
        The correlation; NaN where one of them does not vary. Without an interval where there are fewer than five groups
        or every pair of numbers is in the same order, since resampling shows no scatter then.

    Raises:
        GradlabError: shapes do not fit.

    Example:
        >>> found = rank_correlation([1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4, 3, 6, 5, 8, 30])
        >>> round(found.value, 3), found.resolved
        (0.929, True)
    """
    first, second, member = _pairs(x, y, group)
    groups = int(member.max()) + 1 if len(member) else 0
    value = spearman(first, second)
    if not math.isfinite(value) or groups < _FEWEST_GROUPS or abs(value) > 1 - 1e-12:
        return Estimate(value, math.nan, groups, reference, scale="fisher")
    drawn = _resampled(first, second, member, groups, np.random.default_rng(whole_number("seed", seed, 0)))
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < _RESAMPLES // 2:
        return Estimate(value, math.nan, groups, reference, scale="fisher")
    # A resample in perfect order has an infinite artanh; its ρ_s is taken as no nearer to one than 1/N.
    limit = 1 - 1 / len(first)
    # Resamples scatter by (G − 1)/G of what samples do.
    spread = float(np.arctanh(np.clip(drawn, -limit, limit)).std(ddof=1)) * math.sqrt(groups / (groups - 1))
    if groups == len(first) and groups < _FEW:
        # Resamples of a few pairs have ties that pull them together: what a formula says is the least.
        spread = max(spread, _formula(value, groups))
    half = float(student.ppf(0.975, groups - 1)) * spread
    centre = math.atanh(value)
    ends = math.tanh(centre - half), math.tanh(centre + half)
    return Estimate(value, spread * (1 - value**2), groups, reference, scale="fisher", ends=ends)


@dataclass(frozen=True)
class OverTraining:
    """A rank correlation of two numbers over a run's checkpoints.

    Attributes:
        correlation: Spearman's ρ_s with an interval that takes checkpoints for independent, which they are not.
        p_value: share of the orders of one of them that give a correlation as far from zero, two-sided.
        of_changes: ρ_s of the differences from each checkpoint to the next. Two numbers that both drift with training
            correlate without having to do with each other; their changes then do not.
    """

    correlation: Estimate
    p_value: float
    of_changes: Estimate


def rank_correlation_over_training(x: Any, y: Any, *, seed: int = 0, reference: str = "") -> OverTraining:
    """Spearman's ρ_s of two numbers over checkpoints: one pair a checkpoint, in the order of training.

    The interval is artanh ρ_s ± t_{n−2} √((1 + ρ_s²/2)/(n − 3)) (D. Bonett, T. Wright 2000, *Sample size requirements
    for estimating Pearson, Kendall and Spearman correlations*, with Student's quantile for the few checkpoints there
    are), of at least five checkpoints. The p-value is a permutation test's: all orders of up to eight checkpoints, or
    20 000 random ones. Both hold where checkpoints are independent, as those of different runs are; along one run see
    ``of_changes``.

    Args:
        x: a number a checkpoint, [n], in the order of training; a checkpoint where one is NaN is left out.
        y: the other, [n].
        seed: of random orders.
        reference: what it is a correlation with, in words.

    Raises:
        GradlabError: shapes do not fit.

    Example:
        >>> found = rank_correlation_over_training([1, 2, 3, 4, 5, 6], [1, 2, 4, 3, 5, 6])
        >>> round(found.correlation.value, 3), round(found.p_value, 4), found.of_changes.resolved
        (0.943, 0.0167, False)
    """
    first, second, _ = _pairs(x, y, None)
    caveat = "checkpoints of one run are not independent: see the correlation of changes"
    return OverTraining(
        _few(first, second, reference, caveat),
        _permuted(first, second, whole_number("seed", seed, 0)),
        _few(np.diff(first), np.diff(second), reference, ""),
    )


def spearman(x: Floats, y: Floats) -> float:
    """Pearson's correlation of the ranks; NaN where one of them does not vary.

    Example:
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([9.0, 8.0, 1.0]))
        -1.0
    """
    if len(x) < 2:
        return math.nan
    a, b = (rankdata(part) - (len(part) + 1) / 2 for part in (x, y))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan


def _pairs(x: Any, y: Any, group: Any) -> tuple[Floats, Floats, NDArray[np.int64]]:
    first, second = (real_tensor(name, part).detach().cpu().double().numpy() for name, part in (("x", x), ("y", y)))
    member = np.arange(first.size) if group is None else np.asarray(real_tensor("group", group).detach().cpu())
    if first.ndim != 1 or second.shape != first.shape or member.shape != first.shape:
        shapes = ", ".join(str(part.shape) for part in (first, second, member))
        raise GradlabError(f"rank correlation: shapes {shapes} of x, y and group; give one of each a pair, [N]")
    there = ~(np.isnan(first) | np.isnan(second))
    return first[there], second[there], np.unique(member[there], return_inverse=True)[1]


def _resampled(x: Floats, y: Floats, member: NDArray[np.int64], groups: int, generator: np.random.Generator) -> Floats:
    """ρ_s of each resample of the groups, as weighted correlations of weighted ranks."""
    found = []
    chunk = max(1, _NUMBERS // len(x))
    for start in range(0, _RESAMPLES, chunk):
        count = min(chunk, _RESAMPLES - start)
        weight = generator.multinomial(groups, np.full(groups, 1 / groups), size=count).astype(float)[:, member]
        total = weight.sum(1, keepdims=True)
        a, b = (_weighted_ranks(part, weight) - total / 2 for part in (x, y))
        products = (weight * a * b).sum(1), (weight * a * a).sum(1), (weight * b * b).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(products[0] / np.sqrt(products[1] * products[2]))
    return np.concatenate(found)


def _weighted_ranks(values: Floats, weight: Floats) -> Floats:
    """The middle of the weight that each value's ties take up in order: [resamples, N]; midranks less one half."""
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) == len(values):
        order = np.argsort(values)
        sorted_weight = weight[:, order]
        middle = np.empty_like(weight)
        middle[:, order] = sorted_weight.cumsum(1) - sorted_weight / 2
        return middle
    tied = np.zeros((len(weight), len(distinct)))
    np.add.at(tied.T, place, weight.T)
    return (tied.cumsum(1) - tied / 2)[:, place]


def _few(x: Floats, y: Floats, reference: str, caveat: str) -> Estimate:
    count, value = len(x), spearman(x, y)
    if not math.isfinite(value) or count < 5 or abs(value) > 1 - 1e-12:
        return Estimate(value, math.nan, count, reference, scale="fisher", caveat=caveat)
    spread = _formula(value, count)
    half = float(student.ppf(0.975, count - 2)) * spread
    ends = math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)
    return Estimate(value, spread * (1 - value**2), count, reference, scale="fisher", ends=ends, caveat=caveat)


def _formula(value: float, count: int) -> float:
    """Standard error of artanh ρ_s of independent pairs (D. Bonett, T. Wright 2000)."""
    return math.sqrt((1 + value**2 / 2) / (count - 3))


@lru_cache(maxsize=2)
def _all_orders(count: int) -> NDArray[np.int64]:
    return np.array(list(itertools.permutations(range(count))))


def _permuted(x: Floats, y: Floats, seed: int) -> float:
    count = len(x)
    if count < 2 or not math.isfinite(spearman(x, y)):
        return math.nan
    a, b = (rankdata(part) - (count + 1) / 2 for part in (x, y))
    if count <= _ALL_ORDERS:
        orders, more = _all_orders(count), 0
    else:
        generator = np.random.default_rng(seed)
        # The order that was seen counts as one of the random ones, so that no p-value is zero.
        orders, more = generator.permuted(np.tile(np.arange(count), (_ORDERS, 1)), axis=1), 1
    extreme = np.abs(b[orders] @ a) >= abs(float(a @ b)) * (1 - 1e-12)
    return float((extreme.sum() + more) / (len(orders) + more))
