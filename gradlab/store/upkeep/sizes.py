"""How large a store is, and which of its runs make it so."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, func, select

from gradlab.store import reader, schema
from gradlab.store.records import MeasurementStatus, RunInfo
from gradlab.store.store import Store


@dataclass(frozen=True)
class RunSize:
    """What a store holds of one run.

    Attributes:
        run: the run.
        measurements: how many of each status.
        scalars: estimates.
        arrays: labelled arrays.
        stored: bytes of the arrays as they are stored, compressed where that pays.
        raw: bytes of the arrays as they are in memory.
    """

    run: RunInfo
    measurements: dict[MeasurementStatus, int]
    scalars: int
    arrays: int
    stored: int
    raw: int


@dataclass(frozen=True)
class StoreSize:
    """A store as its owner looks at it.

    Attributes:
        name: where it is, without a password.
        database: ``SQLite`` or ``PostgreSQL``.
        schema: version of its tables.
        facts: what it says of itself: the gradlab that made it, when (seconds since 1970), its identity.
        disk: bytes on disk, with logs and indices.
        runs: its runs, oldest first.
    """

    name: str
    database: str
    schema: int
    facts: dict[str, str]
    disk: int
    runs: tuple[RunSize, ...]


def store_size(store: Store) -> StoreSize:
    """How much a store holds of each of its runs, and how much disk it takes.

    Every scalar is counted, which takes seconds in a store of ten millions.

    Args:
        store: an open store.

    Example:
        >>> import tempfile
        >>> from gradlab.estimate import Estimate
        >>> from gradlab.measurement import Measurement
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/gradlab.db") as store:
        ...     run = store.start_run("mine")
        ...     _ = run.record(0, "gradient", Measurement({"cosine": Estimate(0.9, 0.1, samples=64)}))
        ...     _ = run.record(0, "field", status="skipped", message="no critic")
        ...     (size,) = store_size(store).runs
        >>> size.run.name, size.measurements, size.scalars, size.arrays
        ('mine', {'ok': 1, 'skipped': 1}, 1, 0)
        >>> directory.cleanup()
    """
    backend = store.backend
    facts, runs = backend.read(_asked)
    facts.pop("schema_version", None)
    return StoreSize(store.name, backend.database, backend.schema, facts, backend.size(), runs)


def _asked(connection: Connection) -> tuple[dict[str, str], tuple[RunSize, ...]]:
    measurements, scalars, arrays = schema.measurements.c, schema.scalars.c, schema.arrays.c
    facts = {str(key): str(value) for key, value in connection.execute(select(schema.meta))}

    counted: dict[int, Counter[MeasurementStatus]] = defaultdict(Counter)
    by_status = select(measurements.run_id, measurements.status, func.count()).group_by(
        measurements.run_id, measurements.status
    )
    for run, status, count in connection.execute(by_status):
        counted[run][status] = count

    by_run = select(measurements.run_id, func.count(scalars.measurement_id)).group_by(measurements.run_id)
    numbers = {int(run): int(count) for run, count in connection.execute(by_run.join(schema.scalars))}

    held: Counter[int] = Counter()
    stored: Counter[int] = Counter()
    raw: Counter[int] = Counter()
    kind = (measurements.run_id, arrays.dtype, arrays.shape)
    by_kind = select(*kind, func.count(), func.sum(func.length(arrays.data))).group_by(*kind)
    joined = by_kind.join(schema.measurements, measurements.id == arrays.measurement_id)
    for run, dtype, shape, count, length in connection.execute(joined):
        held[run] += count
        stored[run] += int(length)
        raw[run] += count * np.dtype(dtype).itemsize * math.prod(json.loads(shape))
    return facts, tuple(
        RunSize(one, dict(counted[one.id]), numbers.get(one.id, 0), held[one.id], stored[one.id], raw[one.id])
        for one in reader.runs(connection)
    )
