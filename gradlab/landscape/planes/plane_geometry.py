"""Geometry of planes that cut a box, many at once: frames from points, and the part of a plane that is inside."""

from __future__ import annotations

import torch
from torch import Tensor

#: Numbers held at a time while the corners of slices are found.
_ENTRIES = 4_000_000


def inward(drawn: Tensor, origin: Tensor, low: Tensor, high: Tensor, margin: float) -> Tensor:
    """Directions [S, k, p] turned inwards in the coordinates in which ``origin`` [S, p] is near a face of the box.

    Args:
        drawn: the directions.
        origin: where they start.
        low: lower corner of the box, [p].
        high: upper corner, [p].
        margin: what counts as near, as a share of the box's width.

    Example:
        >>> box = torch.zeros(2), torch.ones(2)
        >>> inward(torch.tensor([[[-3.0, -4.0]]]), torch.tensor([[0.0, 0.5]]), *box, 0.01).tolist()
        [[[3.0, -4.0]]]
    """
    width = high - low
    up = (origin - low <= margin * width)[:, None]
    down = (high - origin <= margin * width)[:, None]
    return torch.where(up, drawn.abs(), torch.where(down, -drawn.abs(), drawn))


def frame(toward: Tensor, drawn: Tensor, shortest: float) -> tuple[Tensor, Tensor]:
    """Orthonormal u, v [S, 2, p]: u along toward[:, 0], and toward[:, 1] in their plane at y ≥ 0.

    Args:
        toward: the vectors that determine the plane, [S, 2, p]; zero where there is none.
        drawn: what takes the place of a vector, or of its part across the other, not longer than ``shortest``;
            [S, 2, p], independent.
        shortest: that length.

    Returns:
        The directions, and whether each was determined, [S, 2].

    Example:
        >>> directions, determined = frame(torch.tensor([[[2.0, 0.0], [1.0, 1.0]]]), torch.eye(2)[None], 0.1)
        >>> directions.tolist(), determined.tolist()
        ([[[1.0, 0.0], [0.0, 1.0]]], [[True, True]])
    """
    first, second = toward.unbind(1)
    has_first, has_second = first.norm(dim=-1) > shortest, second.norm(dim=-1) > shortest
    # Without a first vector the second is v, and u is drawn across it, so that each axis keeps its meaning.
    base = torch.where(has_first[:, None], first, torch.where(has_second[:, None], second, drawn[:, 1]))
    base = base / base.norm(dim=-1, keepdim=True)
    rest = _across(second, base)
    across = has_first & (rest.norm(dim=-1) > shortest)
    other = torch.where(across[:, None], rest, _across(drawn[:, 0], base))
    # A direction drawn for y instead of x must not be the one that x took.
    other = torch.where((has_first & ~across)[:, None], _across(drawn[:, 1], base), other)
    other = _across(other / other.norm(dim=-1, keepdim=True), base)  # twice, for rounding
    other = other / other.norm(dim=-1, keepdim=True)
    u = torch.where(has_first[:, None], base, other)
    v = torch.where(has_first[:, None], other, base)
    determined = torch.stack([has_first, torch.where(has_first, across, has_second)], 1)
    return torch.stack([u, v], 1), determined


def _across(vector: Tensor, unit: Tensor) -> Tensor:
    """The part of ``vector`` orthogonal to ``unit``, per row."""
    return vector - (vector * unit).sum(-1, keepdim=True) * unit


def extent(origin: Tensor, directions: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The smallest rectangle [S, d, 2] of in-plane coordinates that holds the part of each plane inside the box.

    The box is 2p half-planes in a plane's coordinates; the rectangle is that of the corners, found among the
    crossings of all pairs of their edges. NaN where a plane misses the box.

    Args:
        origin: [S, p], float64.
        directions: orthonormal, [S, d, p], d of 1 or 2.
        low: lower corner of the box, [p].
        high: upper corner, [p].

    Example:
        >>> low, high = torch.full((2,), -1.0), torch.full((2,), 1.0)
        >>> diagonal = torch.tensor([[[1.0, 1.0], [-1.0, 1.0]]]).double() / 2**0.5
        >>> extent(torch.zeros(1, 2).double(), diagonal, low.double(), high.double()).mul(2**-0.5).round(decimals=3)
        tensor([[[-1.,  1.],
                 [-1.,  1.]]], dtype=torch.float64)
    """
    if directions.shape[1] == 1:
        return torch.stack([low - origin, high - origin], -1) / directions.mT
    edges = 2 * origin.shape[1]
    count = max(1, _ENTRIES // edges**3)
    parts = zip(origin.split(count), directions.split(count), strict=True)
    return torch.cat([_corners(o, d, low, high) for o, d in parts])


def _corners(origin: Tensor, directions: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``extent`` of planes, a chunk of them."""
    normal = directions.mT.repeat(1, 2, 1)  # [S, 2p, 2]: each edge is normal·(x, y) = offset
    offset = torch.cat([low - origin, high - origin], 1)
    one, two = torch.triu_indices(normal.shape[1], normal.shape[1], 1, device=origin.device)
    a, b = normal[:, one], normal[:, two]
    determinant = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    parallel = determinant.abs() < 1e-12
    safe = determinant.masked_fill(parallel, 1.0)
    c, d = offset[:, one], offset[:, two]
    crossing = torch.stack([c * b[..., 1] - d * a[..., 1], a[..., 0] * d - b[..., 0] * c], -1) / safe[..., None]
    reached = crossing @ directions + origin[:, None]  # actions at the crossings
    slack = 1e-9 * (high - low)
    held = ((reached >= low - slack) & (reached <= high + slack)).all(-1) & ~parallel
    least = crossing.masked_fill(~held[..., None], torch.inf).amin(1)
    most = crossing.masked_fill(~held[..., None], -torch.inf).amax(1)
    found = torch.stack([least, most], -1)
    return found.masked_fill(~torch.isfinite(found), torch.nan)
