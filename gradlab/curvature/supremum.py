"""What a sample of states says of a supremum over all of them: less than one would like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from gradlab.arguments import real_tensor, shown
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.statistics.state_means import episode_numbers
from gradlab.statistics.state_quantiles import state_quantile


@dataclass(frozen=True)
class LargestSeen:
    """The largest of a number over the states seen, with high quantiles.

    Attributes:
        largest: the largest value seen. It is a lower bound of the supremum and grows with the number of states; no
            sample bounds a supremum from above, so that it has no interval. Compare it only at the same number of
            states.
        state: which state that was, its row.
        quantiles: by share of states, such as 0.99: the value that this share does not exceed, with its interval;
            infinite above where so high a quantile cannot be bounded by so few states.
        unseen: share of states that may lie above ``largest``, at 95 % confidence: 1 − .05^{1/E} for E episodes
            (1 − .05^{1/S} for S independent states). Of episodes it is the share of *episodes* that have such a state.
        samples: E, the independent samples.
    """

    largest: float
    state: int
    quantiles: dict[float, Estimate]
    unseen: float
    samples: int

    def __str__(self) -> str:
        of = ", ".join(f"{100 * share:g} % of states below {found}" for share, found in self.quantiles.items())
        return f"at least {self.largest:.4g} (up to {self.unseen:.1%} of {self.samples} samples may exceed it); {of}"


def largest_seen(
    values: Any, episode: Any = None, shares: tuple[float, ...] = (0.5, 0.9, 0.99), objective: str = ""
) -> LargestSeen:
    """The largest value over states and high quantiles, with what the sample can say of the rest.

    Args:
        values: a number a state, [S]; NaN where there is none.
        episode: which episode each state was visited in, [S]: the independent samples.
        shares: which quantiles.
        objective: the objective the values belong to, in words.

    Raises:
        GradlabError: there is no number, or shapes do not fit.

    Example:
        >>> found = largest_seen(torch.arange(1.0, 101.0), shares=(0.9,))
        >>> found.largest, found.state, round(found.unseen, 3), found.quantiles[0.9].ends
        (100.0, 99, 0.03, (84.0, 96.0))
    """
    values = real_tensor("values", values)
    if values.ndim != 1:
        raise GradlabError(f"values: shape {tuple(values.shape)}; give one a state, [S]")
    if isinstance(shares, str) or not isinstance(shares, Iterable):
        raise GradlabError(f"shares: {shown(shares)}; give several between 0 and 1, such as (0.9, 0.99)")
    wanted = tuple(shares)
    member = episode_numbers(episode, len(values))
    there = (~values.detach().cpu().isnan()).nonzero().flatten()
    if len(there) == 0:
        raise GradlabError(
            f"values: {tuple(values.shape)} with {len(there)} numbers; give one a state, [S], some not NaN"
        )
    numbers = values.detach().cpu().double()[there]
    samples = len(numbers) if member is None else len(torch.unique(member[there]))
    at = int(numbers.argmax())
    return LargestSeen(
        float(numbers[at]),
        int(there[at]),
        {share: state_quantile(values, share, episode, objective=objective) for share in wanted},
        1 - 0.05 ** (1 / samples),
        samples,
    )
