"""What a reference may spend, what it has spent, and telling whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a reference has come.

    Attributes:
        fraction: share of the work that is done, 0 to 1; it never falls, and the last report says 1. Where it is
            limited by time or by rollouts it is the share of these.
        states: states asked for.
        states_begun: those with a rollout.
        rollouts: rollouts made, those of an interrupted run included.
        steps: environment steps simulated in them.
        seconds: time spent since the call.
        widest: largest relative standard error of a state whose gate is open; NaN where nothing is estimated.
    """

    fraction: float
    states: int
    states_begun: int
    rollouts: int
    steps: int
    seconds: float
    widest: float


#: Called after every block of rollouts.
Listener = Callable[[Progress], None]


class Spending:
    """Time and rollouts: what they may be, what a block of them costs, and whether another one can be paid for.

    Prices are not promised but measured, in this call, for each kind of work apart.

    Args:
        seconds: time allowed in this call; None is no limit.
        rollouts: rollouts allowed in all; None is no limit.
        clock: seconds, monotonic.

    Example:
        >>> now = [0.0]
        >>> spending = Spending(seconds=10.0, rollouts=None, clock=lambda: now[0])
        >>> now[0] = 4.0
        >>> spending.book("rollouts", 100, 4.0)
        >>> spending.affords({"rollouts": 100}), spending.affords({"rollouts": 200})
        (True, False)
    """

    def __init__(self, seconds: float | None, rollouts: int | None, clock: Callable[[], float]) -> None:
        self._limit = seconds
        self._most = rollouts
        self._clock = clock
        self._begun = clock()
        self._booked: dict[str, tuple[int, float]] = {}

    @property
    def seconds(self) -> float:
        """Seconds since the call began."""
        return self._clock() - self._begun

    def now(self) -> float:
        """The clock, for timing one block."""
        return self._clock()

    def exhausted(self, rollouts: int) -> bool:
        """Whether so many rollouts, those of an interrupted run included, are more than allowed."""
        return self._most is not None and rollouts > self._most

    def affords(self, amounts: Mapping[str, int]) -> bool:
        """Whether there is time for so much of each kind of work, in any unit that its cost is proportional to."""
        if self._limit is None:
            return True
        expected = 0.0
        for kind, amount in amounts.items():
            done, spent = self._booked.get(kind, (0, 0.0))
            expected += spent / done * amount if done else 0.0
        return self.seconds + expected <= self._limit

    def book(self, kind: str, amount: int, seconds: float) -> None:
        """Note what a block has cost."""
        done, spent = self._booked.get(kind, (0, 0.0))
        self._booked[kind] = (done + amount, spent + seconds)

    def share(self, rollouts: int) -> float:
        """The share of the tightest limit that is spent, 0 where there is none."""
        shares = [0.0]
        if self._limit is not None:
            shares.append(self.seconds / self._limit if self._limit > 0 else 1.0)
        if self._most is not None:
            shares.append(rollouts / self._most)
        return min(max(shares), 1.0)
