"""What the probes may cost, and what they have cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from numbers import Real

from gradlab.arguments import shown
from gradlab.errors import GradlabError


class Budget:
    """A share of wall time that measurements in the training process may take.

    A price is not promised but measured: the running mean of what a probe has cost so far. The first
    measurement of a probe has no price yet and is let through when nothing is owed.

    Args:
        share: the share, 0.03 for 3 %; None for no limit.
        part: of the share that measurements in the training process may take, where something else takes the rest.
        clock: seconds, monotonic; for tests.

    Raises:
        GradlabError: the share is not one.

    Example:
        >>> now = 0.0
        >>> budget = Budget(0.1, clock=lambda: now)
        >>> budget.charge("field", 0.5)
        >>> now = 4.0
        >>> budget.allows("field")
        False
        >>> now = 10.0
        >>> budget.allows("field"), budget.share_spent
        (True, 0.05)
    """

    def __init__(
        self, share: float | None, part: float = 1.0, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        number = isinstance(share, Real) and not isinstance(share, bool)
        if share is not None and not (number and 0.0 < share <= 1.0):
            raise GradlabError(
                f"budget is {shown(share)}; give a share of wall time between 0 and 1, or None for no limit"
            )
        self.share = share
        self._part = part
        self.spent = 0.0
        self._clock = clock
        self._started = clock()
        self._price: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the budget was opened."""
        return self._clock() - self._started

    @property
    def share_spent(self) -> float:
        """Share of wall time spent so far."""
        return self.spent / max(self.elapsed, 1e-9)

    def allows(self, probe: str) -> bool:
        """Whether the probe's next measurement fits."""
        if self.share is None:
            return True
        return self.spent + self._price.get(probe, 0.0) <= self.share * self._part * self.elapsed

    def charge(self, probe: str, seconds: float) -> None:
        """Book what a measurement cost; its price follows the last few costs."""
        self.spent += seconds
        self._price[probe] = seconds if probe not in self._price else 0.5 * (self._price[probe] + seconds)
