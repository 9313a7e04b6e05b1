"""How far parameters have moved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate


def change(before: Sequence[Tensor], now: Sequence[Tensor]) -> Estimate:
    """How far parameters have moved, as a share of their norm: ‖θ − θ₀‖ / ‖θ₀‖.

    There is nothing random in it, so that its interval has no width; n is 1.

    Args:
        before: the parameters θ₀ as they were.
        now: the same ones θ as they are.

    Raises:
        GradlabError: these are others.

    Example:
        >>> change([torch.tensor([3.0, 4.0])], [torch.tensor([3.0, 4.5])]).value
        0.1
        >>> change([torch.ones(2)], [torch.ones(2)]).interval()
        (0.0, 0.0)
    """
    if [one.shape for one in before] != [one.shape for one in now]:
        raise GradlabError("change: the parameters before and now have other shapes; give the same network's")
    norm = _norm(before)
    moved = _norm([b - a for a, b in zip(before, now, strict=True)])
    value = moved / norm if norm > 0 else math.nan
    return Estimate(value, 0.0, 1, "the measurement before", ends=(value, value))


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(torch.linalg.vector_norm(one, dtype=torch.float64)) ** 2 for one in tensors))


def parameters_of(parts: Sequence[object]) -> list[Tensor]:
    """The parameters of modules, or of methods of modules; none of what is neither.

    Example:
        >>> [one.shape for one in parameters_of([torch.nn.Linear(3, 2)])]
        [torch.Size([2, 3]), torch.Size([2])]
    """
    modules = [getattr(part, "__self__", part) for part in parts]
    return [
        parameter.detach()
        for module in modules
        if isinstance(module, torch.nn.Module)
        for parameter in module.parameters()
    ]
