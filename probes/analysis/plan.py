"""What an analysis will do: the runs, the tasks of each, what the store has already, and what the rest will take."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradlab.store import RunInfo, Store
from probes.analysis.costs import Costs
from probes.analysis.found import Found, Inventory, look
from probes.analysis.grouping import Series, series_of
from probes.analysis.kept import moment, run_of, token_of
from probes.analysis.settings import Settings
from probes.analysis.states import States, states_from
from probes.analysis.tasks import Task, keeps_states
from probes.probe import Probe


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan.

    Attributes:
        series: its checkpoints.
        probes: what measures them.
        first: the checkpoint whose states are kept to.
        info: the run of the store that is taken up; None for a new one.
        known: (step, probe) that the store has.
    """

    series: Series
    probes: tuple[Probe, ...]
    first: Found
    info: RunInfo | None
    known: frozenset[tuple[int, str]]

    @property
    def waiting(self) -> list[tuple[Found, Probe]]:
        """Checkpoint and probe of everything to be measured."""
        return [
            (one, probe)
            for one in self.series.checkpoints
            for probe in self.probes
            if (one.step, probe.name) not in self.known
        ]

    @property
    def total(self) -> int:
        """Checkpoints times probes."""
        return len(self.series.checkpoints) * len(self.probes)

    def tasks(self, run: int, settings: Settings, states: States, costs: Costs) -> list[Task]:
        """The tasks to do, by checkpoint, of each the longest first; those that the store has are left out.

        Args:
            run: number of the run in the store.
            settings: what was asked for.
            states: where states come from.
            costs: what probes take.
        """
        places = {one.content: place for place, one in enumerate(self.series.checkpoints)}
        found = []
        environment = self.series.environment
        order = sorted(self.probes, key=lambda probe: -costs.of(probe.name, environment))
        for at in self.series.checkpoints:
            place = places[at.content]
            before = self.series.checkpoints[place - 1] if place else None
            for probe in order:
                if (at.step, probe.name) in self.known:
                    continue
                token = token_of(run, at, probe, environment, settings, states, self.first)
                found.append(
                    Task(
                        token=token,
                        run=run,
                        at=moment(at),
                        probe=probe,
                        environment=environment,
                        seed=settings.seed,
                        states=states,
                        first=moment(self.first) if keeps_states(probe) else None,
                        before=moment(before) if before is not None and probe.remembers else None,
                        place=place,
                        facts=settings.facts,
                        trust=settings.trust,
                    )
                )
        return found


@dataclass(frozen=True)
class Plan:
    """What an analysis will do.

    Attributes:
        runs: the runs.
        inventory: what was looked at.
        settings: what was asked for.
        states: where states come from.
        costs: what probes take.
    """

    runs: tuple[PlannedRun, ...]
    inventory: Inventory
    settings: Settings
    states: States
    costs: Costs

    @property
    def checkpoints(self) -> int:
        """How many there are."""
        return sum(len(run.series.checkpoints) for run in self.runs)

    @property
    def total(self) -> int:
        """Measurements in all."""
        return sum(run.total for run in self.runs)

    @property
    def known(self) -> int:
        """Measurements that the store has."""
        return sum(len(run.known) for run in self.runs)

    @property
    def seconds(self) -> float:
        """What those that it has not will take, one after the other."""
        return self.costs.total((probe.name, run.series.environment) for run in self.runs for _, probe in run.waiting)

    @property
    def guessed(self) -> tuple[str, ...]:
        """Probes to be measured of which no time is known."""
        waiting = {(probe.name, run.series.environment) for run in self.runs for _, probe in run.waiting}
        return tuple(sorted({name for name, environment in waiting if self.costs.is_guess(name, environment)}))


def make_plan(
    paths: Sequence[str | os.PathLike[str]],
    settings: Settings,
    store: Store | None = None,
    *,
    resume: bool = True,
    doing: Callable[[str], object] = str,
) -> Plan:
    """Look at the files and at the store; nothing is written.

    Args:
        paths: files, directories, patterns.
        settings: what is asked for.
        store: where measurements may be; None for nowhere.
        resume: whether runs of the store are taken up.
        doing: is told what goes on.

    Raises:
        GradlabError: there is no probe of a name that was given, or no states in a file.
    """
    costs = Costs(store)
    settings.choose(settings.environments[0] if settings.environments else "")
    states = states_from(settings.states if isinstance(settings.states, str) else Path(settings.states))
    inventory = look(paths, settings, doing)
    doing("looking at what the store has")
    store = store if resume else None
    infos = [] if store is None else store.runs()
    planned = [_planned(series, settings, states, store, infos) for series in series_of(inventory.found)]
    return Plan(tuple(planned), inventory, settings, states, costs)


def _planned(
    series: Series, settings: Settings, states: States, store: Store | None, infos: Sequence[RunInfo]
) -> PlannedRun:
    probes = settings.choose(series.environment)
    before = run_of(infos, series, settings, states, probes)
    if store is None or before is None:
        return PlannedRun(series, tuple(probes), series.checkpoints[0], None, frozenset())
    info, first = before
    tokens = {
        token_of(info.id, one, probe, series.environment, settings, states, first): (one.step, probe.name)
        for one in series.checkpoints
        for probe in probes
    }
    known = frozenset(tokens[token] for token in store.received(list(tokens)))
    return PlannedRun(series, tuple(probes), first, info, known)
