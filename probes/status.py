"""What a monitor has done so far."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Status:
    """What a monitor has done so far.

    Every measurement that fell due is counted once on each line, to the unit, at any moment between two steps and
    after the end (``balanced``)::

        due = measured + skipped + failed + in_flight
        measured + skipped + failed = stored + waiting + lost

    Attributes:
        step: the last training step it was told of.
        measured: measurements taken, by probe.
        skipped: measurements that fell due and were not taken, or whose gate was closed, by probe.
        failed: measurements that raised, by probe.
        cost: share of wall time spent in the training process.
        stopped: probes that were stopped, with the reason.
        left_out: probes that cannot measure this agent, with the reason.
        due: measurements that fell due.
        in_flight: those in the background process at this moment.
        stored: records the store has.
        waiting: records on their way to the store, in memory or in files that ``gradlab replay`` brings there.
        lost: records the store did not take, and for which there was no room to wait.

    Example:
        >>> Status(500, {"field": 2}, {}, {"gradient": 1}, 0.01, due=4, in_flight=1, stored=2, waiting=1).balanced
        True
    """

    step: int
    measured: dict[str, int]
    skipped: dict[str, int]
    failed: dict[str, int]
    cost: float
    stopped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    due: int = 0
    in_flight: int = 0
    stored: int = 0
    waiting: int = 0
    lost: int = 0

    @property
    def ended(self) -> int:
        """Measurements of which it is known what came of them."""
        return sum(sum(counts.values()) for counts in (self.measured, self.skipped, self.failed))

    @property
    def balanced(self) -> bool:
        """Whether no measurement is missing, and none counted twice."""
        return self.due == self.ended + self.in_flight and self.ended == self.stored + self.waiting + self.lost
