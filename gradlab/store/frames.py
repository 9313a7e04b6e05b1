"""What a store holds as data frames of pandas and datasets of xarray, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd
import xarray as xr

from gradlab.errors import GradlabError
from gradlab.store.chosen import chosen_run
from gradlab.store.damage import damage_named
from gradlab.store.records import ScalarTable
from gradlab.store.store import Store


def runs_frame(store: Store) -> pd.DataFrame:
    """Every run, a row each, by its id; ``started`` and ``last_seen`` are times in UTC.

    Args:
        store: an open store.

    Example:
        >>> import tempfile
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/gradlab.db") as store:
        ...     store.start_run("mine", algorithm="TD3").finish()
        ...     runs_frame(store)[["name", "algorithm", "status"]].loc[1].to_list()
        ['mine', 'TD3', 'finished']
        >>> directory.cleanup()
    """
    with damage_named(store):
        found = [asdict(run) for run in store.runs()]
    columns = ["id", "name", "algorithm", "environment", "library", "seed", "config", "started", "last_seen", "step"]
    frame = pd.DataFrame(found, columns=[*columns, "status", "message"])
    # A seed has up to 64 bits, which a float has no room for.
    frame["seed"] = pd.Series([one["seed"] for one in found], dtype=object)
    return _timed(frame, "started", "last_seen").set_index("id")


def measurements_frame(store: Store, runs: Sequence[int | str] = ()) -> pd.DataFrame:
    """Measurements, a row each, those without numbers too; ``time`` is in UTC.

    Args:
        store: an open store.
        runs: ids or names; all of them when empty.

    Raises:
        GradlabError: there is no such run.
    """
    columns = ["id", "run", "step", "time", "probe", "where", "cost", "status", "message", "notes", "arrays"]
    with damage_named(store):
        found = [asdict(one) for run in _numbers(store, runs) for one in store.measurements(run=run)]
    return _timed(pd.DataFrame(found, columns=columns), "time").set_index("id").sort_index()


def scalars_frame(store: Store, runs: Sequence[int | str] = (), probe: str | None = None) -> pd.DataFrame:
    """Estimates, a row each, with their intervals, n, reference and objective; ``id`` is that of the measurement.

    Args:
        store: an open store.
        runs: ids or names; all of them when empty.
        probe: only those of this probe.

    Raises:
        GradlabError: there is no such run.

    Example:
        >>> import tempfile
        >>> from gradlab.estimate import Estimate
        >>> from gradlab.measurement import Measurement
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/gradlab.db") as store:
        ...     run = store.start_run("mine")
        ...     for step in (1000, 2000):
        ...         _ = run.record(step, "gradient", Measurement({"cosine": Estimate(0.9, 0.1, samples=64)}))
        ...     frame = scalars_frame(store, ["mine"])
        >>> frame.pivot(index="step", columns="name", values="value")["cosine"].to_dict()
        {1000: 0.9, 2000: 0.9}
        >>> directory.cleanup()
    """
    with damage_named(store):
        tables = [store.scalars(run=run, probe=probe) for run in _numbers(store, runs)]
    return _timed(pd.DataFrame(ScalarTable.concatenate(tables).columns()), "time")


def dataset(store: Store, run: int | str, probe: str, names: Sequence[str] | None = None) -> xr.Dataset:
    """Arrays of a probe over training: those of each of its measurements, beside each other along ``step``.

    Args:
        store: an open store.
        run: id or name.
        probe: name of the probe.
        names: of arrays: measurements that lack one of them are left out. When None, those that all measurements have.

    Raises:
        GradlabError: there is no such run, or the probe has no such arrays; or their shapes change over training.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from gradlab.measurement import Measurement
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/gradlab.db") as store:
        ...     run = store.start_run("mine")
        ...     for step in (1000, 2000):
        ...         q = xr.DataArray(np.full(4, float(step)), dims="state")
        ...         _ = run.record(step, "field", Measurement(arrays={"q": q}))
        ...     found = dataset(store, "mine", "field")
        >>> dict(found.sizes), float(found["q"].sel(step=2000).mean())
        ({'step': 2, 'state': 4}, 2000.0)
        >>> directory.cleanup()
    """
    info = chosen_run(store, run)
    with damage_named(store):
        measured = [one for one in store.measurements(run=info.id, probe=probe) if one.arrays]
        held = [(one.step, store.arrays(one.id)) for one in sorted(measured, key=lambda one: (one.step, one.id))]
    wanted = [name for name in held[0][1] if all(name in one for _, one in held)] if held and names is None else names
    there = [(step, {name: one[name] for name in wanted}) for step, one in held if wanted and set(wanted) <= set(one)]
    if not there or not wanted:
        of = "arrays" if not names else ", ".join(names)
        raise GradlabError(f"run {info.id} ({info.name}): probe {probe} has no {of}; look at measurements_frame")
    try:
        return xr.concat(
            [xr.Dataset(one) for _, one in there],
            pd.Index([step for step, _ in there], name="step"),
            join="exact",
            combine_attrs="drop_conflicts",
        )
    except ValueError as error:
        said = str(error).strip().splitlines()[0]
        raise GradlabError(
            f"run {info.id} ({info.name}): arrays of {probe} change their shape over training: {said}; "
            "read each by store.arrays(id)"
        ) from error


def _numbers(store: Store, runs: Sequence[int | str]) -> list[int]:
    if not runs:
        return [run.id for run in store.runs()]
    return list(dict.fromkeys(chosen_run(store, run).id for run in runs))


def _timed(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    for name in names:
        frame[name] = pd.to_datetime(frame[name], unit="s", utc=True)
    return frame
