"""Compass search: the last stretch to an optimum, without derivatives.

At a kink the gradient says nothing about how far the top is. Polling along a full set of directions, and halving
the radius when none is better, converges to a stationary point of any Lipschitz function when the sets of
directions are dense over the rounds (Audet and Dennis, "Mesh adaptive direct search algorithms for constrained
optimization", SIAM J. Optimization 17, 2006); a fresh random rotation in each round makes them so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.landscape.surface import Surface


def polish(
    surface: Surface, state: Tensor, point: Tensor, value: Tensor, *, radius: float, rounds: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Move every row (state [N], point [N, p], value [N]) to the best poll as long as that is better.

    Args:
        surface: the landscape.
        state: state index of each row.
        point: where each row is in the unit box.
        value: Q there.
        radius: first polling radius in the unit box; doubled after a success, halved after a failure.
        rounds: polls of 2p points each.
        seed: of the rotations.

    Returns:
        The points and values after polishing; a value is never lower than before.
    """
    generator = torch.Generator().manual_seed(seed)
    size = point.shape[1]
    reach = torch.full_like(value, radius)
    rows = state[:, None].expand(-1, 2 * size).reshape(-1)
    for step in range(rounds):
        basis = torch.eye(size, dtype=point.dtype)
        if step % 2 and size > 1:
            basis = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q.to(point)
        moves = torch.cat([basis, -basis])
        polls = (point[:, None] + reach[:, None, None] * moves).clamp(0, 1)
        values = surface.values(rows, polls.flatten(0, 1)).reshape(len(point), 2 * size)
        best, which = torch.nan_to_num(values, nan=-torch.inf).max(-1)
        better = best > value
        point = torch.where(better[:, None], polls[torch.arange(len(point)), which], point)
        value = torch.where(better, best, value)
        reach = torch.where(better, 2 * reach, reach / 2).clamp(max=radius)
    return point, value


def level(surface: Surface, state: Tensor, point: Tensor, value: Tensor, *, radius: float, rounding: Tensor) -> Tensor:
    """Which rows lie inside a plateau, [N]: no poll at ``radius`` along any axis differs by more than rounding."""
    size = point.shape[1]
    eye = torch.eye(size, dtype=point.dtype)
    polls = (point[:, None] + radius * torch.cat([eye, -eye])).clamp(0, 1)
    rows = state[:, None].expand(-1, 2 * size).reshape(-1)
    values = surface.values(rows, polls.flatten(0, 1)).reshape(len(point), 2 * size)
    return (values - value[:, None]).abs().amax(-1) <= rounding
