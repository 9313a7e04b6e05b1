"""What reading a store gives: plain records, and scalars as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

RunStatus = Literal["running", "finished", "stopped", "failed"]
MeasurementStatus = Literal["ok", "skipped", "failed"]
Where = Literal["inline", "background"]
#: Columns of measurements that a page of them can be in the order of.
Order = Literal["id", "step", "time", "cost", "probe", "where", "status"]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as the store knows it.

    Attributes:
        id: number of the run in its store.
        name: name for people.
        algorithm: algorithm, for people.
        environment: environment id, for people.
        library: library, for people.
        seed: the run's seed, None where it was not said.
        config: what the run was configured with.
        started: when it began, seconds since 1970.
        last_seen: when the training process last gave a sign of life, seconds since 1970.
        step: training step at that moment.
        status: ``running`` until ``finish``: a process that was killed leaves ``running`` and an old ``last_seen``.
        message: why it ended, where it said so.
    """

    id: int
    name: str
    algorithm: str
    environment: str
    library: str
    seed: int | None
    config: Mapping[str, Any]
    started: float
    last_seen: float
    step: int
    status: RunStatus
    message: str


@dataclass(frozen=True, slots=True)
class MeasurementInfo:
    """One measurement without its numbers.

    Attributes:
        id: number of the measurement in its store: the cursor.
        run: id of its run.
        step: training step it belongs to.
        time: when it was stored, seconds since 1970; when it was measured, where the store was away meanwhile.
        probe: name of the probe.
        where: measured ``inline`` (training waited) or in the ``background``.
        cost: seconds it took.
        status: ``ok``, ``skipped`` or ``failed``.
        message: why it was skipped or failed.
        notes: what a person should know about it, one line each.
        arrays: whether it holds labelled arrays; of a measurement whose arrays were pruned it is false.
    """

    id: int
    run: int
    step: int
    time: float
    probe: str
    where: Where
    cost: float
    status: MeasurementStatus
    message: str
    notes: tuple[str, ...]
    arrays: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ScalarTable:
    """Scalars as columns of one length, in the order of their measurements' ids.

    Text columns hold Python strings (dtype object), shared between rows.

    Attributes:
        id: id of the measurement, int64.
        run: id of the run, int64.
        step: training step, int64.
        time: when it was stored, seconds since 1970, float64.
        probe: name of the probe.
        name: name of the scalar.
        value: the estimate, float64, as are the next three.
        stderr: its standard error.
        low: lower end of its 95 % interval.
        high: upper end.
        samples: number of independent samples, int64.
        reference: what it is against.
        objective: the objective it belongs to.
        scale: where its interval is symmetric.

    Example:
        >>> empty = ScalarTable.concatenate([])
        >>> len(empty), empty.value.dtype
        (0, dtype('float64'))
    """

    id: NDArray[np.int64]
    run: NDArray[np.int64]
    step: NDArray[np.int64]
    time: NDArray[np.float64]
    probe: NDArray[np.object_]
    name: NDArray[np.object_]
    value: NDArray[np.float64]
    stderr: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    samples: NDArray[np.int64]
    reference: NDArray[np.object_]
    objective: NDArray[np.object_]
    scale: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, rows: slice | NDArray[Any]) -> ScalarTable:
        """Some of the rows: a slice, a mask or an array of positions."""
        return ScalarTable(**{name: column[rows] for name, column in self.columns().items()})

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by name, for a data frame: ``pandas.DataFrame(table.columns())``."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def concatenate(cls, tables: Sequence[ScalarTable]) -> ScalarTable:
        """One table of the rows of several, in their order."""
        return cls(
            **{
                name: np.concatenate([np.empty(0, dtype), *(getattr(table, name) for table in tables)])
                for name, dtype in _DTYPES.items()
            }
        )


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """An array of a measurement without its values.

    Attributes:
        name: name under which it is stored.
        dtype: numpy's, with byte order.
        dims: names of its dimensions.
        shape: their lengths.
    """

    name: str
    dtype: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One measurement with all it holds but the values of its arrays.

    Attributes:
        info: what is known of every measurement.
        scalars: its scalars.
        arrays: its arrays, in the order they were given.
        traceback: where it failed, several lines; empty where it did not.
    """

    info: MeasurementInfo
    scalars: ScalarTable
    arrays: tuple[ArrayInfo, ...]
    traceback: str


@dataclass(frozen=True, slots=True, eq=False)
class News:
    """What was added to a store, as it was at one moment.

    Attributes:
        version: what ``Store.version`` was then.
        runs: every run, oldest first.
        measurements: those that are new, in the order of their ids.
        scalars: of these measurements.
    """

    version: tuple[Any, ...]
    runs: tuple[RunInfo, ...]
    measurements: tuple[MeasurementInfo, ...]
    scalars: ScalarTable


_DTYPES: dict[str, type] = {
    **dict.fromkeys((field.name for field in fields(ScalarTable)), np.object_),
    **dict.fromkeys(("id", "run", "step", "samples"), np.int64),
    **dict.fromkeys(("time", "value", "stderr", "low", "high"), np.float64),
}
