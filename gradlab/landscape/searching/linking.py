"""Which points climb to the same top as a higher one, told by a few values on the way there.

The hill-valley test (Ursem, "Multinational evolutionary algorithms", CEC 1999): two points share a hill when no value
on the segment between them dips. Here a point is linked to the nearest higher one that lies uphill of it, and only
where the values along the way rise to one top: a dip anywhere, even above the lower point, keeps the two apart.
A link costs a few values where a climb costs a few dozen gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.landscape.searching.ascent import feasible
from gradlab.landscape.searching.merging import pack, query_blocks
from gradlab.landscape.surface import Surface

#: Values per unit length of a segment in the unit box, and the least and most of one segment.
_DENSITY, _FEWEST, _MOST = 12.0, 2, 12
#: The least cosine between the gradient and the way to a higher point that counts as uphill.
_UPHILL = 0.5


def targets(state: Tensor, point: Tensor, value: Tensor, gradient: Tensor, states: int) -> Tensor:
    """For every row the nearest higher row of its state that lies uphill of it, [N]; itself where there is none.

    Between rows of equal value the earlier counts as the higher.
    """
    order = torch.argsort(value, descending=True, stable=True)
    table, filled = pack(state[order], states)
    target = torch.arange(len(state))
    slope = feasible(point, gradient)
    slope = slope / slope.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
    level = (slope == 0).all(-1)
    for rows, there, queries in query_blocks(table, filled):
        x, everyone = point[order[rows[:, queries]]], point[order[rows]]
        distance = torch.cdist(x, everyone)
        up = slope[order[rows[:, queries]]]
        along = up @ everyone.mT - (up * x).sum(-1, keepdim=True)
        higher = torch.arange(rows.shape[1]) < queries[:, None]
        uphill = (along >= _UPHILL * distance) | level[order[rows[:, queries]]][..., None]
        distance.masked_fill_(~(higher & uphill & there[:, None, :]), torch.inf)
        nearest, which = distance.min(-1)
        good = torch.isfinite(nearest) & there[:, queries]
        target[order[rows[:, queries]][good]] = order[rows.gather(1, which)[good]]
    return target


def link(surface: Surface, state: Tensor, point: Tensor, value: Tensor, target: Tensor, allowed: Tensor) -> Tensor:
    """Which rows rise to their ``target`` [N] without a dip of more than ``allowed`` [N] on the straight way, [N]."""
    linked = torch.zeros(len(state), dtype=torch.bool)
    rows = (target != torch.arange(len(state))).nonzero().flatten()
    if len(rows) == 0:
        return linked
    end = value[target[rows]]
    start, move = point[rows], point[target[rows]] - point[rows]
    count = (move.norm(dim=-1) * _DENSITY).ceil().clamp(_FEWEST, _MOST).long()
    number = torch.arange(1, _MOST + 1)
    share = number / (count[:, None] + 1).to(point.dtype)
    # Places beyond the last inner one repeat the end, which is known.
    met = end[:, None].expand(-1, _MOST).clone()

    def ask(places: Tensor) -> None:
        at = (start[:, None] + share[..., None] * move[:, None])[places]
        met[places] = surface.values(state[rows][:, None].expand(-1, _MOST)[places], at)

    # Most that fail do so in the middle, so that it is asked for first.
    middle = number == (count[:, None] + 1) // 2
    ask(middle)
    holds = value[rows] - met[middle] <= allowed[rows]
    ask((number <= count[:, None]) & ~middle & holds[:, None])
    way = torch.cat([value[rows][:, None], met, end[:, None]], 1)
    left, right = way.cummax(1).values, way.flip(1).cummax(1).values.flip(1)
    dip = (torch.minimum(left, right) - way).amax(1)
    linked[rows] = holds & (dip <= allowed[rows])
    return linked


def roots(target: Tensor, linked: Tensor) -> Tensor:
    """Where the chain of links from each row ends, [N]; links go up only, so that there are no cycles."""
    root = torch.where(linked, target, torch.arange(len(target)))
    while True:
        further = root[root]
        if torch.equal(further, root):
            return root
        root = further
