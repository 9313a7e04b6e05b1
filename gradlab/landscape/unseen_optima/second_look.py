"""What one search missed, told by another one with starts of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gradlab.arguments import real_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.landscape.entrance import given_optima
from gradlab.landscape.found import LocalOptima
from gradlab.statistics.state_means import state_mean

#: Normal quantile of two-sided 95 %.
_QUANTILE = 1.959964


@dataclass(frozen=True)
class SecondLook:
    """How much of the box leads to optima that a first search missed, by the starts of a second; float64.

    Attributes:
        share: share of the second search's starts that climbed to an optimum the first lacks, [S].
        interval: Wilson's 95 % interval of it, [S, 2].
        starts: number of the second search's uniform starts a state.
    """

    share: Tensor
    interval: Tensor
    starts: int

    def mean(self, episode: Any = None) -> Estimate:
        """Mean over states of ``share``; ``episode`` says where each state was visited, every state alone when None."""
        found = state_mean(self.share, episode)
        low, high = found.interval()
        if not low <= high:
            low, high = found.value, found.value
        pooled = _wilson(self.share.mean()[None], self.starts * len(self.share))[0].tolist()
        # States that all agree do not scatter, but rest on so many starts only.
        return replace(found, scale="share", ends=(max(min(low, pooled[0]), 0.0), min(max(high, pooled[1]), 1.0)))


def unseen_share(
    first: LocalOptima, second: LocalOptima, *, threshold: float = 0.01, radius: float = 0.01
) -> SecondLook:
    """The chance that one more uniform start climbs to an optimum that the first search lacks.

    The second search must have starts of its own (another ``generator``). Its starts have had no part in the first,
    so that the share of them that ends elsewhere is an unbiased estimate with no assumption on basins. Starts spread
    evenly scatter less than independent ones, so that the binomial interval errs to the wide side.

    Args:
        first: the search in question.
        second: another of the same function at the same states.
        threshold: least persistence in the second search, as a share of its value range, of optima that count.
        radius: distance along every coordinate, as a share of the box's width, within which two optima are one.

    Returns:
        The share of each state, with its interval; ``mean()`` gives it over states.

    Raises:
        GradlabError: the searches have not as many states or not the same box, or an argument is no number of its kind.

    Example:
        >>> from gradlab.landscape import local_optima
        >>> def search(starts, seed):
        ...     q = lambda a: (30 * a).sin().sum(-1)  # ten maxima, one of them an end
        ...     return local_optima(q, [-1.0], [1.0], starts=starts, generator=torch.Generator().manual_seed(seed))
        >>> unseen_share(search(64, 0), search(64, 1)).share.item()
        0.0
        >>> unseen_share(search(4, 0), search(64, 1)).share.item() > 0.4
        True
    """
    least, near = real_number("threshold", threshold, 0.0), real_number("radius", radius, 0.0)
    first, second = given_optima("first", first), given_optima("second", second)
    if len(first.values) != len(second.values):
        raise GradlabError(
            f"searches: {len(first.values)} and {len(second.values)} states; give two of the same states"
        )
    sizes = {actions.shape[-1] for one in (first, second) for actions in one.actions}
    if len(sizes) > 1:
        raise GradlabError(f"searches: of {sorted(sizes)} action coordinates; give two of the same function")
    width = first.width.double()
    if not torch.allclose(width, second.width.to(width)):
        raise GradlabError("searches: of boxes of different widths; give two of the same function on the same box")
    known = pad_sequence([a.double() / width for a in first.actions], batch_first=True, padding_value=torch.inf)
    found = pad_sequence([a.double() / width for a in second.actions], batch_first=True, padding_value=0.0)
    visits = pad_sequence([v.double() for v in second.visits], batch_first=True)
    persistence = pad_sequence([v.double() for v in second.persistence], batch_first=True, padding_value=-torch.inf)
    counts = persistence >= least * second.value_range[:, None].double()
    apart = (found[:, :, None] - known[:, None]).abs().amax(-1)
    new = ~(apart <= near).any(-1) & counts
    share = (visits * new).sum(-1) / second.starts
    return SecondLook(share, _wilson(share, second.starts), second.starts)


def _wilson(share: Tensor, count: int) -> Tensor:
    spread = _QUANTILE**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = (share * (1 - share) * spread + spread**2 / 4).sqrt() / (1 + spread)
    return torch.stack([centre - half, centre + half], -1).clamp(0, 1)
