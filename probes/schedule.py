"""At which training steps a probe is due."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable

from gradlab.arguments import shown, whole, whole_number
from gradlab.errors import GradlabError

#: A number of steps between two measurements, the steps themselves, or a function that is asked at every step.
Every = int | Iterable[int] | Callable[[int], object]


class Schedule(ABC):
    """At which training steps measurements fall due."""

    #: Whether ``confirms`` must be asked at every step, none passed over.
    asks = False

    @abstractmethod
    def after(self, step: int) -> float:
        """The step, later than this one, from which the next may be due; infinite when none is. −1 gives the first."""

    @abstractmethod
    def latest(self, step: int) -> int:
        """The last step up to this one at which one fell due."""

    def confirms(self, step: int) -> bool:
        """Whether one is really due at a step from which it may be."""
        return True


class Periodic(Schedule):
    """Every so many steps, beginning with the first.

    Example:
        >>> Periodic(100).after(130), Periodic(100).latest(130)
        (200, 100)
    """

    def __init__(self, every: int) -> None:
        self._every = every

    def after(self, step: int) -> float:
        """The next multiple."""
        return (step // self._every + 1) * self._every

    def latest(self, step: int) -> int:
        """The last multiple."""
        return step // self._every * self._every


class Chosen(Schedule):
    """At chosen steps.

    Example:
        >>> Chosen([1000, 10]).after(10), Chosen([1000, 10]).after(1000)
        (1000, inf)
    """

    def __init__(self, steps: Iterable[int]) -> None:
        self._steps = sorted(steps)

    def after(self, step: int) -> float:
        """The next of the steps."""
        place = bisect_right(self._steps, step)
        return self._steps[place] if place < len(self._steps) else math.inf

    def latest(self, step: int) -> int:
        """The last of them."""
        return self._steps[max(bisect_right(self._steps, step) - 1, 0)]


class Asked(Schedule):
    """Whenever a function of the step says so.

    Example:
        >>> [step for step in range(9) if Asked(lambda step: step in (2, 3, 5)).confirms(step)]
        [2, 3, 5]
    """

    asks = True

    def __init__(self, due: Callable[[int], object]) -> None:
        self._due = due

    def after(self, step: int) -> float:
        """The next step, when it is to be asked again."""
        return step + 1

    def latest(self, step: int) -> int:
        """This step."""
        return step

    def confirms(self, step: int) -> bool:
        """What the function says."""
        return bool(self._due(step))


def checked_every(every: Every, name: str) -> Every:
    """``every`` as a schedule can be made of it: a number, a list of numbers or a function.

    Args:
        every: what was given.
        name: whose it is, for the message.

    Raises:
        GradlabError: it is none of these.

    Example:
        >>> checked_every([0.5], "probe field")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: probe field: every: [0.5]; give steps of 0 and more, each a whole number
    """
    if callable(every):
        return every
    # A tensor of one number cannot be gone through, although it looks as if it could.
    if isinstance(every, Iterable) and not isinstance(every, str | bytes) and getattr(every, "ndim", None) != 0:
        steps = list(every)
        if not steps or not all(whole(step, 0) for step in steps):
            raise GradlabError(f"{name}: every: {shown(steps)}; give steps of 0 and more, each a whole number")
        return [int(step) for step in steps]
    return whole_number(f"{name}: every", every, 1)


def schedule_of(every: Every) -> Schedule:
    """The schedule that a probe's checked ``every`` means."""
    if callable(every):
        return Asked(every)
    return Periodic(every) if isinstance(every, int) else Chosen(every)


def words(every: Every) -> int | list[int] | str:
    """``every`` as a plain value that says what it is.

    Example:
        >>> words(100), words([0, 10])
        (100, [0, 10])
    """
    if callable(every):
        return f"when {getattr(every, '__qualname__', type(every).__qualname__)} says so"
    return every if isinstance(every, int) else list(every)
