"""Store: runs and their measurements, and the one door to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import xarray as xr

from gradlab.errors import GradlabError
from gradlab.store import reader, writer
from gradlab.store.backend import Backend
from gradlab.store.opening import open_backend
from gradlab.store.records import MeasurementInfo, MeasurementStatus, News, Order, Record, RunInfo, ScalarTable
from gradlab.store.url import parse
from gradlab.store.writer import RunWriter


def open_store(where: str | os.PathLike[str] = "gradlab.db", *, readonly: bool = False) -> Store:
    """Opens a store, and creates it where there is none unless ``readonly``.

    Args:
        where: a path, ``sqlite:///relative/path``, ``sqlite:////absolute/path`` or
            ``postgresql+psycopg://user@host/database``; or a deposit, ``run.zip``, which can only be read.
        readonly: only read: nothing is created or changed, and no permission to write is needed.

    Raises:
        GradlabError: one line saying what is wrong with this place and what to do.

    Example:
        >>> import tempfile
        >>> from gradlab.estimate import Estimate
        >>> from gradlab.measurement import Measurement
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/gradlab.db") as store:
        ...     run = store.start_run(algorithm="TD3", environment="Reacher-v5", seed=1)
        ...     cursor = run.record(1000, "gradient", Measurement({"cosine": Estimate(0.9, 0.1, samples=64)}))
        ...     cursor = run.record(2000, "gradient", Measurement({"cosine": Estimate(0.8, 0.1, samples=64)}))
        ...     run.finish()
        >>> with open_store(directory.name + "/gradlab.db", readonly=True) as store:
        ...     table = store.scalars(run=1, probe="gradient")
        ...     store.runs()[0].name, store.last_id() == cursor
        ('TD3 Reacher-v5 #1', True)
        >>> table.step, table.value, table.low.round(2)
        (array([1000, 2000]), array([0.9, 0.8]), array([0.7, 0.6]))
        >>> directory.cleanup()
    """
    return Store(open_backend(parse(where), readonly=readonly))


class Store:
    """Runs and their measurements; made by ``open_store``, and a context manager that closes it.

    Reading is safe from many threads at once. Several processes may write into one store; each opens it by itself.
    Measurement ids only grow, in the order in which measurements become visible, so that ``after=`` the last id seen
    gives exactly what is new.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        """Where the store is, for people: without a password."""
        return self._backend.location.name

    @property
    def address(self) -> str:
        """Where the store is, to be opened again from any directory: with its password, so not for printing."""
        location = self._backend.location
        return str(location.path) if location.path else location.url.render_as_string(hide_password=False)

    @property
    def backend(self) -> Backend:
        """The database it is in; for those who keep stores, not for those who use them."""
        return self._backend

    @property
    def identity(self) -> str:
        """What tells this store from another one put in its place."""
        return self._backend.read(reader.identity)

    @property
    def readonly(self) -> bool:
        """Whether it was opened for reading only."""
        return self._backend.readonly

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about how it was opened, one line each."""
        return self._backend.notes

    def start_run(
        self,
        name: str | None = None,
        *,
        algorithm: str = "",
        environment: str = "",
        library: str = "",
        seed: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> RunWriter:
        """Adds a run with status ``running``.

        Args:
            name: name for people; made from the algorithm, the environment and the run's number when None.
            algorithm: algorithm, for people.
            environment: environment id, for people.
            library: library, for people.
            seed: the run's seed.
            config: what it was configured with; what JSON has no word for is kept as its ``repr``.

        Raises:
            GradlabError: the store cannot be written to.
        """
        columns = {
            "algorithm": algorithm,
            "environment": environment,
            "library": library,
            "seed": None if seed is None else str(int(seed)),
            "config": writer.config_text(config or {}),
        }
        return writer.start_run(self._backend, name, columns)

    def attach_run(self, run_id: int) -> RunWriter:
        """The writing end of a run that exists, for a second process that measures it.

        Raises:
            GradlabError: there is no such run, or the store is open for reading only.
        """
        return writer.attach_run(self._backend, run_id)

    def runs(self) -> list[RunInfo]:
        """Every run, oldest first."""
        return self._backend.read(reader.runs)

    def last_id(self) -> int:
        """The largest measurement id, 0 when there is none."""
        return self._backend.read(reader.last_id)

    def version(self) -> tuple[Any, ...]:
        """Changes whenever something changes that can be seen: a measurement, a run, its progress or its end.

        Its first element changes when another store was put in this one's place, or when something was pruned;
        what is known of it is void then.
        """
        return self._backend.read(reader.version)

    def since(self, version: tuple[Any, ...] | None, after: int) -> News | None:
        """Everything that is new, at one moment and for the price of one question; None when nothing is.

        Args:
            version: what ``version`` was when the store was last looked at; None for the first time.
            after: id of the last measurement that was seen then. Where the store is another one, all of its
                measurements with a larger id are given, and are to be asked for anew.
        """
        return self._backend.read(lambda connection: reader.since(connection, version, after))

    def measurements(
        self,
        after: int = 0,
        run: int | None = None,
        probe: str | None = None,
        limit: int | None = None,
        *,
        upto: int | None = None,
    ) -> list[MeasurementInfo]:
        """Measurements, skipped and failed ones too, in the order of their ids.

        Args:
            after: only those with a larger id.
            run: only those of this run.
            probe: only those of this probe.
            limit: at most so many.
            upto: only those up to this id.
        """
        return self._backend.read(lambda connection: reader.measurements(connection, after, run, probe, limit, upto))

    def page(
        self,
        run: int,
        probe: str | None = None,
        status: MeasurementStatus | None = None,
        *,
        order: Order = "id",
        descending: bool = False,
        limit: int = 25,
        offset: int = 0,
    ) -> list[MeasurementInfo]:
        """Some of a run's measurements, for looking through them.

        Args:
            run: id of the run.
            probe: only those of this probe.
            status: only those of this status.
            order: name of the column they are in the order of.
            descending: whether the largest comes first.
            limit: at most so many.
            offset: so many before them are left out.

        Raises:
            GradlabError: there is no such column.
        """
        if order not in get_args(Order):
            raise GradlabError(f"order: {order!r} is none of {', '.join(get_args(Order))}")
        return self._backend.read(
            lambda connection: reader.page(connection, run, probe, status, order, descending, limit, offset)
        )

    def record(self, measurement_id: int) -> Record | None:
        """One measurement with all it holds but the values of its arrays; None where there is no such measurement."""
        return self._backend.read(lambda connection: reader.record(connection, measurement_id))

    def scalars(
        self, after: int = 0, run: int | None = None, probe: str | None = None, *, upto: int | None = None
    ) -> ScalarTable:
        """Scalars as columns, in the order of their measurements' ids.

        Args:
            after: only those of measurements with a larger id.
            run: only those of this run.
            probe: only those of this probe.
            upto: only those of measurements up to this id.
        """
        return self._backend.read(lambda connection: reader.scalars(connection, after, run, probe, upto))

    def arrays(self, measurement_id: int, names: Sequence[str] | None = None) -> dict[str, xr.DataArray]:
        """Labelled arrays of one measurement, as they were stored; empty when it has none.

        Args:
            measurement_id: id of the measurement.
            names: only these.

        Raises:
            GradlabError: it has no array of one of these names.
        """
        rows = self._backend.read(lambda connection: reader.array_rows(connection, measurement_id, names))
        return reader.arrays(rows, measurement_id, names)

    def traceback(self, measurement_id: int) -> str:
        """Where a measurement failed: the Python traceback, of which its ``message`` is the last line.

        Args:
            measurement_id: id of the measurement.

        Returns:
            Several lines; empty for a measurement that did not fail, or whose failure left no trace.
        """
        return self._backend.read(lambda connection: reader.traceback(connection, measurement_id))

    def received(self, tokens: Sequence[str]) -> dict[str, int]:
        """Of these tokens those that ``RunWriter.record_once`` has stored a measurement under, and its id.

        Args:
            tokens: names of measurements, each the writer's own.
        """
        return self._backend.read(lambda connection: reader.received(connection, tokens))

    def latest(self, run: int, probe: str, at_step: int | None = None) -> MeasurementInfo | None:
        """The last measurement of a probe with status ``ok``, by step and then by id.

        Args:
            run: id of the run.
            probe: name of the probe.
            at_step: only those at or before this step.
        """
        return self._backend.read(lambda connection: reader.latest(connection, run, probe, at_step))

    def close(self) -> None:
        """Lets go of the database; using the store afterwards raises."""
        self._backend.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Store], tuple[str, bool]]:
        # In another process it is opened again: connections cannot travel.
        return _reopen, (self.address, self.readonly)

    def __repr__(self) -> str:
        return f"<Store {self.name}{' (read-only)' if self.readonly else ''}>"


def _reopen(where: str, readonly: bool) -> Store:
    return open_store(where, readonly=readonly)
