"""What several runs say together: the interquartile mean over seeds, and how far another few seeds would move it.

A mean over five seeds is moved by one that failed, a median ignores most of them; the mean of the middle half stands
between (R. Agarwal, M. Schwarzer, P. S. Castro, A. Courville, M. G. Bellemare 2021, *Deep reinforcement learning at
the edge of the statistical precipice*, NeurIPS). As there, its standard error comes from a stratified bootstrap: runs
are drawn again with replacement, those of each task among themselves. A bootstrap of n values is too narrow by
√((n − 1)/n), which matters for the few seeds that people can pay, and so do the tails of so few: the first is made up
for, and the interval is Student's in place of the bootstrap's percentiles, which for three seeds cannot be wider than
from the least to the greatest and hold the truth in three cases of four.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate

#: Draws of the bootstrap: its standard error is known to 2 %.
_DRAWS = 2000

Strata = Sequence[NDArray[np.float64]]


def interquartile_mean(values: ArrayLike) -> float:
    """The mean of what is left when the lowest and the highest quarter of the values are cut off.

    Of n values ⌊n/4⌋ are cut off at either end, so that up to three are averaged whole.

    Args:
        values: any number of them but none, of any shape; taken as float64.

    Raises:
        GradlabError: there are none.

    Example:
        >>> interquartile_mean([1.0, 2.0, 3.0, 4.0, 1000.0])
        3.0
    """
    flat = np.asarray(values, np.float64).ravel()
    if not len(flat):
        raise GradlabError("interquartile mean: of no values; give one for each run")
    return float(_middle(flat[None])[0])


def over_runs(strata: Sequence[ArrayLike], seed: int = 0) -> Estimate:
    """The interquartile mean over runs and its uncertainty.

    Args:
        strata: for each task the value that each of its runs gave, [runs of the task].
        seed: of the bootstrap.

    Returns:
        The estimate; ``samples`` counts the runs. Of a single run a task nothing is known about another seed's, nor of
        runs that all gave the same value, as shares of a few states often are: standard error and interval are not
        numbers then.

    Raises:
        GradlabError: a task has no run.

    Example:
        >>> found = over_runs([[1.0, 1.2, 0.9, 1.1, 1.0]])
        >>> print(found)
        1.033 in [0.865, 1.202] (n=5)
        >>> print(over_runs([[1.0]]))
        1.0 (no interval: n=1)
    """
    rows = _checked(strata)
    value = float(_middle(np.concatenate(rows)[None])[0])
    stderr, freedom = _spread(rows, seed)
    return _estimate(value, stderr or math.nan, freedom, sum(map(len, rows)))


def difference(first: Sequence[ArrayLike], second: Sequence[ArrayLike], seed: int = 0) -> Estimate:
    """The interquartile mean of one group of runs less that of another, which share nothing.

    Args:
        first: as for ``over_runs``.
        second: likewise, with as many tasks.
        seed: of the bootstrap.

    Returns:
        The difference; its interval is Welch's, with the degrees of freedom of F. E. Satterthwaite (1946). A group
        whose runs all gave the same value is taken to scatter as the other does; where neither does, there is no
        interval.

    Raises:
        GradlabError: a task has no run, or the groups have not the same number of tasks.

    Example:
        >>> found = difference([[2.0, 2.1, 1.9, 2.0]], [[1.0, 1.1, 0.9, 1.0]])
        >>> found.value, found.resolved
        (1.0, True)
    """
    groups = _checked(first), _checked(second)
    if len(groups[0]) != len(groups[1]):
        raise GradlabError(
            f"difference of runs: {len(groups[0])} tasks against {len(groups[1])}; give the same tasks for both groups"
        )
    values = [float(_middle(np.concatenate(rows)[None])[0]) for rows in groups]
    (one, one_freedom), (two, two_freedom) = (_spread(rows, seed + place) for place, rows in enumerate(groups))
    runs, others = (sum(map(len, rows)) for rows in groups)
    # Seeds that agree to the last bit are a coarse number's doing: another seed would not.
    one, two = one or two * math.sqrt(others / runs), two or one * math.sqrt(runs / others)
    stderr = math.hypot(one, two) or math.nan
    parts = one**4 / max(one_freedom, 1) + two**4 / max(two_freedom, 1)
    known = one_freedom > 0 and two_freedom > 0
    freedom = stderr**4 / parts if known and parts > 0 else 0.0
    return _estimate(values[0] - values[1], stderr, freedom, runs + others)


def _checked(strata: Sequence[ArrayLike]) -> Strata:
    rows = [np.asarray(one, np.float64).ravel() for one in strata]
    if not rows or any(not len(row) for row in rows):
        raise GradlabError("runs of a group: a task has none; give at least one for each task")
    return rows


def _middle(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interquartile mean of each row of [draws, n]."""
    cut = values.shape[1] // 4
    found: NDArray[np.float64] = np.sort(values, axis=1)[:, cut : values.shape[1] - cut].mean(1)
    return found


def _spread(rows: Strata, seed: int) -> tuple[float, float]:
    """Standard error of the interquartile mean, and its degrees of freedom: runs less tasks."""
    freedom = float(sum(len(row) - 1 for row in rows))
    if any(len(row) < 2 for row in rows):
        return math.nan, 0.0
    if not any(np.ptp(row) for row in rows):
        # To the last bit, which the draws below are not.
        return 0.0, freedom
    rng = np.random.default_rng(seed)
    # The bootstrap's variance of n values is (n − 1)/n of what it should be: each task is spread about its mean by as
    # much as that lacks.
    wide = [row.mean() + (row - row.mean()) * math.sqrt(len(row) / (len(row) - 1)) for row in rows]
    drawn = np.concatenate([row[rng.integers(0, len(row), (_DRAWS, len(row)))] for row in wide], axis=1)
    return float(_middle(drawn).std(ddof=1)), freedom


def _estimate(value: float, stderr: float, freedom: float, samples: int) -> Estimate:
    half = float(stdtrit(freedom, 0.975)) * stderr if freedom > 0 else math.nan
    return Estimate(value, stderr, samples, ends=(value - half, value + half))
