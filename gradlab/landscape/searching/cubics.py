"""Cubics through values and slopes: what Q is likely to be between two looks at it."""

from __future__ import annotations

import torch
from torch import Tensor

#: Places at which a cubic is looked up, as shares of its length.
PLACES = torch.linspace(0, 1, 17, dtype=torch.float64)[1:-1]


def cubics(start: Tensor, end: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Values [..., 15] at ``PLACES`` of the cubics with values ``start`` and ``end`` at 0 and 1 and slopes there.

    Args:
        start: value at 0, [...].
        end: value at 1, [...].
        first: slope at 0, per length of the whole, [...].
        last: slope at 1, [...].

    Example:
        >>> nought, one = torch.tensor(0.0), torch.tensor(1.0)
        >>> cubics(nought, one, nought, 3 * one)[7]  # of t³, in the middle
        tensor(0.1250)
    """
    t = PLACES.to(start)
    start, end, first, last = (part[..., None] for part in (start, end, first, last))
    curve: Tensor = start * (1 + 2 * t) * (1 - t) ** 2 + end * t**2 * (3 - 2 * t)
    return curve + first * t * (1 - t) ** 2 - last * t**2 * (1 - t)
