"""Checks of arguments: each takes what the caller gave, and gives it back as what it must be or says what is wrong."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from torch import Tensor

Told = TypeVar("Told", bound=Callable[..., Any] | None)


def shown(value: Any) -> str:
    """A value on one line of a message, cut where it is long.

    Example:
        >>> shown(None), shown("a")
        ('None', "'a'")
    """
    line = " ".join(repr(value).split())
    return line if len(line) <= 60 else line[:59] + "…"


def whole(value: Any, least: int) -> bool:
    """Whether a value is a whole number from ``least``; true and false are none.

    Example:
        >>> whole(2.0, 1), whole(2.5, 1), whole("a", 1), whole(float("inf"), 1), whole(True, 1)
        (True, False, False, False, False)
    """
    if isinstance(value, (bool, np.bool_)):
        return False
    try:
        return bool(value == int(value) and value >= least)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return False


def whole_number(name: str, value: Any, least: int, why: str = "") -> int:
    """A whole number of at least ``least``: an int, or a number of NumPy's or PyTorch's that is whole.

    Args:
        name: the argument's, for the message.
        value: what was given.
        least: the least that will do.
        why: what is said of it, instead of what will do.

    Raises:
        GradlabError: it is less, not whole, or no number.

    Example:
        >>> import torch
        >>> whole_number("horizon", torch.tensor(3), 1), whole_number("horizon", 3.0, 1)
        (3, 3)
        >>> whole_number("horizon", 2.5, 1)
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: horizon: 2.5; give a whole number from 1
    """
    if not whole(value, least):
        _refuse(name, value, f"give a whole number from {least}", why)
    return int(value)


def real_number(name: str, value: Any, least: float = -math.inf, why: str = "", *, above: float | None = None) -> float:
    """A finite number of at least ``least``, and above ``above`` where that is given.

    Args:
        name: the argument's, for the message.
        value: what was given.
        least: the least that will do.
        why: what is said of it, instead of what will do.
        above: what it must be more than.

    Raises:
        GradlabError: it is less, NaN or infinite, or no number.

    Example:
        >>> round(real_number("radius", np.float32(0.25), above=0.0), 3)
        0.25
        >>> real_number("tolerance", float("nan"), 0.0)
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: tolerance: nan; give a finite number from 0
    """
    bounds = f" above {above:g}" if above is not None else f" from {least:g}" if math.isfinite(least) else ""
    found = _float(value)
    if not (math.isfinite(found) and found >= least) or (above is not None and found <= above):
        _refuse(name, value, f"give a finite number{bounds}", why)
    return found


def time_allowed(name: str, value: Any) -> float | None:
    """Seconds, not negative; None, or infinity, is no limit.

    Raises:
        GradlabError: it is negative, NaN or no number.

    Example:
        >>> time_allowed("seconds", 5), time_allowed("seconds", None)
        (5.0, None)
    """
    found = math.inf if value is None else _float(value)
    if not found >= 0:
        _refuse(name, value, "give a time that is not negative, or None for no limit")
    return None if value is None else found


def switch(name: str, value: Any) -> bool:
    """True or False: a word such as "no" would count as true.

    Raises:
        GradlabError: it is something else.

    Example:
        >>> switch("entropy", "no")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: entropy: 'no'; give True or False
    """
    if not isinstance(value, (bool, np.bool_)):
        _refuse(name, value, "give True or False")
    return bool(value)


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of some words.

    Raises:
        GradlabError: it is none of them.

    Example:
        >>> one_of("kind", "gaussian", ("rademacher", "gaussian"))
        'gaussian'
    """
    words = list(choices)
    # An array would be compared entry by entry.
    if not isinstance(value, str) or value not in words:
        _refuse(name, value, f"choose {' or '.join(map(repr, words))}")
    return value


def step_sizes(value: Any, default: Sequence[float]) -> tuple[float, ...]:
    """At least two decreasing step sizes between 0 and 0.25; None is the default.

    Raises:
        GradlabError: they are not.

    Example:
        >>> step_sizes([1e-4, 1e-5], (1e-3, 1e-4)), step_sizes(None, (1e-3, 1e-4))
        ((0.0001, 1e-05), (0.001, 0.0001))
    """
    given = default if value is None else value
    found = [_float(each) for each in given] if isinstance(given, Iterable) and not isinstance(given, str) else []
    if len(found) < 2 or not all(a > b for a, b in pairwise(found)) or not 0 < found[-1] < found[0] < 0.25:
        _refuse("steps", given, "give at least two, decreasing, between 0 and 0.25")
    return tuple(found)


def real_tensor(name: str, value: Any) -> Tensor:
    """Real numbers as a tensor: one is left as it is, an array or lists of one length become float64.

    Raises:
        GradlabError: they are complex, or no numbers.

    Example:
        >>> import torch
        >>> real_tensor("actions", [[0, 1]]), real_tensor("actions", torch.ones(1)).dtype
        (tensor([[0., 1.]], dtype=torch.float64), torch.float32)
    """
    # Checks of other arguments serve the store and the dashboard, too, which have no use for torch.
    import torch

    advice = "give real numbers: a tensor, an array, or lists of one length"
    if isinstance(value, torch.Tensor):
        found = value
    else:
        try:
            found = torch.as_tensor(np.asarray(value))
        except (TypeError, ValueError, RuntimeError):
            _refuse(name, value, advice)
        found = found if found.is_complex() else found.double()
    if found.is_complex() or found.layout != torch.strided:
        raise GradlabError(f"{name}: the numbers are {'complex' if found.is_complex() else 'sparse'}; {advice}")
    return found


def file_path(name: str, value: Any) -> str | os.PathLike[str] | None:
    """The path of a file, or None.

    Raises:
        GradlabError: it is something else, or empty.

    Example:
        >>> file_path("resume", "a.rollouts"), file_path("resume", None)
        ('a.rollouts', None)
    """
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        _refuse(name, value, "name a file, or None for none")
    return value


def listener(name: str, value: Told) -> Told:
    """A function that is told of something, or None.

    Raises:
        GradlabError: it cannot be called.

    Example:
        >>> listener("progress", None)
    """
    if value is not None and not callable(value):
        _refuse(name, value, "give a function, or None")
    return value


def _float(value: Any) -> float:
    """The number, or NaN where it is none; digits in a string are none."""
    if isinstance(value, (str, bytes, bool, np.bool_)):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan


def _refuse(name: str, value: Any, advice: str, why: str = "") -> NoReturn:
    joint = "" if not why else ", " if why.startswith("or ") else ": "
    raise GradlabError(f"{name}: {shown(value)}; {advice}{joint}{why}")
