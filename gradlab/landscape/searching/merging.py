"""Which candidates are one optimum, and how high each optimum stands over the pass to a higher one.

Candidates are the vertices of a graph. An edge is a path; its height is the lowest value met along it. The
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

#: Entries of a pairwise distance table held at once.
PAIRS = 1 << 22
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
    wide = min(most, max(1, PAIRS // most))
    block = max(1, PAIRS // (most * wide))
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
