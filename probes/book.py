"""Book: what has fallen due, what came of it, and whether the store has it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import RunWriter, Store
from gradlab.store.records import MeasurementStatus, RunStatus, Where
from gradlab.store.url import parse
from probes.entries import Beat, End, Record, new_token
from probes.mirror import Mirror
from probes.outbox import Outbox
from probes.sink import Sink
from probes.spool import Spool

#: Seconds a store is given at the end to take the last records; one that is busy is waited for ten.
_FLUSH = 15.0
_ENDED = "the run ended before it was measured"
#: Entries kept in memory for a store that is behind, or away while the spool is full.
MOST_WAITING = 256


@dataclass(frozen=True)
class Due:
    """A measurement that has fallen due, and of which nothing is known yet."""

    step: int
    probe: str
    where: Where


class Book:
    """Counts measurements and writes them, in order, without ever waiting for the store.

    Every measurement that falls due gets a token, is settled exactly once, and is then stored, waiting or lost.

    Args:
        store: the store, which the book closes in the end.
        run: the run in it.
        mirror: where the numbers go, too.

    Attributes:
        run: the run.
        identity: the store's.
    """

    def __init__(self, store: Store, run: RunWriter, mirror: Mirror | None = None) -> None:
        self.run = run
        self._mirror = mirror
        self.identity = store.identity
        self._due = 0
        self._open: dict[str, Due] = {}
        self._stored_elsewhere = self._lost_elsewhere = 0
        self._counts: dict[MeasurementStatus, Counter[str]] = {
            "ok": Counter(),
            "skipped": Counter(),
            "failed": Counter(),
        }
        self._counting = threading.Lock()
        sink = Sink(store.address, self.identity, run.id, store)
        location = parse(store.address)
        spool = Spool(self.identity, str(location.path or location.name))
        self._outbox = Outbox(sink, spool, kept=self._recount, limit=MOST_WAITING)

    def fall_due(self, step: int, probe: str, where: Where, token: str | None = None) -> str:
        """A measurement has fallen due; the token it is to be settled by, a new one unless given."""
        token = token or new_token()
        self._due += 1
        self._open[token] = Due(int(step), probe, where)
        return token

    def settle(
        self,
        token: str,
        measurement: Measurement | None = None,
        *,
        status: MeasurementStatus,
        message: str = "",
        traceback: str = "",
        cost: float = 0.0,
    ) -> None:
        """Count what came of a measurement, and write it; what has been settled already stays as it is."""
        due = self._open.pop(token, None)
        if due is None:
            return
        self._count(due, status, {} if measurement is None else measurement.scalars)
        self._outbox.put(
            Record(
                token,
                self.run.id,
                time.time(),
                due.step,
                due.probe,
                due.where,
                status,
                measurement,
                message,
                traceback,
                float(cost),
            )
        )

    def settle_written(
        self,
        token: str,
        status: MeasurementStatus,
        scalars: Mapping[str, Estimate],
        *,
        stored: bool,
        spooled: bool,
    ) -> None:
        """Count what came of a measurement that another process has written: into the store, the spool or nowhere."""
        due = self._open.pop(token, None)
        if due is None:
            return
        self._count(due, status, scalars if status == "ok" else {})
        if stored:
            self._stored_elsewhere += 1
        elif spooled:
            self._outbox.expect(token)
        else:
            self._lost_elsewhere += 1

    @property
    def unsettled(self) -> Mapping[str, Due]:
        """What has fallen due and is not settled, by token."""
        return dict(self._open)

    def alive(self, step: int) -> None:
        """Write that training goes on, at this step."""
        self._outbox.put(Beat(int(step)))

    def close(self, step: int | None, status: RunStatus, message: str) -> None:
        """Write that the run has ended, at this step if it is known, and let go of the store."""
        for token in self.unsettled:
            self.settle(token, status="skipped", message=_ENDED)
        if step is not None:
            self.alive(step)
        self._outbox.put(End(new_token(), self.run.id, time.time(), status, message))
        self._outbox.close(_FLUSH)
        if self._mirror is not None:
            self._mirror.close()

    def totals(self) -> dict[str, Any]:
        """The counts of a ``Status``, all of one moment."""
        with self._counting:
            stored, waiting, lost = self._outbox.fates()
            measured, skipped, failed = (dict(+self._counts[status]) for status in ("ok", "skipped", "failed"))
        return {
            "measured": measured,
            "skipped": skipped,
            "failed": failed,
            "due": self._due,
            "in_flight": len(self._open),
            "stored": stored + self._stored_elsewhere,
            "waiting": waiting,
            "lost": lost + self._lost_elsewhere,
        }

    @property
    def seconds(self) -> float:
        """Time that writing has taken from its own process."""
        return self._outbox.seconds + (0.0 if self._mirror is None else self._mirror.seconds)

    def _count(self, due: Due, status: MeasurementStatus, scalars: Mapping[str, Estimate]) -> None:
        with self._counting:
            self._counts[status][due.probe] += 1
        if self._mirror is not None:
            self._mirror.pass_on(due.step, due.probe, scalars)

    def _recount(self, record: Record, status: MeasurementStatus) -> None:
        """The store has a measurement under another status than it was counted by."""
        with self._counting:
            self._counts[record.status][record.probe] -= 1
            self._counts[status][record.probe] += 1
