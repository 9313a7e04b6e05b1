"""Stored scalars as series over training steps, thinned to what a figure can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tsdownsample import MinMaxLTTBDownsampler

from gradlab.store import ScalarTable


class Key(NamedTuple):
    """What one series is: the probe that measured it, its name and what it is against."""

    probe: str
    name: str
    reference: str


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One number over training, ordered by step; all columns have one length.

    Attributes:
        step: training step, int64.
        value: the estimate.
        stderr: its standard error; NaN where unknown.
        low: lower end of the 95 % interval; NaN where unknown.
        high: upper end.
        samples: number of independent samples, int64.
        reference: what it is against.
        objective: the objective it belongs to.
    """

    step: NDArray[np.int64]
    value: NDArray[np.float64]
    stderr: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    samples: NDArray[np.int64]
    reference: str = ""
    objective: str = ""

    def __len__(self) -> int:
        return len(self.step)

    @property
    def resolved(self) -> NDArray[np.bool_]:
        """Whether the 95 % interval excludes zero: [n]; false where there is no interval."""
        return (self.low > 0) | (self.high < 0)

    def pick(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Series:
        """Some of the points."""
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        return Series(**columns, reference=self.reference, objective=self.objective)

    def positive(self) -> Series:
        """That of a number that cannot be negative: an end at zero or below it says nothing."""
        return replace(self, low=np.where(self.low > 0, self.low, np.where(np.isnan(self.low), np.nan, -np.inf)))

    def extended(self, more: Series) -> Series:
        """With later records added; results that arrive late are put where their step belongs."""
        columns = {name: np.concatenate([getattr(self, name), getattr(more, name)]) for name in COLUMNS}
        joined = Series(**columns, reference=more.reference, objective=more.objective)
        late = len(self) and len(more) and more.step[0] < self.step[-1]
        return joined.pick(np.argsort(joined.step, kind="stable")) if late else joined


COLUMNS = tuple(field.name for field in fields(Series) if field.name not in ("reference", "objective"))

SeriesSet = Mapping[Key, Series]

_DOWNSAMPLER = MinMaxLTTBDownsampler()


def collect(table: ScalarTable) -> dict[Key, Series]:
    """The series of one run's scalars: ``collect(store.scalars(run=1))``.

    Example:
        >>> collect(ScalarTable.concatenate([]))
        {}
    """
    found: dict[Key, Series] = {}
    keys = list(zip(table.probe, table.name, table.reference, strict=True))
    codes = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    code = np.fromiter((codes[key] for key in keys), dtype=np.int64, count=len(keys))
    # One sort serves all series: within a series by step, and records of one step in the order of their ids.
    order = np.lexsort((table.step, code))
    ends = np.searchsorted(code[order], np.arange(len(codes) + 1))
    for key, number in codes.items():
        rows = order[ends[number] : ends[number + 1]]
        columns = {name: getattr(table, name)[rows] for name in COLUMNS}
        found[Key(*key)] = Series(**columns, reference=key[2], objective=str(table.objective[rows[-1]]))
    return found


def select(series: SeriesSet, probe: str, name: str) -> Series | None:
    """The series of a probe by its name; the longest one where there are several references."""
    found = [one for key, one in series.items() if key.probe == probe and key.name == name]
    return max(found, key=len, default=None)


def until(series: SeriesSet, step: int | None) -> SeriesSet:
    """What had been measured at a step: each series up to it, without those that begin later; all where it is None.

    Example:
        >>> zero = np.zeros(2)
        >>> one = {Key("mine", "a", ""): Series(np.array([1000, 2000]), *[zero] * 4, np.ones(2, dtype=np.int64))}
        >>> [len(cut) for at in (500, 1500, 2000, None) for cut in until(one, at).values()]
        [1, 2, 2]
    """
    if step is None:
        return series
    ends = {key: int(np.searchsorted(one.step, step, side="right")) for key, one in series.items()}
    return {key: series[key].pick(slice(end)) for key, end in ends.items() if end}


def last(series: Series | None) -> Series | None:
    """The newest finite point as a series of one; None when there is none."""
    if series is None:
        return None
    finite = np.flatnonzero(np.isfinite(series.value))
    return series.pick(finite[-1:]) if len(finite) else None


def estimators(series: SeriesSet, probe: str, metrics: Iterable[str]) -> list[str]:
    """Estimators that a probe measured with one of these metrics, in a stable order."""
    wanted = set(metrics)
    parts = (key.name.rpartition("/") for key in series if key.probe == probe)
    return sorted({estimator for estimator, _, metric in parts if estimator and metric in wanted})


def thin(series: Series, points: int = 500) -> Series:
    """At most about ``points`` points that look the same: MinMaxLTTB keeps spikes, the first and the last point.

    Example:
        >>> n = 100_000
        >>> zero = np.zeros(n)
        >>> value = zero.copy(); value[31_415] = 1.0
        >>> thinned = thin(Series(np.arange(n), value, zero, zero, zero, np.ones(n, dtype=np.int64)), 100)
        >>> len(thinned), bool(thinned.value.max() == 1.0), int(thinned.step[-1])
        (100, True, 99999)
    """
    if len(series) <= points:
        return series
    # A step may hold two records, and the downsampler wants x strictly ordered: its position serves as x.
    value = np.ascontiguousarray(series.value)
    if not np.isfinite(value).all():
        value = np.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)
    return series.pick(np.unique(_DOWNSAMPLER.downsample(value, n_out=points)).astype(np.intp))
