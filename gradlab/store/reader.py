"""The questions a store answers; each a function of one connection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, func, inspect, select

from gradlab.errors import GradlabError
from gradlab.store import schema
from gradlab.store.codec import decode
from gradlab.store.records import MeasurementInfo, News, RunInfo, ScalarTable

#: Rows turned into numbers at a time, so that Python's objects for them never fill the memory.
_CHUNK = 50_000

_INFO = [
    schema.measurements.c[name]
    for name in ("id", "run_id", "step", "time", "probe", "where", "cost", "status", "message", "notes")
]
_SCALAR = [
    schema.scalars.c[name] for name in ("measurement_id", "series_id", "value", "stderr", "low", "high", "samples")
]
#: Asked at every look at a store, and so put together once.
_VERSION = select(
    select(schema.meta.c.value).where(schema.meta.c.key == "identity").scalar_subquery(),
    select(func.coalesce(func.max(schema.measurements.c.id), 0)).scalar_subquery(),
    select(func.coalesce(func.max(schema.runs.c.id), 0)).scalar_subquery(),
    select(func.coalesce(func.sum(schema.runs.c.revision), 0)).scalar_subquery(),
)
_RUNS = select(schema.runs).order_by(schema.runs.c.id)
_SERIES = select(schema.series).order_by(schema.series.c.id)


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
    """Identity of the store, last measurement, last run, changes made to runs."""
    identity, *counts = connection.execute(_VERSION).one()
    return (identity, *map(int, counts))


def since(connection: Connection, known: tuple[Any, ...] | None, after: int) -> News | None:
    """The version, the runs, and measurements with an id above ``after`` with their scalars; None at that version."""
    now = version(connection)
    if now == known:
        return None
    found = measurements(connection, after, None, None, None) if now[1] > after else []
    table = scalars(connection, after, None, None) if found else ScalarTable.concatenate([])
    return News(now, tuple(runs(connection)), tuple(found), table)


def measurements(
    connection: Connection, after: int, run: int | None, probe: str | None, limit: int | None
) -> list[MeasurementInfo]:
    """Measurements with an id above ``after``, in the order of ids."""
    query = _chosen(select(*_INFO), after, run, probe).order_by(schema.measurements.c.id).limit(limit)
    return [_info(row) for row in connection.execute(query)]


def latest(connection: Connection, run: int, probe: str, at_step: int | None) -> MeasurementInfo | None:
    """The last successful measurement at or before a step."""
    columns = schema.measurements.c
    query = _chosen(select(*_INFO), 0, run, probe).where(columns.status == "ok")
    if at_step is not None:
        query = query.where(columns.step <= at_step)
    row = connection.execute(query.order_by(columns.step.desc(), columns.id.desc()).limit(1)).one_or_none()
    return None if row is None else _info(row)


def scalars(connection: Connection, after: int, run: int | None, probe: str | None) -> ScalarTable:
    """Scalars of measurements with an id above ``after``, as columns."""
    query = select(*_SCALAR).where(schema.scalars.c.measurement_id > after)
    if run is not None or probe is not None:
        chosen = _chosen(select(schema.measurements.c.id), after, run, probe)
        query = query.where(schema.scalars.c.measurement_id.in_(chosen))
    numbers = _table(connection, query.order_by(*_SCALAR[:2]), len(_SCALAR))
    # Measurements and series are asked for after the scalars that name them, so that none can be missing.
    parents = _columns(connection, _chosen(select(*_INFO[:5]), after, run, probe).order_by(_INFO[0]), 5)
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


def arrays(connection: Connection, measurement_id: int, names: Sequence[str] | None) -> dict[str, xr.DataArray]:
    """Labelled arrays of one measurement, in the order they were given.

    Raises:
        GradlabError: the measurement has no array of one of these names.
    """
    query = select(schema.arrays).where(schema.arrays.c.measurement_id == measurement_id).order_by(schema.arrays.c.id)
    if names is not None:
        query = query.where(schema.arrays.c.name.in_(names))
    found = {row["name"]: decode(dict(row)) for row in connection.execute(query).mappings()}
    missing = [name for name in names or () if name not in found]
    if missing:
        raise GradlabError(f"measurement {measurement_id}: has no array {missing[0]!r}; leave names out to get all")
    return found


def traceback(connection: Connection, measurement_id: int) -> str:
    """Where a measurement failed, in full; empty when it did not, or when nobody said."""
    # A store that was last written before there were tracebacks.
    if not inspect(connection).has_table(schema.tracebacks.name):
        return ""
    columns = schema.tracebacks.c
    query = select(columns.text).where(columns.measurement_id == measurement_id)
    return connection.execute(query).scalar_one_or_none() or ""


def _chosen(query: Select[Any], after: int, run: int | None, probe: str | None) -> Select[Any]:
    columns = schema.measurements.c
    query = query.where(columns.id > after)
    if run is not None:
        query = query.where(columns.run_id == run)
    if probe is not None:
        query = query.where(columns.probe == probe)
    return query


def _info(row: Any) -> MeasurementInfo:
    columns = list(row)
    columns[-1] = tuple(json.loads(columns[-1]))
    return MeasurementInfo(*columns)


def _table(connection: Connection, query: Select[Any], width: int) -> list[NDArray[np.float64]]:
    """Rows of numbers as float64 columns, NULL as NaN; exact for ids below 2^53."""
    parts = [np.empty((0, width))]
    # The driver's own rows: SQLAlchemy's would cost more than reading them.
    cursor = connection.execute(query).cursor
    while rows := cursor.fetchmany(_CHUNK):
        parts.append(np.array(rows, dtype=np.float64))
    return list(np.ascontiguousarray(np.concatenate(parts).T))


def _columns(connection: Connection, query: Select[Any], width: int) -> list[NDArray[np.object_]]:
    """Rows of numbers and text as columns of Python objects."""
    rows = connection.execute(query).cursor.fetchall()
    table = np.empty((len(rows), width), dtype=object)
    if rows:
        table[:] = rows
    return list(table.T)
