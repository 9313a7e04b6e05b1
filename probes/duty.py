"""How busy the background process may be: what it takes from training, it takes through what the cores share."""

from __future__ import annotations

import time
from collections.abc import Callable

#: What a process that is always busy on another core adds to the time of training beside it, as a share. Measured on
#: two cores, with two layers of 256 units: 2 to 4 % beside the probes of ``standard``, 2 to 7 % beside matrix products.
CONTENTION = 0.03


def limit(share: float | None, cores: int) -> float:
    """Share of the time that the background process may be busy, for what it takes to be a share of wall time.

    What it takes is spread over the other cores: with four, a budget of 1 % lets it be busy all the time.

    Args:
        share: the budget; None for no limit.
        cores: that training and the background process run on.

    Example:
        >>> round(limit(0.01, cores=2), 2), limit(0.01, cores=4), limit(None, cores=2)
        (0.33, 1.0, 1.0)
    """
    return 1.0 if share is None else min(share / CONTENTION * max(cores - 1, 1), 1.0)


class Duty:
    """Keeps a background process from being busy for more than a share of the time.

    While there is time left anyone may have it. After a long measurement there is none for a while; then only those
    go on that keep to an equal part of the share each, so that a simulation of a minute does not stop the cheap ones.
    In the long run the process is busy for the share, and for the measurement in flight.

    Args:
        share: of the time.
        probes: how many take turns.
        clock: seconds, monotonic; for tests.

    Example:
        >>> now = 0.0
        >>> duty = Duty(0.5, probes=2, clock=lambda: now)
        >>> now = 60.0
        >>> duty.charge("simulator", 60.0)
        >>> duty.allows("simulator"), duty.allows("field")
        (False, True)
        >>> now = 120.0
        >>> duty.allows("simulator")
        True
    """

    def __init__(self, share: float, probes: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.share = share
        self._each = share / max(probes, 1)
        self._clock = clock
        self._started = clock()
        self._busy: dict[str, float] = {}
        self._price: dict[str, float] = {}

    def allows(self, probe: str) -> bool:
        """Whether the probe may be measured now."""
        if self.share >= 1.0:
            return True
        elapsed = self._clock() - self._started
        if sum(self._busy.values()) <= self.share * elapsed:
            return True
        return self._busy.get(probe, 0.0) + self._price.get(probe, 0.0) <= self._each * elapsed

    def charge(self, probe: str, seconds: float) -> None:
        """Book how long the process was busy with a measurement."""
        self._busy[probe] = self._busy.get(probe, 0.0) + seconds
        self._price[probe] = seconds
