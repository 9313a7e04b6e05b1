"""A number over several runs: the same steps, the interquartile mean over seeds, and which groups differ."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.interquartile import difference, over_runs
from gradlab.store.records import RunInfo
from gradlab.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

#: Names of numbers that a message lists.
_LISTED = 12
#: What is said of an objective's entropy term: α is often learned, and then another at every step of a run.
_ENTROPY = re.compile(r",? ?entropy α=[^,]+")


@dataclass(frozen=True)
class AcrossRuns:
    """One number of several groups of runs, at the same training steps.

    Attributes:
        scalar: the number, ``probe/name``.
        reference: what it is measured against, in words.
        objective: the objective it belongs to; where the entropy coefficients differ, what they have in common.
        steps: training steps, increasing.
        groups: group → its interquartile mean over runs at each of the steps.
        differences: pair of groups → the first less the second at each of the steps.
        notes: what a person should know.
    """

    scalar: str
    reference: str
    objective: str
    steps: tuple[int, ...]
    groups: Mapping[str, tuple[Estimate, ...]]
    differences: Mapping[tuple[str, str], tuple[Estimate, ...]]
    notes: tuple[str, ...] = ()

    def table(self) -> pd.DataFrame:
        """A row for each step and group or pair: step, group, value, stderr, low, high, runs, resolved."""
        import pandas as pd

        named = {**self.groups, **{" - ".join(pair): found for pair, found in self.differences.items()}}
        return pd.DataFrame(
            [
                (step, name, one.value, one.stderr, *one.interval(), one.samples, one.resolved)
                for name, found in named.items()
                for step, one in zip(self.steps, found, strict=True)
            ],
            columns=["step", "group", "value", "stderr", "low", "high", "runs", "resolved"],
        )


def grouped(runs: Sequence[RunInfo], by: str = "algorithm") -> dict[str, list[int]]:
    """Ids of runs by what they have in common.

    Args:
        runs: the runs.
        by: "algorithm", "environment", "library", or "name": what is before a run's last space or digit.

    Raises:
        GradlabError: they cannot be grouped by that.

    Example:
        >>> def run(number, name):
        ...     return RunInfo(number, name, "TD3", "Reacher-v5", "sb3", number, {}, 0.0, 0.0, 5, "finished", "")
        >>> grouped([run(1, "wide-1"), run(2, "wide-2"), run(3, "deep")], by="name")
        {'wide': [1, 2], 'deep': [3]}
    """
    if by not in ("algorithm", "environment", "library", "name"):
        raise GradlabError(f"runs cannot be grouped by {by!r}; give algorithm, environment, library or name")
    found: dict[str, list[int]] = {}
    for run in runs:
        word = str(getattr(run, by))
        found.setdefault(word.rstrip("0123456789").rstrip(" -_") or word if by == "name" else word, []).append(run.id)
    return found


def across_runs(
    store: Store, groups: Mapping[str, Sequence[int]], scalar: str, steps: Sequence[int] | None = None
) -> AcrossRuns:
    """A number of each group of runs with its uncertainty over seeds, and the differences between groups.

    The steps are those of the run that was measured least often; of the others counts the record that is nearest,
    within half the distance to the next of the steps. A step is left out where a task of a group has no record. In a
    group of several environments each is a stratum of its own, so that all of them weigh by their runs.

    Args:
        store: the store.
        groups: group → ids of its runs, each run in one group; the groups must have the same environments.
        scalar: the number, ``probe/name``, such as ``landscape/gap``.
        steps: training steps in place of those.

    Raises:
        GradlabError: a run is not there or in two groups, no run has the number, it is not the same number everywhere
            (another reference, or an objective that differs in more than
            the entropy coefficient), or there is no step that all have in common.
    """
    infos = {run.id: run for run in store.runs()}
    _check(groups, infos)
    series, reference, objectives = _series(store, groups, scalar)
    environments = {name: sorted({infos[run].environment for run in ids}) for name, ids in groups.items()}
    if len({tuple(found) for found in environments.values()}) > 1:
        said = "; ".join(f"{name}: {', '.join(found)}" for name, found in environments.items())
        raise GradlabError(f"groups of runs: not of the same environments ({said}); compare those that are")
    wanted = _steps(series, steps)
    at = {run: _nearest(*series[run], wanted) for run in series}
    strata = {
        name: [[at[run] for run in ids if infos[run].environment == task] for task in environments[name]]
        for name, ids in groups.items()
    }
    kept = [
        place
        for place in range(len(wanted))
        if all(any(np.isfinite(run[place]) for run in task) for tasks in strata.values() for task in tasks)
    ]
    if not kept:
        raise GradlabError(
            f"{scalar}: the runs have no training step in common; give steps=… that each is measured near"
        )

    def values(name: str, place: int) -> list[NDArray[np.float64]]:
        rows = [np.array([run[place] for run in task]) for task in strata[name]]
        return [row[np.isfinite(row)] for row in rows]

    tasks = len(next(iter(environments.values())))
    return AcrossRuns(
        scalar=scalar,
        reference=reference,
        objective=next(iter(objectives)) if len(objectives) == 1 else _hard(next(iter(objectives))),
        steps=tuple(int(wanted[place]) for place in kept),
        groups={name: tuple(over_runs(values(name, place)) for place in kept) for name in groups},
        differences={
            (one, two): tuple(difference(values(one, place), values(two, place)) for place in kept)
            for one, two in itertools.combinations(groups, 2)
        },
        notes=tuple(_notes(tasks, objectives)),
    )


def _notes(tasks: int, objectives: Collection[str]) -> Iterator[str]:
    if tasks > 1:
        yield f"over {tasks} environments; that says something only of a number without a unit"
    if len(objectives) > 1:
        yield "each by its own objective, as entropy coefficients differ; that says something only of what has no unit"


def _hard(objective: str) -> str:
    """An objective without its entropy term.

    Example:
        >>> _hard("γ=0.99, entropy α=0.36, H=50"), _hard("entropy α=0.2"), _hard("γ=0.99")
        ('γ=0.99, H=50', '', 'γ=0.99')
    """
    return _ENTROPY.sub("", objective).removeprefix(", ")


def _check(groups: Mapping[str, Sequence[int]], infos: Mapping[int, RunInfo]) -> None:
    seen: set[int] = set()
    for name, ids in groups.items():
        if not ids:
            raise GradlabError(f"group {name}: has no run; give the ids of its runs")
        for run in ids:
            if run not in infos:
                raise GradlabError(f"group {name}: there is no run {run}; the store has {len(infos)} runs")
            if run in seen:
                raise GradlabError(f"group {name}: run {run} is there twice; a run counts once")
            seen.add(run)
    if not groups:
        raise GradlabError("groups of runs: there are none; give at least one")


def _series(
    store: Store, groups: Mapping[str, Sequence[int]], scalar: str
) -> tuple[dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]], str, dict[str, None]]:
    """Steps and values of each run, what they are against and of which objectives, alike but for their entropy."""
    probe, _, name = scalar.partition("/")
    found: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    kinds: dict[tuple[str, str], int] = {}
    there: set[str] = set()
    for run in itertools.chain.from_iterable(groups.values()):
        table = store.scalars(run=run, probe=probe)
        there |= {f"{probe}/{one}" for one in table.name}
        table = table[(table.name == name) & np.isfinite(table.value)]
        if not len(table):
            continue
        # Of a step that was measured twice the newer counts.
        last = {int(step): float(value) for step, value in zip(table.step, table.value, strict=True)}
        found[run] = np.array(sorted(last), np.int64), np.array([last[step] for step in sorted(last)])
        kinds |= {(str(a), str(b)): run for a, b in zip(table.reference, table.objective, strict=True)}
    if not found:
        listed = ", ".join(sorted(there)[:_LISTED]) or f"nothing of a probe {probe!r}"
        raise GradlabError(f"{scalar}: none of the runs has this number; they have {listed}")
    if len({(against, _hard(objective)) for against, objective in kinds}) > 1:
        said = "; ".join(
            f"run {run}: against {a or 'nothing'} ({b or 'no objective'})" for (a, b), run in kinds.items()
        )
        raise GradlabError(f"{scalar}: is not the same number in all runs ({said}); compare those that are")
    missing = [name for name, ids in groups.items() if not any(run in found for run in ids)]
    if missing:
        raise GradlabError(f"{scalar}: no run of {', '.join(missing)} has this number; leave the group out")
    reference = next(against for against, _ in kinds)
    empty = np.empty(0, np.int64), np.empty(0)
    return (
        {run: found.get(run, empty) for run in itertools.chain.from_iterable(groups.values())},
        reference,
        dict.fromkeys(objective for _, objective in kinds),
    )


def _steps(
    series: Mapping[int, tuple[NDArray[np.int64], NDArray[np.float64]]], given: Sequence[int] | None
) -> NDArray[np.int64]:
    if given is not None:
        return np.unique(np.asarray(given, np.int64))
    return min((steps for steps, _ in series.values() if len(steps)), key=len)


def _nearest(steps: NDArray[np.int64], values: NDArray[np.float64], wanted: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values nearest to the wanted steps; NaN where there is none within half the distance to the next of them."""
    if not len(steps):
        return np.full(len(wanted), np.nan)
    right = np.searchsorted(steps, wanted).clip(0, len(steps) - 1)
    left = (right - 1).clip(0)
    near = np.where(np.abs(steps[left] - wanted) <= np.abs(steps[right] - wanted), left, right)
    gaps = np.diff(wanted)
    reach = np.full(len(wanted), np.inf) if not len(gaps) else np.minimum(
        np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0])
    ) / 2  # fmt: skip
    return np.where(np.abs(steps[near] - wanted) <= reach, values[near], np.nan)
