"""Sink: a store that may be away, and is opened again when it is back."""

from __future__ import annotations

import contextlib
import sqlite3

from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError

from gradlab.errors import GradlabError, first_line
from gradlab.store import RunWriter, Store, open_store
from gradlab.store.entry import Entry as Measured
from gradlab.store.entry import UnstorableError
from gradlab.store.records import MeasurementStatus
from probes.entries import Beat, Entry, Record


class StoreAwayError(GradlabError):
    """The store takes nothing now; it may later.

    Example:
        >>> raise StoreAwayError("store a.db: database or disk is full; free some space on its disk")
        Traceback (most recent call last):
        ...
        probes.sink.StoreAwayError: store a.db: database or disk is full; free some space on its disk
    """


class Sink:
    """The store that entries go to, by whatever path it is there at the moment.

    Args:
        address: where it is.
        identity: which store it is; another one at the same place is not written to.
        run: the run that heartbeats are about.
        store: the store, where it is open already; the sink closes it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = open_store(f"{folder}/a.db")
        ...     sink = Sink(store.address, store.identity, store.start_run().id, store)
        ...     record = Record("a token", sink.run, 0.0, 500, "field", "inline", "skipped", message="too few states")
        ...     print(sink.write(record), sink.write(record), len(store.measurements()))
        ...     sink.close()
        skipped skipped 1
    """

    def __init__(self, address: str, identity: str, run: int, store: Store | None = None) -> None:
        self.address = address
        self.identity = identity
        self.run = run
        self._store = store
        self._writers: dict[int, RunWriter] = {}

    def write(self, entry: Entry) -> MeasurementStatus | None:
        """Write one entry; a record that is in the store already is not written again.

        Returns:
            The status under which the store has a record; None for other entries.

        Raises:
            StoreAwayError: the store takes nothing now.
            UnstorableError: the entry is itself at fault.
        """
        try:
            return self._write(entry)
        except UnstorableError:
            raise
        except (IntegrityError, DataError, ProgrammingError) as error:
            raise UnstorableError(first_line(error)) from error
        except (GradlabError, SQLAlchemyError, sqlite3.Error, OSError, MemoryError) as error:
            # A connection that has met trouble may be of no use afterwards; a new one costs milliseconds.
            self.close()
            raise StoreAwayError(str(error) if isinstance(error, GradlabError) else first_line(error)) from error
        except Exception as error:
            raise UnstorableError(first_line(error)) from error

    def close(self) -> None:
        """Let go of the store."""
        store, self._store = self._store, None
        self._writers.clear()
        if store is not None:
            with contextlib.suppress(GradlabError, SQLAlchemyError, sqlite3.Error, OSError):
                store.close()

    def _write(self, entry: Entry) -> MeasurementStatus | None:
        run = self._writer(self.run if isinstance(entry, Beat) else entry.run)
        if isinstance(entry, Beat):
            run.heartbeat(entry.step)
            return None
        if isinstance(entry, Record):
            measured = Measured(entry.probe, entry.measurement, entry.cost, entry.where, entry.status, entry.message)
            return run.record_once(entry.token, entry.step, measured, when=entry.time, traceback=entry.traceback)
        run.finish(entry.status, entry.message, when=entry.time)
        return None

    def _writer(self, run: int) -> RunWriter:
        if self._store is None:
            self._store = self._opened()
        if run not in self._writers:
            if all(info.id != run for info in self._store.runs()):
                raise UnstorableError(f"store {self._store.name}: has no run {run}")
            self._writers[run] = self._store.attach_run(run)
        return self._writers[run]

    def _opened(self) -> Store:
        # Opening it to write would make a store where one was deleted.
        with open_store(self.address, readonly=True) as found:
            if found.identity != self.identity:
                raise GradlabError(f"store {found.name}: another store has been put in its place; move it away")
        return open_store(self.address)
