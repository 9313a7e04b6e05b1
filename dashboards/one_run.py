"""One run as a store holds it at one moment: what figures, reports and exports of that run are made of."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from dashboards.known_run import PRUNED, RunRecords
from dashboards.own import others as other_probes
from dashboards.said import times
from dashboards.series import Key, Series, collect
from dashboards.summary import ProbeSummary
from gradlab.errors import GradlabError
from gradlab.store import RunInfo, Store, open_store
from gradlab.store.chosen import chosen_run
from gradlab.store.damage import damage_named

Where = str | os.PathLike[str] | Store


@dataclass(frozen=True, slots=True, eq=False)
class OneRun:
    """A run, read once.

    Attributes:
        where: the store it was read from, for reading arrays.
        store: name of the store, for people: without a password.
        info: the run.
        series: its scalars over training.
        probes: what each probe did.
        fields: (step, measurement id) of every picture of the field, by step.
        tables: the same of every probe whose arrays hold a row for each state, by probe.
    """

    where: Where
    store: str
    info: RunInfo
    series: Mapping[Key, Series]
    probes: Mapping[str, ProbeSummary]
    fields: tuple[tuple[int, int], ...]
    tables: Mapping[str, tuple[tuple[int, int], ...]]

    @property
    def others(self) -> list[str]:
        """Probes that no figure is made for, by name."""
        return other_probes(self.series, self.info.config, list(self.probes))

    def absence(self, probe: str, numbers: Collection[str] = ()) -> str:
        """Why a figure of a probe has nothing to show; empty where it has something.

        Args:
            probe: its name.
            numbers: what the figure draws: names of numbers, whole or after the last slash; any of them will do. All
                numbers of the probe when empty, and its pictures where it is the field.
        """
        if probe == "field" and not numbers:
            return "" if self.fields else self._reason(probe)
        names = [key.name for key, one in self.series.items() if key.probe == probe and len(one)]
        if not numbers or not names:
            return "" if names else self._reason(probe)
        if any(name in numbers or name.rpartition("/")[2] in numbers for name in names):
            return ""
        return f"the probe {probe} measured other numbers"

    def _reason(self, name: str) -> str:
        left_out, summary = self.info.config.get("left_out"), self.probes.get(name)
        if isinstance(left_out, Mapping) and name in left_out:
            return f"the probe {name} was left out: {left_out[name]}"
        if summary is None:
            planned = self.info.config.get("probes")
            known = isinstance(planned, Mapping) and name in planned
            return f"the probe {name} has not measured yet" if known else f"this run has no probe {name}"
        if summary.ok:
            if name == "field" and not self.fields:
                return PRUNED
            return f"the probe {name} measured arrays and no numbers"
        step, reason = max([*summary.missing, *([summary.failure] if summary.failure else [])])
        counts = [f"skipped {times(summary.skipped)}"] if summary.skipped else []
        counts += [f"failed {times(summary.failed)}"] if summary.failed else []
        return f"the probe {name} was due and {' and '.join(counts)}; at step {step:,}: {reason}"


def read_run(where: Where, run: int | str | None = None) -> OneRun:
    """Reads a run of a store, which is opened for reading only and let go of again.

    Args:
        where: path or URL of the store, or an open one, which stays open.
        run: id or name; the newest when None.

    Raises:
        GradlabError: there is no such store or run.
    """
    with opened(where) as store:
        info = chosen_run(store, run)
        known = RunRecords()
        with damage_named(store):
            for one in store.measurements(run=info.id):
                known.count(one)
            series = collect(store.scalars(run=info.id))
        tables = {probe: tuple(held) for probe, held in known.tables.items()}
        return OneRun(where, store.name, info, series, known.probes, tuple(known.fields), tables)


@contextmanager
def opened(where: Where) -> Iterator[Store]:
    """A store for reading: the one given, or opened by its path or URL and closed afterwards.

    Raises:
        GradlabError: there is no store there.

    Example:
        >>> with opened(7) as store:
        ...     pass
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: store: is a int; give a path, a URL or an open Store
    """
    if isinstance(where, Store):
        yield where
        return
    if not isinstance(where, str | os.PathLike):
        raise GradlabError(f"store: is a {type(where).__name__}; give a path, a URL or an open Store")
    with open_store(where, readonly=True) as store:
        yield store
