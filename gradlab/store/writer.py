"""What a training process or its background worker holds: the end of a run that is written to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from gradlab.errors import GradlabError
from gradlab.measurement import Measurement
from gradlab.store import schema
from gradlab.store.backend import Backend
from gradlab.store.entry import Draft, Entry, SeriesKey, UnstorableError, check_word, drafted, shown
from gradlab.store.records import MeasurementStatus, RunStatus, Where

T = TypeVar("T")

# Statements are built once: building one takes SQLAlchemy longer than SQLite takes to run it.
_PROGRESS = update(schema.runs).where(schema.runs.c.id == bindparam("run"))
_TOUCH = _PROGRESS.values(last_seen=bindparam("now"), step=bindparam("at"), revision=schema.runs.c.revision + 1)
# What is written late must not make a run look as if it had gone back in time.
_TOUCH_LATE = _TOUCH.where(schema.runs.c.last_seen <= bindparam("now"))
_MARK = _PROGRESS.values(
    last_seen=bindparam("now"), status=bindparam("how"), message=bindparam("why"), revision=schema.runs.c.revision + 1
)
_NAME = _PROGRESS.values(name=bindparam("called"))
_CONFIGURE = _PROGRESS.values(config=bindparam("what"))
_MEASUREMENT, _SCALARS, _ARRAYS = insert(schema.measurements), insert(schema.scalars), insert(schema.arrays)
_RECEIPT, _TRACEBACK = insert(schema.receipts), insert(schema.tracebacks)
_RECEIVED = select(schema.measurements.c.status).join(schema.receipts).where(schema.receipts.c.token == bindparam("of"))


class RunWriter:
    """Writes measurements into one run; made by ``Store.start_run`` or ``Store.attach_run``.

    Every call is one transaction: a reader sees all of it or nothing, and a process killed half-way leaves nothing.

    Attributes:
        id: number of the run in its store.
        name: name for people.
    """

    def __init__(self, backend: Backend, run_id: int, name: str) -> None:
        self.id = run_id
        self.name = name
        self._backend = backend
        self._series: dict[SeriesKey, int] = {}

    def record(
        self,
        step: int,
        probe: str,
        measurement: Measurement | None = None,
        *,
        cost: float = 0.0,
        where: Where = "inline",
        status: MeasurementStatus = "ok",
        message: str = "",
    ) -> int:
        """Stores one measurement, with the 95 % interval of each of its scalars.

        A measurement made ``inline`` is also a sign of life of the training process.

        Args:
            step: training step it belongs to.
            probe: name of the probe.
            measurement: what was measured; None when nothing was (skipped, failed).
            cost: seconds it took.
            where: ``inline`` when training waited for it, ``background`` when not.
            status: ``ok``, ``skipped`` or ``failed``.
            message: why it was skipped or failed, one line.

        Returns:
            The measurement's id, larger than every earlier one in the store.

        Raises:
            GradlabError: something in the measurement cannot be stored (``UnstorableError``), or the store cannot be
                written to.
        """
        return self.record_all(step, [Entry(probe, measurement, cost, where, status, message)])[0]

    def record_all(self, step: int, entries: Sequence[Entry]) -> list[int]:
        """Stores several measurements of one step, all of them or, if the process is killed, none.

        Args:
            step: training step they belong to.
            entries: the measurements, in the order of their ids.

        Returns:
            Their ids.

        Raises:
            GradlabError: as ``record``.
        """
        now = time.time()
        # All that can fail or takes time comes before the transaction, so that others wait as little as possible.
        drafts = [drafted(entry) for entry in entries]
        found: dict[SeriesKey, int] = {}

        def change(connection: Connection) -> list[int]:
            found.clear()
            ids = [self._insert(connection, step, now, draft, found) for draft in drafts]
            if any(entry.where == "inline" for entry in entries):
                connection.execute(_TOUCH, {"run": self.id, "now": now, "at": int(step)})
            return ids

        ids = self._written(change)
        # Only now is it certain that these series exist.
        self._series.update(found)
        return ids

    def record_once(
        self, token: str, step: int, entry: Entry, *, when: float, traceback: str = ""
    ) -> MeasurementStatus:
        """Stores one measurement unless it is in the store already: safe to repeat when it is not known whether.

        Args:
            token: names the measurement, at most 64 characters; whatever comes second under one token is not stored.
            step: training step it belongs to.
            entry: the measurement.
            when: when it was measured, seconds since 1970; a run's ``last_seen`` never goes back for it.
            traceback: where it failed, in full.

        Returns:
            The status of the measurement that the store has under this token.

        Raises:
            GradlabError: as ``record``.
        """
        draft = drafted(entry)
        found: dict[SeriesKey, int] = {}

        def change(connection: Connection) -> MeasurementStatus:
            found.clear()
            kept: MeasurementStatus | None = connection.execute(_RECEIVED, {"of": token}).scalar_one_or_none()
            if kept is not None:
                return kept
            number = self._insert(connection, step, when, draft, found)
            connection.execute(_RECEIPT, {"token": token, "measurement_id": number})
            if traceback:
                connection.execute(_TRACEBACK, {"measurement_id": number, "text": shown(traceback)})
            if entry.where == "inline":
                connection.execute(_TOUCH_LATE, {"run": self.id, "now": when, "at": int(step)})
            return entry.status

        status = self._written(change)
        self._series.update(found)
        return status

    def _written(self, change: Callable[[Connection], T]) -> T:
        try:
            return self._backend.write(change)
        except IntegrityError as error:
            query = select(schema.runs.c.id).where(schema.runs.c.id == self.id)
            if self._backend.read(lambda connection: connection.execute(query).first()) is not None:
                raise
            place = self._backend.location.name
            raise UnstorableError(
                f"store {place}: run {self.id} ({self.name}) is not in it any more; begin a new run"
            ) from error

    def _insert(self, connection: Connection, step: int, now: float, draft: Draft, found: dict[SeriesKey, int]) -> int:
        """One measurement's rows; ``found`` gains the series that are new to this writer."""
        row, scalars, arrays = draft
        result = connection.execute(_MEASUREMENT, {"run_id": self.id, "step": int(step), "time": now, **row})
        assert result.inserted_primary_key is not None
        number = int(result.inserted_primary_key[0])
        known = self._series | found
        found.update({key: _series_id(connection, key) for key in scalars if key not in known})
        known |= found
        if scalars:
            rows = [{"measurement_id": number, "series_id": known[k], **each} for k, each in scalars.items()]
            connection.execute(_SCALARS, rows)
        if arrays:
            connection.execute(_ARRAYS, [{"measurement_id": number, **each} for each in arrays])
        return number

    def heartbeat(self, step: int) -> None:
        """Says that the training process is alive and at this step.

        Raises:
            GradlabError: the store cannot be written to.
        """
        progress = {"run": self.id, "now": time.time(), "at": int(step)}
        self._backend.write(lambda connection: connection.execute(_TOUCH, progress))

    def finish(self, status: RunStatus = "finished", message: str = "", when: float | None = None) -> None:
        """Says that the run has ended: ``finished``, ``stopped`` by its user or ``failed``.

        Args:
            status: how.
            message: why, in one line.
            when: when, seconds since 1970; now when None.

        Raises:
            GradlabError: the status is none of these, or the store cannot be written to.
        """
        check_word("status", status, [word for word in get_args(RunStatus) if word != "running"])
        end = {"run": self.id, "now": time.time() if when is None else when, "how": status, "why": shown(message)}
        self._backend.write(lambda connection: connection.execute(_MARK, end))

    def resume(self, config: Mapping[str, Any] | None = None) -> None:
        """Says that a run that had ended goes on: ``running`` again.

        Args:
            config: what it is configured with from here on, where that is not what it was; None leaves it.

        Raises:
            GradlabError: the store cannot be written to.
        """
        again = {"run": self.id, "now": time.time(), "how": "running", "why": ""}
        text = None if config is None else {"run": self.id, "what": config_text(config)}

        def change(connection: Connection) -> None:
            connection.execute(_MARK, again)
            if text is not None:
                connection.execute(_CONFIGURE, text)

        self._backend.write(change)

    def __repr__(self) -> str:
        return f"<RunWriter {self.name!r} (run {self.id}) in {self._backend.location.name}>"


def config_text(config: Mapping[str, Any]) -> str:
    """A configuration as the store keeps it; what JSON has no word for is kept as its ``repr``."""
    return json.dumps(dict(config), default=repr, skipkeys=True)


def start_run(backend: Backend, name: str | None, columns: Mapping[str, Any]) -> RunWriter:
    """Adds a run; without a name it is called after its algorithm, its environment and its number."""
    now = time.time()
    columns = {key: shown(value) if isinstance(value, str) else value for key, value in columns.items()}
    row = {**columns, "started": now, "last_seen": now, "step": 0, "status": "running", "message": "", "revision": 0}
    about = " ".join(word for word in (columns["algorithm"], columns["environment"]) if word) or "run"

    def change(connection: Connection) -> tuple[int, str]:
        result = connection.execute(insert(schema.runs), {**row, "name": ""})
        assert result.inserted_primary_key is not None
        number = int(result.inserted_primary_key[0])
        called = shown(name or f"{about} #{number}")
        connection.execute(_NAME, {"run": number, "called": called})
        return number, called

    return RunWriter(backend, *backend.write(change))


def attach_run(backend: Backend, run_id: int) -> RunWriter:
    """The writing end of a run that exists.

    Raises:
        GradlabError: the store has no such run, or is open for reading only.
    """
    query = select(schema.runs.c.name).where(schema.runs.c.id == run_id)
    if backend.readonly:
        raise GradlabError(f"store {backend.location.name}: is open for reading only; open it without readonly")
    name = backend.read(lambda connection: connection.execute(query).scalar_one_or_none())
    if name is None:
        raise GradlabError(f"store {backend.location.name}: has no run {run_id}; see Store.runs() for those it has")
    return RunWriter(backend, run_id, name)


def _series_id(connection: Connection, key: SeriesKey) -> int:
    columns = dict(zip(("name", "reference", "objective", "scale"), key, strict=True))
    query = select(schema.series.c.id).filter_by(**columns)
    known = connection.execute(query).scalar_one_or_none()
    if known is not None:
        return int(known)
    result = connection.execute(insert(schema.series), columns)
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])
