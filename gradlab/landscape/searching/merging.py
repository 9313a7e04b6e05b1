"""Which candidates are one optimum, and how high each optimum stands over the pass to a higher one.

Candidates are the vertices of a graph. An edge is a straight segment; its height is the lowest value met along it. The
best known path between two candidates is the one whose lowest edge is highest (a maximin path), so its height is a
lower bound of the true pass. Adding edges from the highest down and letting the lower of two meeting peaks end
there is zero-dimensional persistent homology of the superlevel sets on that graph (Edelsbrunner and Harer,
*Computational Topology*, 2010, VII.1): a peak's persistence is its height over the edge where it ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from gradlab.landscape.searching.ascent import feasible
from gradlab.landscape.surface import Surface

#: Entries of a pairwise distance table held at once.
_PAIRS = 1 << 22
#: Inner points of a straight path's first look, and nodes of a bent path.
_INNER, _NODES = 7, 5
#: Neighbours of each candidate that are edges: of any height, and higher ones.
_NEAREST, _HIGHER = 2, 4


def pack(state: Tensor, states: int) -> tuple[Tensor, Tensor]:
    """Where rows go in a table [states, most]: row numbers [states, most] (0 where empty) and what is filled."""
    counts = torch.bincount(state, minlength=states)
    order = torch.argsort(state, stable=True)
    place = torch.arange(len(state)) - (counts.cumsum(0) - counts)[state[order]]
    table = torch.zeros(states, int(counts.max()), dtype=torch.long)
    filled = torch.zeros_like(table, dtype=torch.bool)
    table[state[order], place] = order
    filled[state[order], place] = True
    return table, filled


def query_blocks(table: Tensor, filled: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Blocks of a table [states, most] small enough for distances of all pairs: rows, what is filled, and columns.

    The columns are the ones to ask about; where a state's table alone is too large, they are a part of it.
    """
    most = table.shape[1]
    wide = min(most, max(1, _PAIRS // most))
    block = max(1, _PAIRS // (most * wide))
    for rows, there in zip(table.split(block), filled.split(block), strict=True):
        for columns in torch.arange(most).split(wide):
            yield rows, there, columns


def nearby(state: Tensor, point: Tensor, value: Tensor, gradient: Tensor, states: int, radius: float) -> Tensor:
    """For every row the highest row that it is chained to, [N]; itself when alone.

    Two rows are chained when no coordinate differs by more than ``radius`` and the slope falls from the one to the
    other, (∇Q(y) − ∇Q(x))·(y − x) ≤ 0: points on two sides of a valley are near, yet climb apart.
    """
    order = torch.argsort(value, descending=True, stable=True)
    table, filled = pack(state[order], states)
    first = torch.arange(len(state))
    for rows, there, columns in query_blocks(table, filled):
        x, g = point[order[rows]], gradient[order[rows]]
        some = rows[:, columns]
        y, h = point[order[some]], gradient[order[some]]
        close = torch.cdist(y, x, p=torch.inf) <= radius
        bend = (h * y).sum(-1)[:, :, None] + (g * x).sum(-1)[:, None, :] - h @ x.mT - y @ g.mT
        rounding = 16 * torch.finfo(x.dtype).eps * g.norm(dim=-1) * x.norm(dim=-1)
        falls = bend <= rounding[:, columns, None] + rounding[:, None, :]
        near = close & falls & there[:, columns, None] & there[:, None, :]
        highest = near.to(torch.uint8).argmax(-1)  # rows are in descending order, so the first is the highest
        asked = there[:, columns]
        first[some[asked]] = rows.gather(1, highest)[asked]
    while True:
        further = first[first]
        if torch.equal(further, first):
            break
        first = further
    out = torch.empty_like(first)
    out[order] = order[first]
    return out


def edges(state: Tensor, point: Tensor, value: Tensor, states: int) -> Tensor:
    """Pairs of rows [E, 2] worth a look: each one's nearest, its nearest higher ones, and the state's best.

    On a line there is one path only, through all that lies between: neighbours are enough, and short segments miss
    less.
    """
    if point.shape[1] == 1:
        along = torch.argsort(point[:, 0], stable=True)
        along = along[torch.argsort(state[along], stable=True)]
        together = state[along[1:]] == state[along[:-1]]
        beside: Tensor = torch.stack([along[:-1][together], along[1:][together]], -1)
        return beside.sort(-1).values
    order = torch.argsort(value, descending=True, stable=True)
    table, filled = pack(state[order], states)
    most = table.shape[1]
    pairs = []
    for rows, there, columns in query_blocks(table, filled):
        x = point[order[rows]]
        distance = torch.cdist(x[:, columns], x)
        others = there[:, None, :] & (torch.arange(most) != columns[:, None])
        higher = others & (torch.arange(most) < columns[:, None])
        chosen = torch.zeros_like(others)
        chosen[:, :, 0] = True
        for among, each in ((others, _NEAREST), (higher, _HIGHER)):
            closest = distance.masked_fill(~among, torch.inf).topk(min(each, most), largest=False).indices
            chosen.scatter_(2, closest, True)
        at, i, j = (chosen & others & there[:, columns, None]).nonzero(as_tuple=True)
        pairs.append(torch.stack([order[rows[at, columns[i]]], order[rows[at, j]]], -1))
    found: Tensor = torch.cat(pairs).sort(-1).values.unique(dim=0)
    return found


def passes(surface: Surface, state: Tensor, point: Tensor, value: Tensor, pairs: Tensor, looks: int = 1) -> Tensor:
    """The lowest value met along each straight segment, [E], its ends included; ``looks`` as in ``_lowest``."""
    known, lower = value[pairs].min(-1)
    return _lowest(surface, state[pairs[:, 0]], point[pairs], known, lower, _INNER, looks)


def raise_passes(
    surface: Surface, state: Tensor, point: Tensor, value: Tensor, pairs: Tensor, height: Tensor, rounds: int = 6
) -> Tensor:
    """Heights [E] of paths bent upwards from the straight segments; never below ``height``.

    A few nodes of each path climb across it, perpendicular to its tangent, each with its own step length (the string
    method for passes: E, Ren and Vanden-Eijnden, Phys. Rev. B 66, 2002), as long as they lie lower than both ends of
    the path: others do not hold its height down. Any path bounds the pass from below, so that stopping early is safe.
    """
    if len(pairs) == 0 or surface.size == 1:
        return height  # on a line there is one path only
    count, size = len(pairs), surface.size
    shares = torch.linspace(0, 1, _NODES + 2, dtype=point.dtype)[:, None]
    path = point[pairs[:, :1]] + shares * (point[pairs[:, 1]] - point[pairs[:, 0]])[:, None]
    rows = state[pairs[:, :1]].expand(count, _NODES).reshape(-1)
    ceiling = value[pairs].amin(-1, keepdim=True).expand(count, _NODES).reshape(-1)
    there, gradient = surface.climb(rows, path[:, 1:-1].reshape(-1, size))
    length = (path[:, -1] - path[:, 0]).norm(dim=-1, keepdim=True).expand(count, _NODES).reshape(-1)
    step = 0.25 * length
    for _ in range(rounds):
        low = ((there < ceiling) & (step > 0.02 * length)).nonzero().flatten()
        if len(low) == 0:
            break
        nodes = path[:, 1:-1].reshape(-1, size)
        tangent = torch.nn.functional.normalize(path[:, 2:] - path[:, :-2], dim=-1).reshape(-1, size)[low]
        across = gradient[low] - (gradient[low] * tangent).sum(-1, keepdim=True) * tangent
        way = torch.nn.functional.normalize(feasible(nodes[low], across), dim=-1)
        trial = (nodes[low] + step[low, None] * way).clamp(0, 1)
        met, slope = surface.climb(rows[low], trial)
        better = met > there[low]
        won = low[better]
        nodes[won], there[won], gradient[won] = trial[better], met[better], slope[better]
        step[low[~better]] /= 3
        path = torch.cat([path[:, :1], nodes.reshape(count, _NODES, size), path[:, -1:]], 1)
    known = torch.minimum(there.reshape(count, _NODES), ceiling.reshape(count, _NODES)).amin(-1)
    # The nodes bound what a path can gain: where that is nothing, nothing more is asked.
    gained = (known > height).nonzero().flatten()
    lower = value[pairs[gained]].argmin(-1)
    bent = _lowest(surface, state[pairs[gained, 0]], path[gained], known[gained], lower, 4 * (_NODES + 1) - 1, 2)
    height = height.clone()
    height[gained] = torch.maximum(height[gained], bent)
    return height


def _lowest(
    surface: Surface, state: Tensor, path: Tensor, known: Tensor, lower: Tensor, inner: int, looks: int
) -> Tensor:
    """The lowest value along paths of K nodes, [E].

    Evenly spread inner points, then ``looks`` times six more around the lowest, each time four times closer. Where all
    inner points stand higher than the lower end, a dip can only be beside that end, and is looked for there.

    Args:
        surface: the landscape.
        state: state index of each path, [E].
        path: the nodes, [E, K, p].
        known: lowest value at nodes already evaluated, [E].
        lower: which end of each path is the lower: 0 its first node, 1 its last, [E].
        inner: number of inner points of the first look.
        looks: number of closer looks.
    """
    if len(path) == 0:
        return known
    legs = path.shape[1] - 1

    def at(share: Tensor) -> Tensor:
        leg = (share * legs).floor().clamp(0, legs - 1)
        index = torch.arange(len(path))[:, None], leg.long()
        start, end = path[index], path[index[0], index[1] + 1]
        points = start + (share * legs - leg)[..., None] * (end - start)
        rows = state[:, None].expand(share.shape).reshape(-1)
        return surface.values(rows, points.flatten(0, 1)).reshape(share.shape)

    shares = (torch.arange(1, inner + 1, dtype=path.dtype) / (inner + 1)).expand(len(path), -1)
    low, where = at(shares).min(-1)
    lowest = shares.gather(1, where[:, None]).squeeze(1)
    # A low peak at the foot of a high one: the way up shows no dip but right beside the peak.
    beside = torch.where(lower == 0, 0.75, inner + 0.25).to(path) / (inner + 1)
    lowest = torch.where(low > known, beside, lowest)
    low = torch.minimum(low, known)
    around = torch.tensor([-3.0, -2, -1, 1, 2, 3], dtype=path.dtype) / (inner + 1)
    for look in range(1, looks + 1):
        nearby = (lowest[:, None] + around / 4**look).clamp(0, 1)
        finer, where = at(nearby).min(-1)
        lowest = torch.where(finer < low, nearby.gather(1, where[:, None]).squeeze(1), lowest)
        low = torch.minimum(low, finer)
    return low


def spanning(pairs: Tensor, height: Tensor, vertices: int) -> Tensor:
    """Which edges make the maximum spanning forest of heights; no other edge is on a maximin path."""
    if len(pairs) == 0:
        return pairs.new_zeros(0)
    ends = pairs.numpy()
    # Ranks in place of heights: csgraph drops weights of zero and adds up nothing here.
    rank = torch.argsort(torch.argsort(height, descending=True, stable=True)) + 1
    shape = (vertices, vertices)
    tree = minimum_spanning_tree(coo_matrix((rank.double().numpy(), (ends[:, 0], ends[:, 1])), shape=shape))
    chosen = torch.from_numpy(np.sort(tree.data).astype(np.int64)) - 1
    return torch.argsort(height, descending=True, stable=True)[chosen]


def promising(value: Tensor, pairs: Tensor, height: Tensor, vertices: int, each: int = 2) -> Tensor:
    """Edges that deserve a bent path: the maximum spanning forest, and every row's ``each`` highest to a higher row."""
    lower = torch.where(value[pairs[:, 0]] < value[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    order = torch.argsort(height, descending=True, stable=True)
    order = order[torch.argsort(lower[order], stable=True)]
    counts = torch.bincount(lower, minlength=vertices)
    rank = torch.arange(len(order)) - (counts.cumsum(0) - counts)[lower[order]]
    chosen: Tensor = torch.cat([spanning(pairs, height, vertices), order[rank < each]]).unique()
    return chosen


def elder(state: Tensor, value: Tensor, pairs: Tensor, height: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor]:
    """The merge tree of all states at once.

    Args:
        state: state of each row, [N].
        value: Q at each row, [N].
        pairs: edges of a spanning forest by descending height, [E, 2]; each within one state.
        height: lowest value along each edge, [E].
        tolerance: per state, [S]; a peak whose persistence is not above it is part of the peak it meets.

    Returns:
        For every row the peak it belongs to [N], and every row's persistence [N], float64: its height over the best
        known pass to a higher row, infinite where there is none.
    """
    values, allowed = value.double().tolist(), tolerance.double()[state].tolist()
    persistence = [float("inf")] * len(values)
    root, peak = list(range(len(values))), list(range(len(values)))

    def find(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    for (i, j), pass_ in zip(pairs.tolist(), height.double().tolist(), strict=True):
        a, b = find(i), find(j)
        if values[a] < values[b]:
            a, b = b, a
        root[b] = a
        persistence[b] = values[b] - pass_
        if persistence[b] <= allowed[b]:
            peak[b] = a
    # A row merges into a higher one only, so that going down the values once resolves every chain.
    for row in sorted(range(len(values)), key=values.__getitem__, reverse=True):
        peak[row] = peak[peak[row]]
    return torch.tensor(peak), torch.tensor(persistence, dtype=torch.float64)
