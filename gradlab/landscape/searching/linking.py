"""Which points climb to the same top as a higher one, told by a few looks on the way there.

The hill-valley test (Ursem, "Multinational evolutionary algorithms", CEC 1999): two points share a hill when no value
on the segment between them dips. Here a point is linked to the nearest higher one that lies uphill of it, and only
where the values along the way rise to one top: a dip anywhere, even above the lower point, keeps the two apart.
Cubics through the values and slopes at hand say where a dip is likeliest, so that a link costs a few looks where a
climb costs a few dozen gradients. A dip between two looks that no slope tells of is passed over: at 64 starts about
one optimum in fifty of a piecewise-linear critic of two actions is lost so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.landscape.searching.ascent import Climb, feasible
from gradlab.landscape.searching.cubics import PLACES, cubics
from gradlab.landscape.searching.merging import PAIRS, pack
from gradlab.landscape.surface import Surface

#: Where looks go that are taken though no dip is predicted, the first not in the middle, as of evenly spaced hills it
#: would meet the tops there; and looks at one way at most. Ways of one and two actions are long beside the dips of a
#: piecewise-linear critic, which cubics do not foresee, and looks at them are few in all.
_LOOKS, _LOOKS_OF_FEW = ((0.382,), 2), ((0.382, 0.75, 0.15), 4)


def targets(climb: Climb, asked: int, states: int, uphill: float) -> Tensor:
    """For each of the first ``asked`` rows the nearest higher row of its state that lies uphill of it, [asked].

    It is the row itself where there is none. Uphill is where the cosine between the slope and the way there is at
    least ``uphill``. Between rows of equal value the earlier counts as the higher.
    """
    state, point, value, gradient = climb.state, climb.point, climb.value, climb.gradient
    target = torch.arange(asked)
    if asked == 0:
        return target
    slope = feasible(point[:asked], gradient[:asked])
    slope = slope / slope.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
    level = (slope == 0).all(-1)
    every, there = pack(state, states)
    some, filled = pack(state[:asked], states)
    wide = min(some.shape[1], max(1, PAIRS // every.shape[1]))
    block = max(1, PAIRS // (every.shape[1] * wide))
    for rows, known, ask, full in zip(*(part.split(block) for part in (every, there, some, filled)), strict=True):
        everyone = point[rows]
        for columns in torch.arange(some.shape[1]).split(wide):
            one = ask[:, columns]
            x, up = point[one], slope[one]
            distance = torch.cdist(x, everyone)
            along = up @ everyone.mT - (up * x).sum(-1, keepdim=True)
            mine, theirs = value[one][..., None], value[rows][:, None]
            higher = (theirs > mine) | ((theirs == mine) & (rows[:, None] < one[..., None]))
            towards = (along >= uphill * distance) | level[one][..., None]
            distance.masked_fill_(~(higher & towards & known[:, None, :]), torch.inf)
            nearest, which = distance.min(-1)
            good = torch.isfinite(nearest) & full[:, columns]
            target[one[good]] = rows.gather(1, which)[good]
    return target


def link(surface: Surface, start: Climb, end: Climb, allowed: Tensor) -> Tensor:
    """Which rows rise from ``start`` to ``end`` without a dip of more than ``allowed`` [N] on the straight way, [N].

    A look is where the cubics through what was met dip most, or else at one of the given places; when these are done,
    another is taken only where the cubics dip.
    """
    ways = _Ways.between(start, end)
    dips = torch.zeros(len(ways.share), dtype=torch.bool)
    given, most = _LOOKS_OF_FEW if surface.size <= 2 else _LOOKS
    for look in range(most):
        dip, place = ways.dip()
        falls = dip > allowed
        rows = ((falls | (look < len(given))) & ~dips).nonzero().flatten()
        ways.look(surface, rows, torch.where(falls, place, given[min(look, len(given) - 1)])[rows])
        dips |= ways.deepest() > allowed
    return ~dips


@dataclass
class _Ways:
    """Straight ways with K looks each, in their order.

    Attributes:
        start: where they begin, [N].
        move: the whole way, [N, p].
        share: how far along each look is, [N, K]; a way with fewer looks repeats its end.
        value: Q there, [N, K].
        slope: of Q along the way, per its whole length, [N, K].
    """

    start: Climb
    move: Tensor
    share: Tensor
    value: Tensor
    slope: Tensor

    @staticmethod
    def between(start: Climb, end: Climb) -> _Ways:
        move = end.point - start.point
        slope = torch.stack([(one.gradient * move).sum(-1) for one in (start, end)], 1)
        share = torch.tensor([0.0, 1.0]).to(move).expand(len(move), 2)
        return _Ways(start, move, share, torch.stack([start.value, end.value], 1), slope)

    def dip(self) -> tuple[Tensor, Tensor]:
        """How far the cubics between the looks fall before they rise again, [N], and where they are lowest, [N]."""
        width = self.share.diff(dim=1)
        slopes = self.slope[:, :-1] * width, self.slope[:, 1:] * width
        curve = cubics(self.value[:, :-1], self.value[:, 1:], *slopes).flatten(1)
        places = (self.share[:, :-1, None] + width[..., None] * PLACES.to(width)).flatten(1)
        before = torch.maximum(curve.cummax(1).values, self.value[:, :1])
        after = torch.maximum(curve.flip(1).cummax(1).values.flip(1), self.value[:, -1:])
        dip, lowest = (torch.minimum(before, after) - curve).max(1)
        return dip, places.gather(1, lowest[:, None]).squeeze(1)

    def deepest(self) -> Tensor:
        """How far the values met lie below higher ones on both sides, at most, [N]; one top on the way is no dip."""
        before, after = self.value.cummax(1).values, self.value.flip(1).cummax(1).values.flip(1)
        return (torch.minimum(before, after) - self.value).amax(1)

    def look(self, surface: Surface, rows: Tensor, share: Tensor) -> None:
        """One look more at the ways of ``rows``, in place."""
        at = self.start.point[rows] + share[:, None] * self.move[rows]
        value, gradient = surface.climb(self.start.state[rows], at)
        slope = (gradient * self.move[rows]).sum(-1)
        old = self.share, self.value, self.slope
        parts = [torch.cat([part, part[:, -1:]], 1) for part in old]
        for part, new in zip(parts, (share, value, slope), strict=True):
            part[rows, -1] = new
        order = parts[0].argsort(dim=1, stable=True)
        self.share, self.value, self.slope = (part.gather(1, order) for part in parts)


def roots(leader: Tensor) -> Tensor:
    """Where the chain of leaders from each row ends, [N]; links go up only, so that there are no cycles."""
    while True:
        further = leader[leader]
        if torch.equal(further, leader):
            return leader
        leader = further
