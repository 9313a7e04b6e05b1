"""Ridges: where Q is as high some way off, though a straight step in any direction leads down."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.landscape.searching import ascent
from gradlab.landscape.surface import Surface

#: Steps from every poll, and then from the two highest ends on two sides.
_FIRST, _THEN = 6, 40


def rotated_polls(point: Tensor, radius: float, seed: int) -> Tensor:
    """Points up and down the axes of a random rotation, another for every row, clipped to the unit box: [N, 2p, p]."""
    size = point.shape[1]
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(len(point), size, size, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(normal).Q.to(point)
    return (point[:, None] + radius * torch.cat([basis, -basis], 1)).clamp(0, 1)


def on_ridge(
    surface: Surface, state: Tensor, point: Tensor, value: Tensor, *, scale: float, least: Tensor, seed: int
) -> Tensor:
    """Which rows (state [N], point [N, p] in the unit box) ascent from around them ends as high as, some way off, [N].

    Ascent begins ``scale`` away along random axes, up and down. On a ridge it climbs back onto the ridge where it is,
    and at a top it comes back to it, or is still lower. The ridge may be bent: its chords lead down.

    Args:
        surface: the landscape.
        state: state index of each row.
        point: where each row is.
        value: Q there, [N].
        scale: how far away ascent begins; at half of it and further off, it has not come back.
        least: by how much an end is lower that is not as high, [N].
        seed: of the axes.

    Example:
        >>> def rings(state, act):
        ...     return -(act.norm(dim=-1) - 0.5).abs()
        >>> ring = Surface(rings, 1, -torch.ones(2).double(), torch.ones(2).double())
        >>> state, at, value = torch.zeros(1).long(), torch.tensor([[0.75, 0.5]]).double(), torch.zeros(1).double()
        >>> on_ridge(ring, state, at, value, scale=0.01, least=torch.full((1,), 1e-6), seed=0)
        tensor([True])
    """
    count, size = point.shape
    if count == 0 or size == 1:
        return torch.zeros(count, dtype=torch.bool)
    polls = rotated_polls(point, scale, seed)
    each = polls.shape[1]
    # Of p orthogonal axes one makes an angle with the ridge whose cosine is at least 1/√p.
    near = scale / (2 * size**0.5)
    climb = ascent.begin(surface, state.repeat_interleave(each), polls.flatten(0, 1), scale / 4)
    for _ in range(_FIRST):
        climb = ascent.advance(surface, climb, scale / 4)
    way = climb.point.reshape(count, each, size) - point[:, None]
    height = climb.value.reshape(count, each).masked_fill(way.norm(dim=-1) < near, -torch.inf)
    # The highest, and the highest on the other side of the row.
    one = height.argmax(1)
    behind = (way @ way[torch.arange(count), one][..., None]).squeeze(-1) < 0
    two = height.masked_fill(~behind, -torch.inf).argmax(1)
    climb = climb.take((torch.stack([one, two], 1) + each * torch.arange(count)[:, None]).flatten())
    for _ in range(_THEN):
        climb = ascent.advance(surface, climb, scale / 4)
    way = climb.point.reshape(count, 2, size) - point[:, None]
    rise = climb.value.reshape(count, 2) - value[:, None]
    as_high = (way.norm(dim=-1) >= near) & (rise >= -least[:, None])
    level = as_high & (rise <= least[:, None])
    either_side = as_high.all(1) & ((way[:, 0] * way[:, 1]).sum(-1) < 0)
    found: Tensor = level.any(1) | either_side
    return found
