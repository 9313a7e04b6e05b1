"""The shortest vector in the convex hull of a few gradients, for many hulls at once."""

from __future__ import annotations

import torch
from torch import Tensor


def shortest(vectors: Tensor, there: Tensor, rounds: int = 40) -> Tensor:
    """The vector of least norm in the convex hull of each set of vectors, [N, p].

    Weight moves from the vertex that reaches furthest along the present vector to the one that reaches least, as far
    as makes the vector shortest (Mitchell, Demyanov and Malozemov, "Finding the point of a polyhedron closest to the
    origin", SIAM J. Control 12, 1974); it converges linearly, and stopping early gives a longer vector of the hull.

    Args:
        vectors: the vertices, [N, m, p].
        there: which of them count, [N, m]; at least one a set.
        rounds: moves of weight.

    Example:
        >>> shortest(torch.tensor([[[1.0, 1.0], [1.0, -1.0], [3.0, 0.0]]]), torch.ones(1, 3, dtype=torch.bool))
        tensor([[1., 0.]])
    """
    tiny = torch.finfo(vectors.dtype).tiny
    gram = vectors @ vectors.mT
    first = gram.diagonal(dim1=-2, dim2=-1).masked_fill(~there, torch.inf).argmin(-1, keepdim=True)
    weight = torch.zeros_like(gram[..., 0]).scatter_(-1, first, 1.0)
    rows = torch.arange(len(vectors))
    for _ in range(rounds):
        reach = (gram @ weight[..., None]).squeeze(-1)
        to = reach.masked_fill(~there, torch.inf).argmin(-1)
        off = reach.masked_fill(weight <= 0, -torch.inf).argmax(-1)
        apart = (gram[rows, to, to] + gram[rows, off, off] - 2 * gram[rows, to, off]).clamp_min(tiny)
        moved = ((reach[rows, off] - reach[rows, to]) / apart).clamp_min(0.0)
        moved = torch.minimum(moved, weight[rows, off])
        weight[rows, to] += moved
        weight[rows, off] -= moved
    return (weight[..., None] * vectors).sum(-2)
