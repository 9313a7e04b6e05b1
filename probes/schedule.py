"""When a probe is due, what it let go by, and when it is stopped."""

from __future__ import annotations

from probes.probe import Probe

#: A probe that fails this often in a row is stopped.
MAX_FAILURES = 3


class Slot:
    """A probe and where it stands in its schedule.

    A measurement may come late, while it waits for its budget, but not so late that the next one is due: then it
    has been missed.

    Args:
        probe: the probe.

    Attributes:
        due: step since which the next measurement is due.
        stopped: why the probe is not tried any more; empty while it is.
        obstacle: why the measurement that is due has not been taken yet; empty when nothing is in its way.

    Example:
        >>> from probes.curvature import Curvature
        >>> slot = Slot(Curvature(every=100))
        >>> slot.waits(0), slot.missed(99), slot.missed(100), slot.missed(101)
        (True, False, True, False)
        >>> slot.taken(130)
        >>> slot.due, slot.waits(150)
        (200, False)
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.due = 0
        self.stopped = ""
        self.obstacle = ""
        self._waiting_since = 0
        self._failures = 0

    def waits(self, step: int) -> bool:
        """Whether a measurement is due at this step."""
        return not self.stopped and step >= self.due

    def taken(self, step: int) -> None:
        """A measurement was tried at this step."""
        self.obstacle = ""
        self.due = self._waiting_since = (step // self.probe.every + 1) * self.probe.every

    def missed(self, step: int) -> bool:
        """Whether the measurement waited for has now been missed; true once for each."""
        if step < self._waiting_since + self.probe.every:
            return False
        self._waiting_since = step // self.probe.every * self.probe.every
        return True

    def ended(self, failed: bool, message: str) -> bool:
        """A measurement has ended; whether the probe is stopped for it."""
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= MAX_FAILURES:
            self.stopped = f"stopped after {MAX_FAILURES} failures in a row: {message}"
        return bool(self.stopped)
