"""A probe and where it stands in its schedule: what it let go by, and when it is stopped."""

from __future__ import annotations

import math

from probes.probe import Probe
from probes.schedule import schedule_of

#: A probe that fails this often in a row is stopped.
MAX_FAILURES = 3


class Slot:
    """A probe and where it stands in its schedule.

    A measurement may come late, while it waits for its budget, but not so late that the next one is due: then it
    has been missed.

    Args:
        probe: the probe.

    Attributes:
        due: step since which the next measurement is or may be due.
        stopped: why the probe is not tried any more; empty while it is.
        obstacle: why the measurement that is due has not been taken yet; empty when nothing is in its way.
        inline: why a probe of the background is measured in the training process; empty while it is not.

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
        self._schedule = schedule_of(probe.every)
        self.due = self._schedule.after(-1)
        self.stopped = ""
        self.obstacle = ""
        self.inline = ""
        self._waiting_since: int | None = None
        self._failures = 0

    def wakes(self, step: int) -> float:
        """The next step at which the training run must be looked at for this probe."""
        if self.stopped:
            return math.inf
        return step + 1 if self._schedule.asks else self.due if self.due > step else math.inf

    @property
    def background(self) -> bool:
        """Whether it is measured in a process of its own."""
        return self.probe.background and not self.inline

    def waits(self, step: int) -> bool:
        """Whether a measurement is due at this step."""
        if self.stopped or step < self.due:
            return False
        if self._waiting_since is None:
            if not self._schedule.confirms(step):
                self.due = self._schedule.after(step)
                return False
            self._waiting_since = self._schedule.latest(step)
        return True

    def taken(self, step: int) -> None:
        """A measurement was tried at this step."""
        self.obstacle = ""
        self.due = self._schedule.after(step)
        self._waiting_since = None

    def missed(self, step: int) -> bool:
        """Whether the measurement waited for has now been missed; true once for each."""
        since = self._waiting_since
        if since is None or step < self._schedule.after(since) or not self._schedule.confirms(step):
            return False
        self._waiting_since = self._schedule.latest(step)
        return True

    def ended(self, failed: bool, message: str) -> bool:
        """A measurement has ended; whether the probe is stopped for it."""
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= MAX_FAILURES:
            self.stopped = f"stopped after {MAX_FAILURES} failures in a row: {message}"
        return bool(self.stopped)
