"""The optima of the same states at two moments of training: which stayed, moved, were born and died."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gradlab.arguments import real_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.landscape.entrance import given_optima
from gradlab.landscape.surface import box_corner
from gradlab.statistics.state_means import bounded_state_mean, count_mean, state_mean, state_share

if TYPE_CHECKING:
    from gradlab.landscape.found import LocalOptima


@dataclass(frozen=True)
class Followed:
    """What became of the optima of S states between two moments.

    An optimum *counts* where its persistence is at least ``threshold`` times the value range of its own moment. The
    counts add up exactly: (born + risen) − (died + sunk) is the change of the number of optima that count.

    Attributes:
        pairs: indices (before, after) of the optima that are one, [k_s, 2], a tensor a state; also of those that
            do not count.
        born: optima that count after and were none before, counted or not, [S], integers.
        died: optima that counted before and are none after, [S], integers.
        risen: pairs that count after only, [S], integers.
        sunk: pairs that counted before only, [S], integers.
        moved: mean distance that pairs moved which count at both moments, [S], as a share of the box's diagonal; NaN
            where there is none.
        rise: mean change of Q at them, [S], in units of Q; NaN where there is none.
        actor_changed: whether the optimum that the actor's ascent reaches is another one than before, [S]: 1 or 0;
            NaN where either ascent ended on a plateau. None where an actor's basin is not known.
        actor_lost: whether the optimum that it reached before has died, [S], likewise.
        before: optima that counted before, [S], integers.
        after: optima that count after, [S], integers.
        radius: distance within which two optima may be one, as a share of the box's diagonal.
        threshold: relative persistence from which an optimum counts.
        largest_range: largest value range of a state at either moment, in units of Q.
    """

    pairs: list[Tensor]
    born: Tensor
    died: Tensor
    risen: Tensor
    sunk: Tensor
    moved: Tensor
    rise: Tensor
    actor_changed: Tensor | None
    actor_lost: Tensor | None
    before: Tensor
    after: Tensor
    radius: float
    threshold: float
    largest_range: float

    def estimates(self, episode: Tensor | None = None, objective: str = "") -> dict[str, Estimate]:
        """Means over states: ``births``, ``deaths``, ``moves`` and ``rise``; shares of states: ``actor_changed``, ….

        Births and deaths are counts, whose interval assumes no more in any state than the largest number seen plus one;
        moves lie between 0 and ``radius``. Nothing bounds a rise: its interval comes from how the states scatter, and
        where all agree it is assumed that none differs from them by more than ``largest_range``.

        Args:
            episode: which episode a state is from, [S]; every state is its own when None.
            objective: the objective of Q, in words.
        """
        said: dict[str, Any] = {"episode": episode, "objective": objective}
        rise = self.rise[~self.rise.isnan()]
        if len(rise) and bool((rise == rise[0]).all()):
            least, most = float(rise[0]) - self.largest_range, float(rise[0]) + self.largest_range
            rises = bounded_state_mean(self.rise, **said, least=least, most=most)
        else:
            rises = state_mean(self.rise, **said)
        found = {
            "births": count_mean(self.born, **said),
            "deaths": count_mean(self.died, **said),
            # Rounding may take a move just beyond the radius.
            "moves": bounded_state_mean(self.moved.clamp(max=self.radius), **said, least=0.0, most=self.radius),
            "rise": rises,
        }
        for name, part in (("actor_changed", self.actor_changed), ("actor_lost", self.actor_lost)):
            if part is not None:
                found[name] = state_share(part, **said)
        return found


def follow(
    before: LocalOptima, after: LocalOptima, low: Any, high: Any, *, radius: float = 0.1, threshold: float = 0.01
) -> Followed:
    """Match the optima of the same states at two moments, such as two checkpoints of one run.

    Two optima may be one where they are nearer than ``radius`` times the box's diagonal, each coordinate in units of
    the box's width. Of all such pairings that one is taken whose total distance is smallest when an optimum that
    is left alone counts as ``radius`` (the assignment of D. Schuhmacher, B.-T. Vo, B.-N. Vo 2008, *A consistent metric
    for performance evaluation of multi-object filters*, with order 1 and cut-off ``radius``): first among the optima
    that count at both moments, then of what is left with any other, so that an optimum whose persistence crosses the
    threshold is not taken for a birth or a death. A search that misses an optimum at one of the moments makes one too
    many: follow two searches of the same critic with other starts to see how often.

    Args:
        before: optima at the earlier moment.
        after: optima at the later moment, of the same states in the same order.
        low: lower corner of the action box, [p].
        high: upper corner, [p].
        radius: as a share of the box's diagonal, above 0.
        threshold: persistence, as a share of the value range, from which an optimum counts; not negative.

    Raises:
        GradlabError: the two are of different numbers of states or action coordinates, or an argument is out of range.

    Example:
        >>> from gradlab.landscape import local_optima
        >>> def hill(top):
        ...     return lambda a: -(a - top).square().sum(-1)
        >>> before, after = (local_optima(hill(top), [-1.0], [1.0]) for top in (0.0, 0.1))
        >>> followed = follow(before, after, [-1.0], [1.0])
        >>> followed.born.tolist(), followed.died.tolist(), followed.moved.round(decimals=3).tolist()
        ([0], [0], [0.05])
    """
    radius, threshold = real_number("radius", radius, above=0.0), real_number("threshold", threshold, 0.0)
    before, after = given_optima("before", before), given_optima("after", after)
    corners = [box_corner(name, corner).double() for name, corner in (("low", low), ("high", high))]
    if corners[0].shape != corners[1].shape:
        raise GradlabError(
            f"follow: low has shape {tuple(corners[0].shape)}, high {tuple(corners[1].shape)}; both must be [p]"
        )
    width = corners[1] - corners[0]
    _check(before, after, width)
    # A distance of one is the diagonal of the box, whatever its number of coordinates.
    unit = width * len(width) ** 0.5
    earlier, later = _Moment.of(before, unit, threshold), _Moment.of(after, unit, threshold)
    pairs = [_pairs(a, b, radius) for a, b in zip(earlier, later, strict=True)]
    rows = [_row(a, b, pair) for a, b, pair in zip(earlier, later, pairs, strict=True)]
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 8)
    born, died, risen, sunk, number_before, number_after = (column.long() for column in table[:, :6].unbind(-1))
    changed, lost = _actor(before.actor, after.actor, pairs)
    return Followed(
        pairs=pairs,
        born=born,
        died=died,
        risen=risen,
        sunk=sunk,
        moved=table[:, 6],
        rise=table[:, 7],
        actor_changed=changed,
        actor_lost=lost,
        before=number_before,
        after=number_after,
        radius=radius,
        threshold=threshold,
        largest_range=max((float(each.value_range.max()) for each in (before, after) if len(each.values)), default=0.0),
    )


@dataclass(frozen=True)
class _Moment:
    """One state's optima: places [k, p] where distance one is the box's diagonal, values [k], which count [k]."""

    place: Tensor
    value: Tensor
    counts: Tensor

    @staticmethod
    def of(optima: LocalOptima, unit: Tensor, threshold: float) -> list[_Moment]:
        least = (threshold * optima.value_range.double()).tolist()
        return [
            _Moment(action.double().cpu() / unit, value.double().cpu(), (height.double() >= enough).cpu())
            for action, value, height, enough in zip(
                optima.actions, optima.values, optima.persistence, least, strict=True
            )
        ]


def _check(before: LocalOptima, after: LocalOptima, width: Tensor) -> None:
    states = (len(before.values), len(after.values))
    if states[0] != states[1]:
        raise GradlabError(f"follow: optima of {states[0]} states before and {states[1]} after; give the same states")
    sizes = {each.shape[-1] for optima in (before, after) for each in optima.actions} | {width.numel()}
    if width.ndim != 1 or len(sizes) != 1:
        raise GradlabError(f"follow: optima and box have {sorted(sizes)} action coordinates; they must be of one box")
    if not bool((torch.isfinite(width) & (width > 0)).all()):
        raise GradlabError("follow: the action box must be bounded, with low below high in every coordinate")


def _pairs(before: _Moment, after: _Moment, radius: float) -> Tensor:
    """Pairs (before, after) [k, 2], by two assignments, the second of what the first has left alone."""
    gain = (radius - torch.cdist(before.place, after.place)).clamp_min(0)
    both = before.counts[:, None] & after.counts
    first = _assignment(torch.where(both, gain, 0.0))
    rest = gain.clone()
    rest[first[:, 0]] = 0
    rest[:, first[:, 1]] = 0
    # One that counts goes before two that do not.
    either = before.counts[:, None] | after.counts
    second = _assignment(torch.where(either, rest, 0.0))
    rest[second[:, 0]] = 0
    rest[:, second[:, 1]] = 0
    return torch.cat([first, second, _assignment(rest)])


def _assignment(gain: Tensor) -> Tensor:
    """The pairs [k, 2] of largest total gain; pairs without gain are none."""
    rows, columns = (torch.from_numpy(side) for side in linear_sum_assignment(gain.numpy(), maximize=True))
    kept = gain[rows, columns] > 0
    return torch.stack([rows[kept], columns[kept]], -1)


def _row(before: _Moment, after: _Moment, pairs: Tensor) -> list[float]:
    """Born, died, risen, sunk, before, after, moved, rise of one state."""
    i, j = pairs.unbind(-1)
    was, is_now = before.counts[i], after.counts[j]
    number_before, number_after = int(before.counts.sum()), int(after.counts.sum())
    both = was & is_now
    distance = (before.place[i[both]] - after.place[j[both]]).norm(dim=-1)
    rise = after.value[j[both]] - before.value[i[both]]
    return [
        number_after - int(is_now.sum()),
        number_before - int(was.sum()),
        int((is_now & ~was).sum()),
        int((was & ~is_now).sum()),
        number_before,
        number_after,
        float(distance.mean()),
        float(rise.mean()),
    ]


def _actor(before: Tensor | None, after: Tensor | None, pairs: list[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Whether the actor's optimum is another one, and whether that of before has died, [S]; NaN where not known."""
    if before is None or after is None:
        return None, None
    a, b = before.cpu(), after.cpu()
    known = (a >= 0) & (b >= 0)
    partner = torch.tensor(
        [int(next(iter(pair[pair[:, 0] == one, 1]), -1)) for pair, one in zip(pairs, a.tolist(), strict=True)]
    )
    nothing = torch.full_like(a, torch.nan, dtype=torch.float64)
    return torch.where(known, (partner != b).double(), nothing), torch.where(a >= 0, (partner < 0).double(), nothing)
