"""Checks of the numbers that a world is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.errors import GradlabError


def check_finite(world: str, **parts: Any) -> None:
    """Refuses NaN and infinite numbers, saying how many there are and where.

    Args:
        world: its name, for the message.
        parts: numbers or tensors by their names.

    Raises:
        GradlabError: a number is NaN or infinite.

    Example:
        >>> check_finite("step", mean=[0.0, 1.0], std=1.0)
    """
    for name, part in parts.items():
        numbers = torch.as_tensor(part, dtype=torch.float64)
        bad = ~torch.isfinite(numbers)
        if bool(bad.any()):
            where = "" if numbers.ndim == 0 else f" {int(bad.sum())} time(s), first at {bad.nonzero()[0].tolist()}"
            raise GradlabError(f"{world}: {name} is NaN or infinite{where}; give finite numbers")


def vectors(world: str, name: str, value: Any, size: int) -> Tensor:
    """States or actions as the world computes with them: float64 of shape [..., size].

    Args:
        world: its name, for the message.
        name: what the vectors are, for the message.
        value: a tensor of any dtype (differentiated through), an array, a list, or a number where the size is one.
        size: coordinates of one vector.

    Raises:
        GradlabError: the last axis is of another size.

    Example:
        >>> vectors("linear-quadratic", "act", 0.5, 1)
        tensor([0.5000], dtype=torch.float64)
    """
    out = torch.as_tensor(value, dtype=torch.float64)
    out = out.reshape(1) if out.ndim == 0 else out
    if out.shape[-1] != size:
        raise GradlabError(f"{world}: {name} is {tuple(out.shape)}; it must be [..., {size}]")
    return out


def check_horizon(world: str, horizon: int | None) -> None:
    """Refuses a horizon that is not a whole number of steps; None is infinite.

    Raises:
        GradlabError: it is below 1, or not whole.

    Example:
        >>> check_horizon("tabular", 10)
    """
    if horizon is not None and (horizon != int(horizon) or horizon < 1):
        raise GradlabError(f"{world}: horizon is {horizon}; it must be a whole number from 1, or None")


def no_mixed(obs: Any, act: Tensor) -> Tensor:
    """Second derivatives by action and state of a Q that has no term with both: zeros [..., p, n], float64.

    Example:
        >>> no_mixed(torch.ones(3, 4), torch.ones(3, 2)).shape
        torch.Size([3, 2, 4])
    """
    shape = torch.as_tensor(obs).shape
    return torch.zeros(*act.shape, shape[-1] if shape else 1, dtype=torch.float64)
