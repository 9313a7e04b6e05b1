"""The actor's standing over states: means with intervals that hold for skewed numbers with many zeros."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradlab.estimate import Estimate
from gradlab.inference.bounded import bounded_mean
from gradlab.statistics.state_means import bounded_state_mean, episode_numbers

if TYPE_CHECKING:
    from gradlab.landscape.standing.standing import Gap


@dataclass(frozen=True)
class GapMeans:
    """Means over states of what ``Gap`` has of each; shares are means of ones and zeros.

    Gaps are mostly small, many are zero and a few are large, so the intervals are those of ``bounded_mean``: between 0
    and the largest value range seen for what is in units of Q, between 0 and 1 for shares. They are for the states'
    own distribution, not for what the search has missed: every gap is a lower bound. Few episodes cannot exclude rare
    ones with large gaps: where E of them show none, the interval reaches to 1 − .025^{1/E} of the largest range, 41 %
    at 7, 11 % at 32 and 4 % at 100.

    Attributes:
        gap: of max Q − Q(s, π(s)).
        relative: of the same over the value range.
        own_fit: of the part that ascent from π(s) would gain.
        basin_choice: of the part that it would still miss.
        expected: of max Q − E_{a ~ π} Q(s, a); equal to ``gap`` for a deterministic policy.
        distance: of the distance to the best action, in action units.
        distance_share: of the same as a share of the box's diagonal.
        rank: of the rank of the actor's basin; 1 is the best.
        reaches_best: share of states where ascent from π(s) reaches the best, among those where Q is not level; NaN, of
            no samples, where it is level at all.
        on_plateau: share of states where it ends on a plateau.
        level: share of states where Q is level on the whole box, so that the gap is 0 and there is no best action.
    """

    gap: Estimate
    relative: Estimate
    own_fit: Estimate
    basin_choice: Estimate
    expected: Estimate
    distance: Estimate
    distance_share: Estimate
    rank: Estimate
    reaches_best: Estimate
    on_plateau: Estimate
    level: Estimate


def gap_means(gap: Gap, episode: Any = None) -> GapMeans:
    """Means over states of the numbers of a ``Gap``; see ``Gap.over_states``.

    Raises:
        GradlabError: there is not one episode number a state.
    """
    episode = episode_numbers(episode, len(gap.gap))
    # A value range lost in rounding can be smaller than the gap that was seen.
    largest = torch.maximum(gap.value_range, gap.gap).max()
    # Draws of a stochastic policy can beat the best action found, or fall below the lowest value found.
    beyond = torch.maximum(largest, gap.expected.max())
    worse = torch.minimum(gap.expected.min(), torch.zeros_like(largest))
    numbers: dict[str, tuple[Tensor, float | Tensor, float | Tensor]] = {
        "gap": (gap.gap, 0.0, largest),
        "relative": (gap.relative, 0.0, 1.0),
        "own_fit": (gap.own_fit, 0.0, largest),
        "basin_choice": (gap.basin_choice, 0.0, largest),
        "expected": (gap.expected, worse, beyond),
        "distance": (gap.distance, 0.0, max(gap.diagonal, float(gap.distance.max()))),
        "distance_share": (gap.distance_share.clamp(max=1.0), 0.0, 1.0),
        # A basin that is too shallow to count can lie below all that do.
        "rank": (gap.rank, 1.0, 1.0 + float(gap.optima.max())),
        "on_plateau": (gap.basin < 0, 0.0, 1.0),
        "level": (gap.level, 0.0, 1.0),
    }
    values = torch.stack([part.double().cpu() for part, _, _ in numbers.values()], -1)
    low, high = (torch.tensor([float(number[i]) for number in numbers.values()]).double() for i in (1, 2))
    mean, stderr, ends, samples = bounded_mean(values, low, high, episode)
    shares = ("on_plateau", "level")
    reaches = torch.where(gap.level, torch.nan, gap.reaches_best.double())
    return GapMeans(
        reaches_best=replace(
            bounded_state_mean(reaches, episode, objective=gap.objective, least=0.0, most=1.0), scale="share"
        ),
        **{
            name: Estimate(
                float(mean[i]),
                float(stderr[i]),
                samples,
                objective=gap.objective,
                scale="share" if name in shares else "linear",
                ends=(float(ends[0, i]), float(ends[1, i])),
                caveat="" if name in shares else gap.caveat,
            )
            for i, name in enumerate(numbers)
        },
    )
