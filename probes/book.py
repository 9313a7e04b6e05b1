"""Book: what a monitor has done, counted, and written into its run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import RunWriter, Store
from gradlab.store.records import MeasurementStatus, RunStatus, Where
from probes.mirror import Mirror
from probes.outbox import Outbox

#: Seconds a store is given at the end to take the last records; one that is busy is waited for ten.
_FLUSH = 15.0


class Book:
    """Counts measurements and writes them, in order, without ever waiting for the store.

    Args:
        store: the store, which it closes in the end.
        run: the run in it.
        mirror: where the numbers go, too.

    Attributes:
        run: the run.
    """

    def __init__(self, store: Store, run: RunWriter, mirror: Mirror | None = None) -> None:
        self.run = run
        self._mirror = mirror
        self._store = store
        self._outbox = Outbox()
        self._counts: dict[MeasurementStatus, Counter[str]] = {
            "ok": Counter(),
            "skipped": Counter(),
            "failed": Counter(),
        }

    def enter(
        self,
        step: int,
        probe: str,
        measurement: Measurement | None = None,
        *,
        where: Where,
        status: MeasurementStatus,
        message: str = "",
        cost: float = 0.0,
    ) -> None:
        """Count one measurement and write it."""
        self.count(step, probe, status, {} if measurement is None else measurement.scalars)
        self._outbox.put(
            lambda: self.run.record(step, probe, measurement, where=where, status=status, message=message, cost=cost)
        )

    def count(self, step: int, probe: str, status: MeasurementStatus, scalars: Mapping[str, Estimate]) -> None:
        """Count one that something else has written."""
        self._counts[status][probe] += 1
        if self._mirror is not None:
            self._mirror.pass_on(step, probe, scalars)

    def counted(self, status: MeasurementStatus) -> dict[str, int]:
        """How many measurements have ended so, by probe."""
        return dict(self._counts[status])

    def alive(self, step: int) -> None:
        """Write that training goes on, at this step."""
        self._outbox.put(lambda: self.run.heartbeat(step))

    def close(self, step: int, status: RunStatus, message: str) -> None:
        """Write that the run has ended, and let go of the store."""
        self.alive(step)
        self._outbox.put(lambda: self.run.finish(status, message))
        self._outbox.close(_FLUSH)
        self._store.close()
        if self._mirror is not None:
            self._mirror.close()

    @property
    def lost(self) -> int:
        """Records the store did not take."""
        return self._outbox.lost

    @property
    def seconds(self) -> float:
        """Time that writing has taken from its own process."""
        return self._outbox.seconds + (0.0 if self._mirror is None else self._mirror.seconds)
