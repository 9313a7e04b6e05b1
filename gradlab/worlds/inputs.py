"""Checks of the numbers that a world is made of."""

from __future__ import annotations

from typing import Any

import torch

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
