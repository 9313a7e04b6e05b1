"""How many of a landscape's known maxima were found, and how many were made up; with intervals over landscapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.worlds.landscapes.base import Landscape


class Score(NamedTuple):
    """What was found of one landscape's maxima.

    Attributes:
        known: number of maxima to be found.
        hits: number of these that were found.
        claimed: number of optima claimed.
        false: number of these that are no maximum.
        shortfall: greatest height of a known maximum over the claimed one beside it, as a share of the value range.
    """

    known: int
    hits: int
    claimed: int
    false: int
    shortfall: float


class Found(NamedTuple):
    """Optima that a search claims, float64: the fields of ``LocalOptima`` at one state, as arrays.

    Attributes:
        actions: where they are, [k, p].
        values: their values, [k].
        persistence: their heights over the pass to a higher one, [k].
        value_range: highest less lowest value seen.
        starts: number of uniform starts.
    """

    actions: NDArray[np.float64]
    values: NDArray[np.float64]
    persistence: NDArray[np.float64]
    value_range: float
    starts: int


def score(landscape: Landscape, found: Found, *, threshold: float = 0.01, radius: float = 0.01) -> Score:
    """Hold what a search claims against all that a landscape has.

    To be found are the maxima of at least the threshold's persistence, where that is known, whose basin is expected to
    hold at least three starts, where that is known; all of them otherwise. A claimed optimum of at least that
    persistence is false when no maximum, of whatever persistence, is near it.

    Args:
        landscape: the truth.
        found: the claims.
        threshold: least persistence, as a share of the value range.
        radius: how near is near, as a share of the box's width, in every coordinate.

    Example:
        >>> from gradlab.worlds.landscapes import SineRamp
        >>> one = Found(np.array([[0.8378]]), np.array([1.3342]), np.array([2.5]), 2.5, 64)
        >>> score(SineRamp(), one)[:4]
        (4, 1, 1, 0)
    """
    optima = landscape.optima()
    apart = np.abs(found.actions[:, None] - optima.actions) / (landscape.high - landscape.low)
    near = (apart <= radius).all(-1)
    wanted = np.ones(len(optima.values), dtype=bool)
    height = landscape.persistence()
    if height is not None:
        wanted &= height >= threshold * found.value_range
    if optima.shares is not None:
        wanted &= optima.shares * found.starts >= 3
    claimed = found.persistence >= threshold * found.value_range
    hit = wanted & near.any(0)
    best = np.where(near, found.values[:, None], -np.inf).max(0, initial=-np.inf)[hit]
    short = (optima.values[hit] - best).max(initial=0.0) / found.value_range if found.value_range > 0 else 0.0
    return Score(
        int(wanted.sum()), int(hit.sum()), int(claimed.sum()), int((claimed & ~near.any(-1)).sum()), float(short)
    )


def recall(scores: Sequence[Score]) -> Estimate:
    """Share of the known maxima that were found; landscapes are the independent samples.

    Raises:
        GradlabError: there is no landscape, or none has a maximum to be found.

    Example:
        >>> print(recall([Score(4, 4, 4, 0, 0.0), Score(2, 1, 1, 0, 0.0), Score(4, 4, 4, 0, 0.0)]))
        0.90 ± 0.12 (n=3, against known maxima)
    """
    return _share([s.hits for s in scores], [s.known for s in scores], "known maxima")


def false_share(scores: Sequence[Score]) -> Estimate:
    """Share of the claimed optima that are no maxima; landscapes are the independent samples.

    Raises:
        GradlabError: there is no landscape, or nothing was claimed.
    """
    return _share([s.false for s in scores], [s.claimed for s in scores], "known maxima")


def _share(part: Sequence[int], whole: Sequence[int], reference: str) -> Estimate:
    """A ratio of sums over landscapes, with the linearised standard error of a ratio (W. Cochran 1977, chapter 6)."""
    top, below = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    if below.sum() == 0:
        raise GradlabError("scores: of no landscape, or there was nothing to find in any; give some with maxima")
    share, count = float(top.sum() / below.sum()), len(top)
    rest = top - share * below
    stderr = float(np.sqrt((rest**2).sum() / (count - 1) / count) / below.mean()) if count > 1 else math.nan
    return Estimate(share, stderr, count, reference, scale="share")
