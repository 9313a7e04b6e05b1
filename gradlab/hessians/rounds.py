"""Random probes drawn in rounds, until the standard error is as small as wanted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from gradlab.arguments import one_of, real_number, switch, whole_number
from gradlab.errors import GradlabError

#: Laws of the probing vectors v; both have E vvᵀ = I.
Probes = Literal["rademacher", "gaussian"]
#: Whose standard error is to be small: every state's, or that of the mean over the states.
Each = Literal["state", "mean"]

#: With fewer probes a standard error is too uncertain to stop by: from 32, 95 % intervals of skewed forms vᵀHv hold
#: the truth in 88 % of simulations; from 64, in 92.5 to 96 %.
LEAST = 64
#: Numbers that a block of probing vectors may hold (32 MB in float64).
_NUMBERS = 2**22


@dataclass(frozen=True)
class Wanted:
    """When to stop.

    Attributes:
        first: probes in the first round; later rounds double their number.
        error: the standard error wanted; None to stop after the first round.
        relative: whether the error is a share of the estimate's magnitude.
        most: probes never exceeded.
        each: whose error it is.
    """

    first: int
    error: float | None = None
    relative: bool = False
    most: int = 4096
    each: Each = "state"

    def met(self, values: Tensor) -> bool:
        """Whether values [K, B] of K probes in B states have the error wanted."""
        assert self.error is not None
        numbers = values if self.each == "state" else values.mean(1, keepdim=True)
        size = numbers.mean(0).abs() if self.relative else torch.ones_like(numbers[0])
        return bool((standard_error(numbers) <= self.error * size).all())


def wanted(probes: int, error: float | None, relative: bool, most: int, each: str = "state") -> Wanted:
    """The same from what a caller gave.

    Raises:
        GradlabError: an argument is none of these, or fewer than 64 probes are to tell when to stop.
    """
    first = whole_number("probes", probes, 1)
    one_of("each", each, get_args(Each))
    relative = switch("relative", relative)
    if error is None:
        return Wanted(first)
    limit = whole_number("most", most, LEAST)
    if not LEAST <= first <= limit:
        raise GradlabError(
            f"probes: {first}; to stop by an error give {LEAST} to most={limit}, enough to tell a standard error"
        )
    named: Each = "state" if each == "state" else "mean"
    return Wanted(first, real_number("error", error, above=0.0), relative, limit, named)


def in_rounds(draw: Callable[[int], Tensor], want: Wanted) -> tuple[Tensor, bool | None]:
    """Values of independent probes, and whether the error wanted was reached.

    Looking at every probe would stop where the error happens to be underestimated; rounds that double the number look
    at most log₂(most/first) times, from 64 probes on.

    Args:
        draw: number of probes K → values [K, B].
        want: when to stop.

    Returns:
        Values [K, B]; whether the error was reached, None where none is wanted.
    """
    values = draw(want.first)
    if want.error is None:
        return values, None
    while not want.met(values):
        more = min(len(values), want.most - len(values))
        if more == 0:
            return values, False
        values = torch.cat([values, draw(more)])
    return values, True


def standard_error(values: Tensor) -> Tensor:
    """Of means of K independent values [K, ...] → [...]; NaN where K is one."""
    count = len(values)
    return values.std(0) / math.sqrt(count) if count > 1 else torch.full_like(values[0], math.nan)


def blocks(count: int, states: int, size: int) -> list[int]:
    """Numbers of vectors to draw at a time, in all ``count``, so that a block stays near 32 MB.

    Example:
        >>> blocks(5, 1, 3), blocks(3, 2**20, 2)
        ([5], [2, 1])
    """
    most = max(1, _NUMBERS // max(states * size, 1))
    return [min(most, count - start) for start in range(0, count, most)]


def probing_vectors(kind: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Independent coordinates of mean zero and variance one, float64."""
    if kind == "gaussian":
        return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
    return torch.randint(0, 2, shape, generator=generator, device=generator.device).double() * 2 - 1


def check_kind(kind: str) -> None:
    """Refuse a law of probing vectors that is none.

    Raises:
        GradlabError: it is so.
    """
    one_of("kind", kind, get_args(Probes))
