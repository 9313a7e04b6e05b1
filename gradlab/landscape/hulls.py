"""The shortest vector in the convex hull of a few gradients and the box's normal cone, for many hulls at once."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.landscape.ascent import feasible

#: Weight below which moving it further changes nothing.
_STILL = 1e-6


def shortest(vectors: Tensor, there: Tensor, point: Tensor, rounds: int = 40) -> Tensor:
    """The vector of least norm in the convex hull of each set of vectors, less what leaves the unit box, [N, p].

    min ‖P(Σ_k w_k v_k)‖ over the simplex, where P drops the components that leave the box at ``point``. Weight moves
    from the vertex that reaches furthest along the present vector to the one that reaches least, as far as surely
    makes it shorter (Mitchell, Demyanov and Malozemov, "Finding the point of a polyhedron closest to the origin", SIAM
    J. Control 12, 1974); stopping early gives a longer vector.

    Args:
        vectors: the vertices, [N, m, p].
        there: which of them count, [N, m]; at least one a set.
        point: where in the unit box, [N, p].
        rounds: moves of weight.

    Example:
        >>> vectors = torch.tensor([[[1.0, 1.0], [1.0, -1.0], [3.0, 0.0]]])
        >>> shortest(vectors, torch.ones(1, 3, dtype=torch.bool), torch.tensor([[0.5, 0.5]]))
        tensor([[1., 0.]])
        >>> shortest(vectors, torch.ones(1, 3, dtype=torch.bool), torch.tensor([[1.0, 0.5]]))
        tensor([[0., 0.]])
    """
    tiny = torch.finfo(vectors.dtype).tiny
    rows = torch.arange(len(vectors))
    first = vectors.norm(dim=-1).masked_fill(~there, torch.inf).argmin(-1)
    weight = torch.zeros_like(vectors[..., 0])
    weight[rows, first] = 1.0
    for _ in range(rounds):
        inside = feasible(point, (weight[..., None] * vectors).sum(-2))
        reach = (vectors @ inside[..., None]).squeeze(-1)
        to = reach.masked_fill(~there, torch.inf).argmin(-1)
        off = reach.masked_fill(weight <= 0, -torch.inf).argmax(-1)
        apart = (vectors[rows, to] - vectors[rows, off]).square().sum(-1).clamp_min(tiny)
        moved = ((reach[rows, off] - reach[rows, to]) / apart).clamp_min(0.0)
        moved = torch.minimum(moved, weight[rows, off])
        if not bool((moved > _STILL).any()):
            break
        weight[rows, to] += moved
        weight[rows, off] -= moved
    return feasible(point, (weight[..., None] * vectors).sum(-2))
