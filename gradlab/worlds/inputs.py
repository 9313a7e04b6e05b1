"""Checks of the numbers that a world is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.arguments import shown, whole
from gradlab.errors import GradlabError


def check_finite(world: str, **parts: Any) -> None:
    """Refuses NaN and infinite numbers, saying how many there are and where.

    Args:
        world: its name, for the message.
        parts: numbers or tensors by their names.

    Raises:
        GradlabError: a number is NaN or infinite, or none.

    Example:
        >>> check_finite("step", mean=[0.0, 1.0], std=1.0)
    """
    for name, part in parts.items():
        numbers = as_numbers(world, name, part)
        bad = ~torch.isfinite(numbers)
        if bool(bad.any()):
            where = "" if numbers.ndim == 0 else f" {int(bad.sum())} time(s), first at {bad.nonzero()[0].tolist()}"
            raise GradlabError(f"{world}: {name} is NaN or infinite{where}; give finite numbers")


def as_numbers(world: str, name: str, value: Any) -> Tensor:
    """A world's argument as a float64 tensor; a tensor is differentiated through.

    Args:
        world: its name, for the message.
        name: the argument's, for the message.
        value: a tensor of any dtype, an array, nested lists of one length each, or a number.

    Raises:
        GradlabError: it is none of these: None, a string, or lists of different lengths.

    Example:
        >>> as_numbers("tabular", "r", [[1, 0], [0, 2]])
        tensor([[1., 0.],
                [0., 2.]], dtype=torch.float64)
    """
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise GradlabError(
            f"{world}: {name} is {shown(value)}; give numbers: a tensor, an array, or lists of one length"
        ) from None


def vectors(world: str, name: str, value: Any, size: int) -> Tensor:
    """States or actions as the world computes with them: float64 of shape [..., size].

    Args:
        world: its name, for the message.
        name: what the vectors are, for the message.
        value: a tensor of any dtype (differentiated through), an array, a list, or a number where the size is one.
        size: coordinates of one vector.

    Raises:
        GradlabError: the last axis is of another size, or they are no numbers.

    Example:
        >>> vectors("linear-quadratic", "act", 0.5, 1)
        tensor([0.5000], dtype=torch.float64)
    """
    out = as_numbers(world, name, value)
    out = out.reshape(1) if out.ndim == 0 else out
    if out.shape[-1] != size:
        raise GradlabError(f"{world}: {name} is {tuple(out.shape)}; it must be [..., {size}]")
    return out


def number(world: str, name: str, value: Any) -> float:
    """A single number of a world.

    Raises:
        GradlabError: it is none.

    Example:
        >>> number("tabular", "gamma", 1)
        1.0
    """
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise GradlabError(f"{world}: {name} is {shown(value)}; give a number") from None


def check_horizon(world: str, horizon: int | None) -> None:
    """Refuses a horizon that is not a whole number of steps; None is infinite.

    Raises:
        GradlabError: it is below 1, or not whole.

    Example:
        >>> check_horizon("tabular", 10)
    """
    if horizon is not None and not whole(horizon, 1):
        raise GradlabError(f"{world}: horizon is {shown(horizon)}; it must be a whole number from 1, or None")


def check_step(world: str, step: int, horizon: int | None, *, acting: bool = False) -> None:
    """Refuses a step at which there is no value; every one has one where the horizon is infinite.

    Args:
        world: its name, for the message.
        step: the step.
        horizon: number T of rewards, or None.
        acting: whether an action is to be taken there, so that it must lie before the horizon.

    Raises:
        GradlabError: it is not one of 0 … T, or of 0 … T − 1 where an action is taken.

    Example:
        >>> check_step("tabular", 3, 4, acting=True)
    """
    if horizon is None:
        return
    last = horizon - 1 if acting else horizon
    if not whole(step, 0) or step > last:
        raise GradlabError(f"{world}: step {shown(step)} is outside 0 … {last}; the horizon is {horizon}")


def no_mixed(obs: Any, act: Tensor) -> Tensor:
    """Second derivatives by action and state of a Q that has no term with both: zeros [..., p, n], float64.

    Example:
        >>> no_mixed(torch.ones(3, 4), torch.ones(3, 2)).shape
        torch.Size([3, 2, 4])
    """
    shape = torch.as_tensor(obs).shape
    return torch.zeros(*act.shape, shape[-1] if shape else 1, dtype=torch.float64)
