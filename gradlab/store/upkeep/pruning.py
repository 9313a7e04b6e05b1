"""Runs, or the arrays of runs, taken out of a store for good."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select

from gradlab.errors import GradlabError
from gradlab.store import schema
from gradlab.store.chosen import chosen_run
from gradlab.store.records import RunInfo
from gradlab.store.store import Store
from gradlab.store.upkeep.rewriting import say_rewritten

#: Seconds without a sign of life after which a run that never said that it ended is taken for dead.
_SILENCE = 3600.0
#: What ``gradlab watch`` measures in: the states it keeps to, without which it could not go on.
_STATES_OF = "checkpoint"


@dataclass(frozen=True)
class Pruned:
    """What was taken out, or would be.

    Attributes:
        runs: the runs it was of.
        measurements: whole measurements.
        scalars: their estimates.
        arrays: labelled arrays.
        stored: bytes of these arrays.
    """

    runs: tuple[RunInfo, ...]
    measurements: int
    scalars: int
    arrays: int
    stored: int


def prune_runs(store: Store, runs: Sequence[int | str], *, dry_run: bool = False) -> Pruned:
    """Takes runs out of a store with all that was measured of them, all or nothing.

    The file gets no smaller by it: ``vacuum_store`` gives the room back.

    Args:
        store: open for writing.
        runs: ids or names.
        dry_run: only count.

    Raises:
        GradlabError: there is no such run, it is being trained at the moment, or the store cannot be written to.

    Example:
        >>> import tempfile
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/gradlab.db") as store:
        ...     for name in ("a mistake", "the real one"):
        ...         run = store.start_run(name)
        ...         _ = run.record(0, "field", status="skipped", message="no critic")
        ...         run.finish()
        ...     prune_runs(store, ["a mistake"]).measurements, [run.name for run in store.runs()]
        (1, ['the real one'])
        >>> directory.cleanup()
    """
    chosen = _ended(store, runs)
    ids = [run.id for run in chosen]
    measurements = schema.measurements.c
    condition = measurements.run_id.in_(ids)
    of = select(measurements.id).where(condition)

    def change(connection: Connection) -> Pruned:
        found = Pruned(
            chosen,
            _count(connection, select(func.count()).where(condition).select_from(schema.measurements)),
            _count(connection, select(func.count()).where(schema.scalars.c.measurement_id.in_(of))),
            *_arrays(connection, schema.arrays.c.measurement_id.in_(of)),
        )
        if not dry_run:
            for table in (schema.scalars, schema.arrays, schema.receipts, schema.tracebacks):
                connection.execute(delete(table).where(table.c.measurement_id.in_(of)))
            connection.execute(delete(schema.measurements).where(condition))
            connection.execute(delete(schema.runs).where(schema.runs.c.id.in_(ids)))
            say_rewritten(connection)
        return found

    return store.backend.read(change) if dry_run else store.backend.write(change)


def prune_arrays(
    store: Store,
    runs: Sequence[int | str],
    *,
    probe: str | None = None,
    before: int | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Takes arrays out of runs, which are most of what a store holds; their scalars stay.

    The states that a watched run is measured in stay, too, by which ``gradlab watch`` goes on with it, unless their
    probe ``checkpoint`` is named.

    Args:
        store: open for writing.
        runs: ids or names.
        probe: only those of this probe.
        before: only those of earlier training steps.
        dry_run: only count.

    Raises:
        GradlabError: as ``prune_runs``.
    """
    chosen = _ended(store, runs)
    measurements = schema.measurements.c
    of = select(measurements.id).where(measurements.run_id.in_([run.id for run in chosen]))
    of = of.where(measurements.probe == probe if probe is not None else measurements.probe != _STATES_OF)
    if before is not None:
        of = of.where(measurements.step < before)
    condition = schema.arrays.c.measurement_id.in_(of)

    def change(connection: Connection) -> Pruned:
        found = Pruned(chosen, 0, 0, *_arrays(connection, condition))
        if not dry_run:
            connection.execute(delete(schema.arrays).where(condition))
            say_rewritten(connection)
        return found

    return store.backend.read(change) if dry_run else store.backend.write(change)


def _ended(store: Store, runs: Sequence[int | str]) -> tuple[RunInfo, ...]:
    """The runs that are meant, none of which a training process may still write to."""
    chosen = {run.id: run for run in (chosen_run(store, one) for one in runs)}
    for run in chosen.values():
        if run.status == "running" and time.time() - run.last_seen < _SILENCE:
            raise GradlabError(
                f"run {run.id} ({run.name}): was seen {time.time() - run.last_seen:.0f} s ago and has not ended; "
                "stop its training, or wait until it was silent for an hour"
            )
    return tuple(chosen.values())


def _count(connection: Connection, query: Select[Any]) -> int:
    return int(connection.execute(query).scalar_one() or 0)


def _arrays(connection: Connection, condition: ColumnElement[bool]) -> tuple[int, int]:
    row = connection.execute(select(func.count(), func.sum(func.length(schema.arrays.c.data))).where(condition)).one()
    return int(row[0]), int(row[1] or 0)
