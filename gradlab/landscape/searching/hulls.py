"""The shortest vector in the convex hull of a few gradients and the box's normal cone, for many hulls at once."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.landscape.searching.ascent import feasible

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
    return combined(vectors, weights(vectors, there, point, rounds=rounds), point)


def combined(vectors: Tensor, weight: Tensor, point: Tensor) -> Tensor:
    """The sum of vectors [N, m, p] with weights [N, m], less what leaves the unit box at ``point``, [N, p]."""
    return feasible(point, torch.bmm(weight[:, None], vectors).squeeze(1))


def weights(vectors: Tensor, there: Tensor, point: Tensor, begin: Tensor | None = None, *, rounds: int = 40) -> Tensor:
    """The vertices' weights in the shortest vector, [N, m].

    Args:
        vectors: as for ``shortest``, and so are ``there``, ``point`` and ``rounds``.
        there: which of them count.
        point: where in the unit box.
        begin: weights to begin from, [N, m], such as those before a vertex was added; a row of zeros begins with its
            shortest vertex.
        rounds: moves of weight.
    """
    tiny = torch.finfo(vectors.dtype).tiny
    first = vectors.norm(dim=-1).masked_fill(~there, torch.inf).argmin(-1)
    weight = torch.zeros_like(vectors[..., 0]).scatter(1, first[:, None], 1.0)
    if begin is not None:
        weight = torch.where((begin > 0).any(-1, keepdim=True), begin, weight)
    # Most hulls are done after a few moves; the others alone go on.
    left = torch.arange(len(vectors))
    v, w, at, absent = vectors, weight.clone(), point, ~there
    for _ in range(rounds):
        inside = combined(v, w, at)
        reach = torch.bmm(v, inside[..., None]).squeeze(-1)
        least, to = reach.masked_fill(absent, torch.inf).min(-1, keepdim=True)
        most, off = reach.masked_fill(w <= 0, -torch.inf).max(-1, keepdim=True)
        rows = torch.arange(len(v))[:, None]
        apart = (v[rows, to] - v[rows, off]).square().sum(-1).clamp_min(tiny)
        moved = torch.minimum(((most - least) / apart).clamp_min(0.0), w.gather(1, off))
        going = (moved > _STILL).squeeze(1)
        w.scatter_add_(1, to, moved).scatter_add_(1, off, -moved)
        count = int(going.sum())
        if 2 * count <= len(v):
            weight[left] = w
            if not count:
                break
            left, v, w, at, absent = left[going], v[going], w[going], at[going], absent[going]
    weight[left] = w
    return weight
