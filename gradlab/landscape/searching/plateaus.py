"""Plateaus: where Q is level in every direction, so that there is no maximum."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.landscape.surface import Surface


def level(surface: Surface, state: Tensor, point: Tensor, value: Tensor, *, radius: float, rounding: Tensor) -> Tensor:
    """Which rows lie inside a plateau, [N]: no poll at ``radius`` along any axis differs by more than rounding."""
    size = point.shape[1]
    eye = torch.eye(size, dtype=point.dtype)
    polls = (point[:, None] + radius * torch.cat([eye, -eye])).clamp(0, 1)
    rows = state[:, None].expand(-1, 2 * size).reshape(-1)
    values = surface.values(rows, polls.flatten(0, 1)).reshape(len(point), 2 * size)
    return (values - value[:, None]).abs().amax(-1) <= rounding
