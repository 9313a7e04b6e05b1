"""The shortest vector in the convex hull of a few gradients and the box's normal cone, for many hulls at once."""

from __future__ import annotations

import numpy as np
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
    # In numpy, since most hulls are small and few, and a call to it takes a fraction of one to torch.
    v, absent, at = vectors.detach().numpy(), ~there.numpy(), point.detach().numpy()
    first = np.where(absent, np.inf, np.linalg.norm(v, axis=-1)).argmin(-1)
    weight = np.zeros(v.shape[:2], v.dtype)
    weight[np.arange(len(v)), first] = 1.0
    if begin is not None:
        given = begin.detach().numpy()
        weight = np.where((given > 0).any(-1, keepdims=True), given, weight)
    # What may still move at each place: not below 0 where that is the box's end, nor above 1.
    low, high = np.where(at <= 0, 0.0, -np.inf).astype(v.dtype), np.where(at >= 1, 0.0, np.inf).astype(v.dtype)
    tiny = np.finfo(v.dtype).tiny
    # Most hulls are done after a few moves; the others alone go on.
    left, w = np.arange(len(v)), weight.copy()
    for _ in range(rounds):
        rows = np.arange(len(v))
        inside = np.minimum(np.maximum((w[:, None] @ v)[:, 0], low), high)
        reach = (v @ inside[..., None])[..., 0]
        to = np.where(absent, np.inf, reach).argmin(-1)
        off = np.where(w > 0, reach, -np.inf).argmax(-1)
        apart = np.maximum(np.square(v[rows, to] - v[rows, off]).sum(-1), tiny)
        moved = np.minimum(np.maximum((reach[rows, off] - reach[rows, to]) / apart, 0.0), w[rows, off])
        going = moved > _STILL
        w[rows, to] += moved
        w[rows, off] -= moved
        count = np.count_nonzero(going)
        if 2 * count <= len(v):
            weight[left] = w
            if not count:
                break
            left, v, w, absent = left[going], v[going], w[going], absent[going]
            low, high = low[going], high[going]
    weight[left] = w
    return torch.from_numpy(weight)
