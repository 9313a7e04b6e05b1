"""Courier: one record at a time to the store, or else into the spool, and word of which."""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import dataclass

from gradlab.store.entry import UnstorableError
from gradlab.store.records import MeasurementStatus
from probes.entries import Record
from probes.sink import Sink, StoreAwayError
from probes.spool import Spool

log = logging.getLogger("gradlab")

#: Seconds for which a store that was away is not tried: the training process's outbox brings what is in the spool.
_PAUSE = 10.0


@dataclass(frozen=True)
class Delivered:
    """What became of a record.

    Attributes:
        status: the status under which it was written.
        message: why it is not ``ok``, one line.
        stored: whether the store has it.
        spooled: whether it lies in the spool.
    """

    status: MeasurementStatus
    message: str
    stored: bool = False
    spooled: bool = False


class Courier:
    """Delivers records for a process that has nothing else to do meanwhile.

    Args:
        sink: the store.
        spool: where records wait for it.
    """

    def __init__(self, sink: Sink, spool: Spool) -> None:
        self._sink = sink
        self._spool = spool
        self._next_try = 0.0

    def deliver(self, record: Record) -> Delivered:
        """Deliver one record; it is safe in one of the two places before this returns, or lost."""
        try:
            return self._deliver(record)
        except UnstorableError as error:
            refused = record.refused(str(error), traceback.format_exc())
        try:
            return self._deliver(refused)
        except UnstorableError as error:
            log.warning("gradlab: a record could not be written and is dropped: %s", error)
            return Delivered(refused.status, refused.message)

    def _deliver(self, record: Record) -> Delivered:
        if time.monotonic() >= self._next_try:
            try:
                status = self._sink.write(record) or record.status
            except StoreAwayError as error:
                log.warning("gradlab: the store takes no records now (%s)", error)
                self._next_try = time.monotonic() + _PAUSE
            else:
                return Delivered(status, record.message, stored=True)
        return Delivered(record.status, record.message, spooled=self._spool.keep(record))
