"""The questions a store answers; each a function of one connection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, bindparam, exists, func, inspect, select

from gradlab.errors import GradlabError
from gradlab.store import schema
from gradlab.store.codec import decode
from gradlab.store.records import ArrayInfo, MeasurementInfo, News, Record, RunInfo, ScalarTable

#: Rows turned into numbers at a time, so that Python's objects for them never fill the memory.
_CHUNK = 50_000
#: Tokens asked about in one query: databases limit the number of its parameters.
_TOKENS = 500

#: Rows that are sooner counted off in the table than sorted by way of an index.
_NEAR = 10_000

_INFO = [
    *(
        schema.measurements.c[name]
        for name in ("id", "run_id", "step", "time", "probe", "where", "cost", "status", "message", "notes")
    ),
    exists().where(schema.arrays.c.measurement_id == schema.measurements.c.id).label("arrays"),
]
_SCALAR = [
    schema.scalars.c[name] for name in ("measurement_id", "series_id", "value", "stderr", "low", "high", "samples")
]
#: Asked at every look at a store, and so put together once.
_IDENTITY = select(schema.meta.c.value).where(schema.meta.c.key == "identity")
_VERSION = select(
    _IDENTITY.scalar_subquery(),
    select(schema.meta.c.value).where(schema.meta.c.key == schema.REWRITTEN).scalar_subquery(),
    select(func.coalesce(func.max(schema.measurements.c.id), 0)).scalar_subquery(),
    select(func.coalesce(func.max(schema.runs.c.id), 0)).scalar_subquery(),
    select(func.coalesce(func.sum(schema.runs.c.revision), 0)).scalar_subquery(),
)
_RUNS = select(schema.runs).order_by(schema.runs.c.id)
_SERIES = select(schema.series).order_by(schema.series.c.id)
_NEW_INFO = select(*_INFO).where(schema.measurements.c.id > bindparam("after")).order_by(schema.measurements.c.id)
_NEW_SCALARS = select(*_SCALAR).where(schema.scalars.c.measurement_id > bindparam("after")).order_by(*_SCALAR[:2])


def runs(connection: Connection) -> list[RunInfo]:
    """Every run, oldest first."""
    found = []
    for row in connection.execute(_RUNS).mappings():
        columns = {name: value for name, value in row.items() if name != "revision"}
        columns["seed"] = None if row["seed"] is None else int(row["seed"])
        columns["config"] = json.loads(row["config"])
        found.append(RunInfo(**columns))
    return found


def last_id(connection: Connection) -> int:
    """The largest measurement id, 0 when there is none."""
    return connection.execute(select(func.max(schema.measurements.c.id))).scalar() or 0


def version(connection: Connection) -> tuple[Any, ...]:
    """Identity of the store and how often it was rewritten, last measurement, last run, changes made to runs."""
    own, rewritten, *counts = connection.execute(_VERSION).one()
    return (f"{own}:{rewritten}" if rewritten else own, *map(int, counts))


def identity(connection: Connection) -> str:
    """What tells a store from every other one."""
    return str(connection.execute(_IDENTITY).scalar_one())


def since(connection: Connection, known: tuple[Any, ...] | None, after: int) -> News | None:
    """The version, the runs, and measurements with an id above ``after`` with their scalars; None at that version."""
    now = version(connection)
    if now == known:
        return None
    if now[1] <= after:
        return News(now, tuple(runs(connection)), (), ScalarTable.concatenate([]))
    numbers = _table(connection, _NEW_SCALARS, len(_SCALAR), after=after)
    # As in ``scalars``: what is named is asked for after what names it.
    found = [_info(row) for row in connection.execute(_NEW_INFO, {"after": after})]
    parents = _objects([(one.id, one.run, one.step, one.time, one.probe) for one in found], 5)
    return News(now, tuple(runs(connection)), tuple(found), _named(connection, numbers, parents))


def measurements(
    connection: Connection, after: int, run: int | None, probe: str | None, limit: int | None, upto: int | None = None
) -> list[MeasurementInfo]:
    """Measurements with an id above ``after``, in the order of ids."""
    query = _chosen(select(*_INFO), after, run, probe, upto).order_by(schema.measurements.c.id).limit(limit)
    return [_info(row) for row in connection.execute(query)]


def page(
    connection: Connection,
    run: int,
    probe: str | None,
    status: str | None,
    order: str,
    descending: bool,
    limit: int,
    offset: int,
) -> list[MeasurementInfo]:
    """Some of a run's measurements in the order of one of their columns, equal ones in that of their ids."""
    columns = schema.measurements.c
    # In the order of ids a few rows are found at the table's end, which the index of runs would hide from the database.
    at_the_end = order == "id" and probe is None and offset < _NEAR
    # Only ids are sorted: most of what is left out would have to be read otherwise.
    query = select(columns.id).where((columns.run_id + 0 if at_the_end else columns.run_id) == run)
    if probe is not None:
        query = query.where(columns.probe == probe)
    if status is not None:
        query = query.where(columns.status == status)
    keys = [columns[order], columns.id]
    query = query.order_by(*[key.desc() if descending else key for key in keys]).limit(limit).offset(offset)
    ids = list(connection.execute(query).scalars())
    found = {row[0]: _info(row) for row in connection.execute(select(*_INFO).where(columns.id.in_(ids)))}
    return [found[one] for one in ids]


def record(connection: Connection, measurement_id: int) -> Record | None:
    """One measurement with all it holds but the values of its arrays; None where there is no such measurement."""
    row = connection.execute(select(*_INFO).where(schema.measurements.c.id == measurement_id)).one_or_none()
    if row is None:
        return None
    columns = schema.arrays.c
    held = select(columns.name, columns.dtype, columns.dims, columns.shape).order_by(columns.id)
    listed = tuple(
        ArrayInfo(one.name, one.dtype, tuple(json.loads(one.dims)), tuple(json.loads(one.shape)))
        for one in connection.execute(held.where(columns.measurement_id == measurement_id))
    )
    table = scalars(connection, measurement_id - 1, None, None, measurement_id)
    return Record(_info(row), table, listed, traceback(connection, measurement_id))


def latest(connection: Connection, run: int, probe: str, at_step: int | None) -> MeasurementInfo | None:
    """The last successful measurement at or before a step."""
    columns = schema.measurements.c
    query = _chosen(select(*_INFO), 0, run, probe).where(columns.status == "ok")
    if at_step is not None:
        query = query.where(columns.step <= at_step)
    row = connection.execute(query.order_by(columns.step.desc(), columns.id.desc()).limit(1)).one_or_none()
    return None if row is None else _info(row)


def scalars(
    connection: Connection, after: int, run: int | None, probe: str | None, upto: int | None = None
) -> ScalarTable:
    """Scalars of measurements with an id above ``after``, as columns."""
    query = select(*_SCALAR).where(schema.scalars.c.measurement_id > after)
    if upto is not None:
        query = query.where(schema.scalars.c.measurement_id <= upto)
    if run is not None or probe is not None:
        chosen = _chosen(select(schema.measurements.c.id), after, run, probe, upto)
        query = query.where(schema.scalars.c.measurement_id.in_(chosen))
    numbers = _table(connection, query.order_by(*_SCALAR[:2]), len(_SCALAR))
    # Measurements and series are asked for after the scalars that name them, so that none can be missing.
    parents = _columns(connection, _chosen(select(*_INFO[:5]), after, run, probe, upto).order_by(_INFO[0]), 5)
    return _named(connection, numbers, parents)


def _named(
    connection: Connection, numbers: list[NDArray[np.float64]], parents: list[NDArray[np.object_]]
) -> ScalarTable:
    """Scalars with what their measurements (id, run, step, time, probe) and their series say of them."""
    labels = _columns(connection, _SERIES, 5)
    ids = numbers[0].astype(np.int64)
    parent = np.searchsorted(parents[0].astype(np.int64), ids)
    label = np.searchsorted(labels[0].astype(np.int64), numbers[1].astype(np.int64))
    return ScalarTable(
        id=ids,
        run=parents[1][parent].astype(np.int64),
        step=parents[2][parent].astype(np.int64),
        time=parents[3][parent].astype(np.float64),
        probe=parents[4][parent],
        name=labels[1][label],
        value=numbers[2],
        stderr=numbers[3],
        low=numbers[4],
        high=numbers[5],
        samples=numbers[6].astype(np.int64),
        reference=labels[2][label],
        objective=labels[3][label],
        scale=labels[4][label],
    )


def array_rows(connection: Connection, measurement_id: int, names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Labelled arrays of one measurement as they are stored, in the order they were given."""
    query = select(schema.arrays).where(schema.arrays.c.measurement_id == measurement_id).order_by(schema.arrays.c.id)
    if names is not None:
        query = query.where(schema.arrays.c.name.in_(names))
    return [dict(row) for row in connection.execute(query).mappings()]


def arrays(
    rows: Sequence[Mapping[str, Any]], measurement_id: int, names: Sequence[str] | None
) -> dict[str, xr.DataArray]:
    """What ``array_rows`` gave; read apart from it, as while the database is asked nobody can move its log.

    Raises:
        GradlabError: the measurement has no array of one of these names.
    """
    found = {row["name"]: decode(row) for row in rows}
    missing = [name for name in names or () if name not in found]
    if missing:
        raise GradlabError(f"measurement {measurement_id}: has no array {missing[0]!r}; leave names out to get all")
    return found


def received(connection: Connection, tokens: Sequence[str]) -> dict[str, int]:
    """Of these tokens those that a measurement was stored under, and its id."""
    if not inspect(connection).has_table(schema.receipts.name):
        return {}
    columns = schema.receipts.c
    found: dict[str, int] = {}
    for start in range(0, len(tokens), _TOKENS):
        query = select(columns.token, columns.measurement_id).where(columns.token.in_(tokens[start : start + _TOKENS]))
        found |= {str(token): int(number) for token, number in connection.execute(query)}
    return found


def traceback(connection: Connection, measurement_id: int) -> str:
    """Where a measurement failed, in full; empty when it did not, or when nobody said."""
    # A store that was last written before there were tracebacks.
    if not inspect(connection).has_table(schema.tracebacks.name):
        return ""
    columns = schema.tracebacks.c
    query = select(columns.text).where(columns.measurement_id == measurement_id)
    return connection.execute(query).scalar_one_or_none() or ""


def _chosen(query: Select[Any], after: int, run: int | None, probe: str | None, upto: int | None = None) -> Select[Any]:
    columns = schema.measurements.c
    query = query.where(columns.id > after)
    if upto is not None:
        query = query.where(columns.id <= upto)
    if run is not None:
        # Between two ids the rows are looked at: the index of runs would be gone through from end to end.
        query = query.where((columns.run_id if upto is None else columns.run_id + 0) == run)
    if probe is not None:
        query = query.where(columns.probe == probe)
    return query


def _info(row: Any) -> MeasurementInfo:
    columns = list(row)
    columns[-2:] = tuple(json.loads(columns[-2])), bool(columns[-1])
    return MeasurementInfo(*columns)


def _table(connection: Connection, query: Select[Any], width: int, **given: int) -> list[NDArray[np.float64]]:
    """Rows of numbers as float64 columns, NULL as NaN; exact for ids below 2^53."""
    parts = [np.empty((0, width))]
    # The driver's own rows: SQLAlchemy's would cost more than reading them.
    cursor = connection.execute(query, given).cursor
    while rows := cursor.fetchmany(_CHUNK):
        parts.append(np.array(rows, dtype=np.float64))
    return list(np.ascontiguousarray(np.concatenate(parts).T))


def _columns(connection: Connection, query: Select[Any], width: int) -> list[NDArray[np.object_]]:
    """Rows of numbers and text as columns of Python objects."""
    return _objects(connection.execute(query).cursor.fetchall(), width)


def _objects(rows: Sequence[Sequence[Any]], width: int) -> list[NDArray[np.object_]]:
    table = np.empty((len(rows), width), dtype=object)
    if rows:
        table[:] = rows
    return list(table.T)
