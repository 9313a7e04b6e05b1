"""Entries on their way to a store: in order, kept while the store is away, never waited for by training."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from gradlab.errors import first_line
from gradlab.store.entry import UnstorableError
from gradlab.store.records import MeasurementStatus
from probes.entries import Beat, End, Entry, Record
from probes.sink import Sink, StoreAwayError
from probes.spool import Spool

log = logging.getLogger("gradlab")

#: Seconds between the first two tries while the store is away; each pause is twice the one before.
_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
#: Seconds between two tries to put records into a spool that takes none.
_SPOOL_PAUSE = 5.0


class Outbox:
    """Writes in order, in a thread of its own; what the store does not take now is kept and tried again.

    While a store is away (locked, full, unmounted) records lie in files of the spool, and go to the store when it is
    back; a record that is itself at fault does not hold up the others.

    Args:
        sink: the store, which the outbox closes in the end.
        spool: where records wait for it.
        kept: called with a record and the status under which the store has it, where that is not the record's own.
        limit: entries in memory at most; beyond it the oldest records are given up.

    Attributes:
        stored: records the store has.
        lost: records given up.
        seconds: processor time the thread has used, which it takes from its own process.
    """

    def __init__(
        self,
        sink: Sink,
        spool: Spool,
        kept: Callable[[Record, MeasurementStatus], object] | None = None,
        limit: int = 256,
    ) -> None:
        self.limit = limit
        self.stored = 0
        self.lost = 0
        self.seconds = 0.0
        self._sink = sink
        self._spool = spool
        self._kept = kept
        self._queue: deque[Entry] = deque()
        self._written: Entry | None = None  # the first of the queue, while it is being written
        self._spooled: set[str] = set()  # tokens of records that lie in files
        self._files = spool.left_behind()  # whether anything lies in files
        self._away = False
        self._pause = _PAUSE
        self._next_try = self._next_stowing = 0.0
        self._closing = self._given_up = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="gradlab-outbox", daemon=True)
        self._thread.start()

    def fates(self) -> tuple[int, int, int]:
        """Records stored, waiting (in memory or in files) and lost, at one moment."""
        with self._changed:
            waiting = sum(isinstance(entry, Record) for entry in self._queue) + len(self._spooled)
            return self.stored, waiting, self.lost

    def put(self, entry: Entry) -> None:
        """Write, after whatever waits already; returns at once."""
        with self._changed:
            if isinstance(entry, Beat):
                # The newest tells all that those before it would have told.
                for old in [one for one in self._queue if isinstance(one, Beat)]:
                    self._drop(old)
            self._queue.append(entry)
            if len(self._queue) > self.limit:
                self.lost += any(self._drop(one) for one in list(self._queue) if isinstance(one, Record))
            self._changed.notify()

    def _drop(self, entry: Entry) -> bool:
        if entry is self._written:
            return False
        self._queue.remove(entry)
        return True

    def expect(self, token: str) -> None:
        """Another process has put the record of this name into the spool: bring it to the store."""
        with self._changed:
            self._spooled.add(token)
            self._files = True
            self._changed.notify()

    def close(self, wait: float) -> None:
        """Give the store at most ``wait`` seconds to take what is left; the rest stays in the spool, and that is said.

        Args:
            wait: seconds.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(wait)
        with self._changed:
            # What is being written this long may yet arrive; from the spool it then does not arrive twice.
            self._given_up = True
        self._stow()
        with self._changed:
            self.lost += sum(isinstance(entry, Record) for entry in self._queue)
            self._queue.clear()
        if self._spooled:
            log.warning(
                "gradlab: %d records wait in %s until their store takes them: gradlab replay %s",
                len(self._spooled),
                self._spool.directory,
                self._spool.name,
            )
        if self.lost:
            log.warning("gradlab: %d records never reached the store and are lost", self.lost)

    # The thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        last = False  # whether the store has been tried since closing began
        while True:
            with self._changed:
                while not self._closing and (pause := self._rest()) != 0.0:
                    self._changed.wait(pause)
                closing = self._closing
                if self._given_up or (closing and ((self._away and last) or not (self._queue or self._files))):
                    break
            begun = time.thread_time()
            if closing or not self._away or time.monotonic() >= self._next_try:
                last = closing
                self._try()
            else:
                self._stow()
            self.seconds += time.thread_time() - begun
        self._sink.close()

    def _rest(self) -> float | None:
        """Seconds until there is something to do; None until somebody says so."""
        if not (self._queue or self._files):
            return None
        now = time.monotonic()
        if not self._away or (self._queue and now >= self._next_stowing):
            return 0.0
        return max(self._next_try - now, 0.0)

    def _try(self) -> None:
        """Bring what is in files and then the queue to the store, until it takes no more."""
        try:
            while self._files:
                self._drain()
            while self._bring_first():
                pass
        except Exception as error:  # noqa: BLE001 - whatever it is, records are kept and tried again
            said = str(error) if isinstance(error, StoreAwayError) else first_line(error)
            if not self._away:
                log.warning("gradlab: the store takes no records now; they are kept and tried again (%s)", said)
            self._next_try = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._next_stowing = 0.0
            self._away = True
        else:
            self._away = False
            self._pause = _PAUSE

    def _drain(self) -> None:
        """Bring what is in files to the store."""
        for entry, status in self._spool.drain(self._sink):
            # A file may also be of an earlier run, or of a worker that has not said so yet.
            if isinstance(entry, Record) and entry.run == self._sink.run:
                with self._changed:
                    self.stored += entry.token in self._spooled
                    self._spooled.discard(entry.token)
                self._compare(entry, status)
        with self._changed:
            tokens = set(self._spooled)
        if self._spool.paths():
            return  # the worker has put one there meanwhile
        with self._changed:
            # What is in no file any more, another process has brought, or was set aside.
            self.lost += len(tokens & self._spool.refused)
            self.stored += len(tokens - self._spool.refused)
            self._spooled -= tokens
            self._files = bool(self._spooled)

    def _bring_first(self) -> bool:
        """Write the first of the queue; False when there is none."""
        with self._changed:
            if not self._queue:
                return False
            entry = self._written = self._queue[0]
        status, lost = None, False
        try:
            status = self._sink.write(entry)
        except UnstorableError as error:
            lost = not isinstance(entry, Record) or entry.status == "failed"
            if lost:
                log.warning("gradlab: a record could not be written and is dropped: %s", error)
            else:
                assert isinstance(entry, Record)
                status = self._sink.write(entry.refused(str(error), traceback.format_exc()))
        finally:
            self._written = None
        with self._changed:
            if self._given_up:
                return False
            self._queue.popleft()
            if lost:
                self.lost += isinstance(entry, Record)
            else:
                self.stored += isinstance(entry, Record)
        if not lost and isinstance(entry, Record):
            self._compare(entry, status)
        return True

    def _compare(self, record: Record, status: MeasurementStatus | None) -> None:
        if self._kept is not None and status is not None and status != record.status:
            self._kept(record, status)

    def _stow(self) -> None:
        """Put what is in memory into files, one by one; where there is no room for one, it and the others stay."""
        while True:
            with self._changed:
                if not self._queue:
                    return
                entry = self._written = self._queue[0]
            # Without the lock: training must not wait for a disk.
            kept = isinstance(entry, Beat) or self._keep(entry)
            with self._changed:
                self._written = None
                if self._given_up and threading.current_thread() is self._thread:
                    return
                if not kept:
                    self._next_stowing = time.monotonic() + _SPOOL_PAUSE
                    return
                self._queue.popleft()
                if not isinstance(entry, Beat):
                    self._files = True
                if isinstance(entry, Record):
                    self._spooled.add(entry.token)

    def _keep(self, entry: Record | End) -> bool:
        try:
            return self._spool.keep(entry)
        except UnstorableError as error:
            assert isinstance(entry, Record)
            refused = entry.refused(str(error), traceback.format_exc())
            self._compare(entry, refused.status)
            return self._spool.keep(refused)
