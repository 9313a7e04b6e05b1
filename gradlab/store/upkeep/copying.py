"""Runs copied from one store into another, whatever databases the two are in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Column, Connection, Table, func, insert, inspect, select, update

from gradlab.errors import GradlabError
from gradlab.store import schema
from gradlab.store.backend import Backend
from gradlab.store.chosen import chosen_run
from gradlab.store.damage import damage_named
from gradlab.store.records import RunInfo
from gradlab.store.store import Store
from gradlab.store.upkeep.numbering import count_on, next_id
from gradlab.store.upkeep.rewriting import say_rewritten

#: Measurements that are in memory, and written in one transaction, at a time.
_PIECE = 200

Rows = list[dict[str, Any]]
#: Called with a run, how many of its measurements the other store has, and how many there are.
Told = Callable[[RunInfo, int, int], None]

#: What hangs on measurements.
_HELD = {table.name: table for table in (schema.scalars, schema.arrays, schema.receipts, schema.tracebacks)}


@dataclass(frozen=True)
class Copied:
    """What came of copying one run.

    Attributes:
        run: the run, as it is in the store it was copied from.
        id: its number in the other store.
        measurements: how many were copied now.
        before: how many were there already.
    """

    run: RunInfo
    id: int
    measurements: int
    before: int


def copy_runs(
    source: Store, target: Store, runs: Sequence[int | str] = (), *, told: Told | None = None
) -> list[Copied]:
    """Copies runs bit for bit: numbers, arrays, times, configurations, messages and tracebacks.

    Only of zero SQLite does not keep the sign.

    What the target has already stays, and what came since is added: a copy that was killed is finished by doing it
    again, and one that is repeated follows a run that goes on. Ids stay what they were in a target that holds nothing
    but a copy of a part of the source; otherwise they are new, in the same order.

    Args:
        source: the store they are in.
        target: another store, open for writing; it can be in use.
        runs: ids or names; all of them when empty.
        told: called with a run, how many of its measurements the target has, and how many there are.

    Raises:
        GradlabError: both are one store, there is no such run, the target has another past of it, or a store gives up.

    Example:
        >>> import tempfile
        >>> from gradlab.estimate import Estimate
        >>> from gradlab.measurement import Measurement
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/mine.db") as mine, open_store(directory.name + "/ours.db") as ours:
        ...     run = mine.start_run("mine")
        ...     _ = run.record(0, "gradient", Measurement({"cosine": Estimate(0.9, 0.1, samples=64)}))
        ...     run.finish()
        ...     [(one.id, one.measurements, one.before) for _ in range(2) for one in copy_runs(mine, ours)]
        [(1, 1, 0), (1, 0, 1)]
        >>> directory.cleanup()
    """
    if source.identity == target.identity:
        raise GradlabError(f"store {target.name}: is the store to copy from, or a copy of its file; give another one")
    with damage_named(source):
        there = source.runs()
    chosen = list({run.id: run for run in (chosen_run(source, one) for one in runs)}.values()) or there
    keep = target.backend.read(lambda connection: _is_part(connection, there))
    return [_Copy(source.backend, target.backend, run, keep, told).done() for run in chosen]


class _Copy:
    """One run on its way from a database to another."""

    def __init__(self, source: Backend, target: Backend, run: RunInfo, keep: bool, told: Told | None) -> None:
        self._source = source
        self._target = target
        self._run = run
        self._keep = keep
        self._told = told
        self._names: dict[int, dict[str, Any]] = {}
        self._series: dict[int, int] = {}
        self._revision = 0

    def done(self) -> Copied:
        """The copy; each piece of it is one transaction of the target, for which other writers wait."""
        columns = schema.measurements.c
        query = select(columns.id).where(columns.run_id == self._run.id).order_by(columns.id)
        row, ids = self._source.read(
            lambda connection: (
                _rows(connection, schema.runs, schema.runs.c.id, [self._run.id])[0],
                list(connection.execute(query).scalars()),
            )
        )
        number, before = self._target.write(lambda connection: self._begin(connection, row, ids))
        for start in range(before, len(ids), _PIECE):
            piece = ids[start : start + _PIECE]
            self._series.update(self._target.write(partial(self._add, number, piece, self._taken(piece))))
            if self._told is not None:
                self._told(self._run, start + len(piece), len(ids))
        self._target.write(lambda connection: self._end(connection, number, row))
        return Copied(self._run, number, len(ids) - before, before)

    def _begin(self, connection: Connection, row: dict[str, Any], ids: list[int]) -> tuple[int, int]:
        """The run's number in the target, and how many of its measurements are there."""
        # No two runs begin in the same microsecond under one name.
        columns = schema.runs.c
        query = select(columns.id, columns.revision).where(
            columns.name == row["name"], columns.started == row["started"]
        )
        known = connection.execute(query).first()
        if known is not None:
            self._revision = int(known.revision)
            return int(known.id), self._before(connection, int(known.id), ids)
        if not self._keep:
            row = {name: value for name, value in row.items() if name != "id"}
        result = connection.execute(insert(schema.runs), {**row, "revision": 0})
        assert result.inserted_primary_key is not None
        count_on(connection, schema.runs)
        return int(result.inserted_primary_key[0]), 0

    def _before(self, connection: Connection, number: int, ids: list[int]) -> int:
        """How many measurements the target has of the run, which are its first."""
        columns = schema.measurements.c
        query = select(func.count(), func.max(columns.id)).where(columns.run_id == number)
        count, last = connection.execute(query).one()
        facts = (columns.step, columns.time, columns.probe)
        ours = connection.execute(select(*facts).where(columns.id == last)).first()
        theirs = None
        if 0 < count <= len(ids):
            query = select(*facts).where(columns.id == ids[count - 1])
            theirs = self._source.read(lambda source: source.execute(query).first())
        if count and (theirs is None or tuple(ours or ()) != tuple(theirs)):
            raise GradlabError(
                f"store {self._target.location.name}: has run {number} ({self._run.name}) with other measurements; "
                "prune it there to copy it anew"
            )
        return int(count)

    def _taken(self, ids: list[int]) -> dict[str, Rows]:
        """Rows of these measurements and of all that hangs on them."""

        def question(connection: Connection) -> dict[str, Rows]:
            there = inspect(connection).get_table_names()
            found = {
                name: _rows(connection, table, table.c.measurement_id, ids) if name in there else []
                for name, table in _HELD.items()
            }
            found[schema.measurements.name] = _rows(connection, schema.measurements, schema.measurements.c.id, ids)
            if any(each["series_id"] not in self._names for each in found[schema.scalars.name]):
                self._names = {row["id"]: dict(row) for row in connection.execute(select(schema.series)).mappings()}
            return found

        found = self._source.read(question)
        if len(found[schema.measurements.name]) != len(ids):
            raise GradlabError(
                f"store {self._source.location.name}: run {self._run.id} was pruned while it was copied; copy it again"
            )
        return found

    def _add(self, number: int, ids: list[int], taken: dict[str, Rows], connection: Connection) -> dict[int, int]:
        """Adds a piece; gives the numbers of series that were not known before."""
        renamed = self._renamed(connection, ids)
        # What was taken stays as it is: a change may be made twice.
        rows = [{**each, "id": renamed[each["id"]], "run_id": number} for each in taken[schema.measurements.name]]
        connection.execute(insert(schema.measurements), rows)
        found: dict[int, int] = {}
        for name, table in _HELD.items():
            rows = [{**each, "measurement_id": renamed[each["measurement_id"]]} for each in taken[name]]
            if table is schema.scalars:
                known = self._series
                found = {
                    old: _series_id(connection, self._names[old])
                    for old in dict.fromkeys(each["series_id"] for each in rows)
                    if old not in known
                }
                rows = [{**each, "series_id": (known | found)[each["series_id"]]} for each in rows]
            if table is schema.arrays:
                # Their numbers say their order and no more.
                rows = [{key: value for key, value in each.items() if key != "id"} for each in rows]
            if table is schema.receipts:
                rows = _unknown(connection, rows)
            if rows:
                connection.execute(insert(table), rows)
        count_on(connection, schema.measurements)
        self._mark(connection, number, {})
        return found

    def _renamed(self, connection: Connection, ids: list[int]) -> dict[int, int]:
        """The numbers that measurements get in the target, of which nobody else can take one now."""
        columns = schema.measurements.c
        last = connection.execute(select(func.max(columns.id))).scalar() or 0
        if self._keep and not connection.execute(select(func.count()).where(columns.id.in_(ids))).scalar():
            if ids[0] < last:
                # Who reads by the tail would miss them.
                say_rewritten(connection)
            return dict(zip(ids, ids, strict=True))
        first = next_id(connection, schema.measurements)
        return dict(zip(ids, range(first, first + len(ids)), strict=True))

    def _end(self, connection: Connection, number: int, row: dict[str, Any]) -> None:
        """What the run says of itself, where it was there already."""
        self._mark(connection, number, {key: value for key, value in row.items() if key not in ("id", "revision")})

    def _mark(self, connection: Connection, number: int, values: dict[str, Any]) -> None:
        columns = schema.runs.c
        change = update(schema.runs).where(columns.id == number, columns.revision == self._revision)
        if connection.execute(change.values(revision=self._revision + 1, **values)).rowcount != 1:
            raise GradlabError(
                f"store {self._target.location.name}: run {number} ({self._run.name}) was changed by another process "
                "meanwhile; copy it again"
            )
        self._revision += 1


def _is_part(connection: Connection, runs: Sequence[RunInfo]) -> bool:
    """Whether a store holds nothing but runs of another one under their numbers, and never held anything else."""
    columns = schema.runs.c
    here = connection.execute(select(columns.id, columns.name, columns.started)).all()
    known = {(run.id, run.name, run.started) for run in runs}
    if not here:
        return not connection.execute(select(func.count()).where(schema.meta.c.key == schema.REWRITTEN)).scalar()
    return {tuple(row) for row in here} <= known


def _rows(connection: Connection, table: Table, column: Column[Any], ids: list[int]) -> Rows:
    query = select(table).where(column.in_(ids)).order_by(*table.primary_key)
    return [dict(row) for row in connection.execute(query).mappings()]


def _series_id(connection: Connection, known: dict[str, Any]) -> int:
    """The number in the target of what a scalar of the source is called and belongs to."""
    key = {name: value for name, value in known.items() if name != "id"}
    found = connection.execute(select(schema.series.c.id).filter_by(**key)).scalar_one_or_none()
    if found is None:
        made = connection.execute(insert(schema.series), key)
        assert made.inserted_primary_key is not None
        found = made.inserted_primary_key[0]
    return int(found)


def _unknown(connection: Connection, receipts: Rows) -> Rows:
    """Receipts of what the target has not got by another way: a token is taken once in a store."""
    tokens = [each["token"] for each in receipts]
    query = select(schema.receipts.c.token).where(schema.receipts.c.token.in_(tokens))
    known = set(connection.execute(query).scalars()) if tokens else set()
    return [each for each in receipts if each["token"] not in known]
