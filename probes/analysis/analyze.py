"""analyze: measure checkpoints that training has left, on one core or on a cluster, into a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from gradlab.adapters.facts import Facts
from gradlab.arguments import whole_number
from gradlab.errors import GradlabError, first_line
from gradlab.store import RunWriter, Store, open_store
from gradlab.store.records import RunStatus
from probes.analysis import engines
from probes.analysis.clusters import engine_of
from probes.analysis.engines import Engine
from probes.analysis.events import Doing, Done, Listener, Planned, Said
from probes.analysis.kept import begin, keep, name_file
from probes.analysis.plan import Plan, make_plan
from probes.analysis.settings import Settings
from probes.analysis.tasks import Task
from probes.function import Function
from probes.heartbeat import Heartbeat
from probes.insisting import insist
from probes.probe import Probe

#: Reasons that an error names.
_REASONS = 4


@dataclass(frozen=True)
class Summary:
    """What an analysis has done.

    Attributes:
        store: the store, for people.
        runs: numbers of the runs in it, those that were complete before, too.
        measured: tasks done and stored.
        known: tasks that the store had.
        failed: measurements that raised, now or before.
        refused: files that could not be measured, with the reason.
        missing: tasks without a record, as ``file: probe``, with the reason.
    """

    store: str
    runs: tuple[int, ...] = ()
    measured: int = 0
    known: int = 0
    failed: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nothing failed and nothing is missing."""
        return not (self.failed or self.refused or self.missing)


def settings_for(
    *,
    environment: str | Sequence[str] | None = None,
    probes: Sequence[str | Probe | Function] | None = None,
    states: str | os.PathLike[str] = "rollout",
    state_count: int | None = None,
    seed: int = 0,
    trust: bool = False,
    facts: Facts | None = None,
) -> Settings:
    """The arguments of ``analyze`` that decide its numbers, checked.

    Raises:
        GradlabError: a number is out of range.
    """
    named = (environment,) if isinstance(environment, str) else tuple(environment or ())
    return Settings(
        environments=tuple(dict.fromkeys(named)),
        probes=probes,
        states=states if isinstance(states, str) else Path(states),
        state_count=None if state_count is None else whole_number("state_count", state_count, 1),
        seed=whole_number("seed", seed, 0),
        trust=trust,
        facts=facts or Facts(),
    )


def plan(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    store: str | os.PathLike[str] = "gradlab.db",
    *,
    resume: bool = True,
    environment: str | Sequence[str] | None = None,
    probes: Sequence[str | Probe | Function] | None = None,
    states: str | os.PathLike[str] = "rollout",
    state_count: int | None = None,
    seed: int = 0,
    trust: bool = False,
    facts: Facts | None = None,
    tell: Listener = str,
) -> Plan:
    """What ``analyze`` with these arguments would do, and what that would take; nothing is written.

    Raises:
        GradlabError: as ``analyze``.

    Example:
        >>> found = plan("tests/checkpoints/td3_pendulum_*.zip", environment="Pendulum-v1", probes=["gradient"])
        >>> [(run.series.title, len(run.series.checkpoints)) for run in found.runs], found.total, found.known
        ([('checkpoints/td3_pendulum', 6)], 6, 0)
    """
    settings = settings_for(
        environment=environment,
        probes=probes,
        states=states,
        state_count=state_count,
        seed=seed,
        trust=trust,
        facts=facts,
    )
    with ExitStack() as stack:
        # One that is not there yet has nothing; any other trouble is said when it is opened to write.
        opened = stack.enter_context(open_store(store, readonly=True)) if _is_there(store) else None
        return make_plan(_listed(paths), settings, opened, resume=resume, doing=lambda text: tell(Doing(text)))


def analyze(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    store: str | os.PathLike[str] = "gradlab.db",
    *,
    resume: bool = True,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = 1,
    environment: str | Sequence[str] | None = None,
    probes: Sequence[str | Probe | Function] | None = None,
    states: str | os.PathLike[str] = "rollout",
    state_count: int | None = None,
    seed: int = 0,
    trust: bool = False,
    facts: Facts | None = None,
    tell: Listener = str,
) -> Summary:
    """Measure every checkpoint under some paths into a store.

    Checkpoints of one folder, way of naming, algorithm, task and training seed are one run of the store, each of them a
    step. A task is a checkpoint and a probe; what came of it is stored together with its identity or not at all, so
    that an analysis that was ended or killed goes on by the same call, without repeating or losing a measurement. The
    numbers of a task are a function of the files, the settings and the seed: whichever engine, in whatever order.

    Args:
        paths: files, directories (with all below them) and patterns.
        store: a path, ``sqlite:///…`` or ``postgresql+psycopg://…``.
        resume: whether what the store has is not measured again; where False everything goes into new runs.
        engine: where tasks are done: ``local``, ``ray`` or ``dask``.
        address: of the cluster; one of this machine where None.
        workers: tasks at a time; 1 is this process, None one for each core.
        environment: gymnasium identifier of the task; of several, each checkpoint is measured in the one it fits.
            Where None it is what ``monitor.csv`` beside a checkpoint says, or a name.
        probes: names of what is measured, or probes and functions of one's own; everything where None.
        states: ``rollout`` for states of fresh episodes of each checkpoint's policy, ``buffer`` for those of the replay
            buffer saved with it, or a file of observations.
        state_count: observations each probe measures at, in place of its own number.
        seed: of states and measurements.
        trust: whether code in a file may run, where it cannot be read otherwise.
        facts: what files do not say, as the keywords of ``gradlab.load``.
        tell: is told what happens: ``Planned``, then ``Done`` for every task; ``Doing`` and ``Said``.

    Returns:
        What was done. Files that cannot be measured are named in it, and the rest is measured.

    Raises:
        GradlabError: an argument is out of range, the store cannot be written to, the cluster does not answer, or none
            of the files can be measured.
        KeyboardInterrupt: it was ended so; its runs are marked as stopped.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for _ in range(2):
        ...         done = analyze(
        ...             "tests/checkpoints/td3_pendulum_1000.zip", f"{folder}/gradlab.db",
        ...             environment="Pendulum-v1", probes=["gradient"], state_count=8,
        ...         )
        ...         done.measured, done.known, done.complete
        (1, 0, True)
        (0, 1, True)
    """
    settings = settings_for(
        environment=environment,
        probes=probes,
        states=states,
        state_count=state_count,
        seed=seed,
        trust=trust,
        facts=facts,
    )
    where = engine_of(engine, address, workers)
    there = _is_there(store)
    with ExitStack() as stack:
        opened = stack.enter_context(open_store(store)) if there else None
        found = make_plan(_listed(paths), settings, opened, resume=resume, doing=lambda text: tell(Doing(text)))
        if not found.runs:
            raise GradlabError(_nothing(found, paths))
        # A store is made when there is something to put into it.
        opened = opened or stack.enter_context(open_store(store))
        return _Analysis(opened, found, tell).carry_out(where)


class _Analysis:
    """A plan that is carried out; this process is the only one that writes."""

    def __init__(self, store: Store, plan: Plan, tell: Listener) -> None:
        self._store, self._plan, self._tell = store, plan, tell
        self._writers: dict[int, RunWriter] = {}
        self._steps: dict[int, int] = {}
        self._shown: dict[str, str] = {}
        self._measured = self._failed = 0
        self._missing: dict[str, str] = {}
        self._heart = Heartbeat()

    def carry_out(self, engine: Engine) -> Summary:
        """Do every task that the store has not."""
        for line in self._plan.inventory.lines:
            self._tell(Said(line))
        for run in self._plan.runs:
            for twin, of in run.series.twins.items():
                self._tell(Said(f"{twin}: the same content as {of}; not measured twice"))
        self._tell(Planned(self._plan, engine.workers))
        numbers, tasks = self._begun()
        status: RunStatus = "failed"
        message = ""
        try:
            with self._heart:
                self._measure(tasks, engine)
            status = "finished"
            message = f"{len(self._missing)} measurements are missing" if self._missing else ""
        except KeyboardInterrupt:
            status, message = "stopped", "interrupted by the user"
            raise
        except BaseException as error:
            message = first_line(error)
            raise
        finally:
            for writer in self._writers.values():
                with suppress(GradlabError):
                    writer.heartbeat(self._steps[writer.id])
                    writer.finish(status, message)
        known = self._plan.known
        before = self._failures_before()
        return Summary(
            self._store.name,
            tuple(numbers),
            self._measured,
            known,
            self._failed + before,
            dict(self._plan.inventory.refused),
            self._missing,
        )

    def _begun(self) -> tuple[list[int], list[Task]]:
        """Numbers of the runs, and the tasks of those that have any, which are begun or taken up."""
        plan, numbers, tasks = self._plan, [], []
        for run in plan.runs:
            # One that was killed after its last measurement has all, and still says that it goes on.
            if run.info is not None and not run.waiting and run.info.status == "finished":
                numbers.append(run.info.id)
                continue
            writer = begin(self._store, run.series, plan.settings, plan.states, run.probes, run.info, run.first)
            self._writers[writer.id] = writer
            numbers.append(writer.id)
            for at in run.series.checkpoints:
                self._shown[at.content] = at.shown
                name_file(writer, at)
            tasks += run.tasks(writer.id, plan.settings, plan.states, plan.costs)
            self._steps[writer.id] = 0 if run.info is None else run.info.step
            self._heart.at(writer, self._steps[writer.id])
        return numbers, tasks

    def _measure(self, tasks: Sequence[Task], engine: Engine) -> None:
        by_token = {task.token: task for task in tasks}
        for outcome in engines.results(tasks, engine):
            task = by_token[outcome.token]
            shown, name = self._shown[task.at.content], task.probe.name
            about = (shown, task.environment, task.at.step, name)
            if outcome.tried is None:
                self._missing[f"{shown}: {name}"] = outcome.reason
                self._tell(Done(*about, None, 0.0, outcome.reason))
                continue
            writer, tried = self._writers[task.run], outcome.tried
            kept = tried

            def write(writer: RunWriter = writer, task: Task = task) -> None:
                nonlocal kept
                kept = keep(writer, task, tried)  # noqa: B023 - called before the next turn

            insist(write, lambda text: self._tell(Said(text)))
            self._measured += 1
            self._failed += kept.status == "failed"
            self._steps[task.run] = max(self._steps[task.run], task.at.step)
            self._heart.at(writer, self._steps[task.run])
            if kept.status == "ok":
                self._plan.costs.took(name, task.environment, kept.seconds)
            self._tell(Done(*about, kept.status, kept.seconds, kept.message))

    def _failures_before(self) -> int:
        """Measurements of the plan that had failed before."""
        count = 0
        for run in self._plan.runs:
            if run.info is None or not run.known:
                continue
            failed = {
                (one.step, one.probe) for one in self._store.measurements(run=run.info.id) if one.status == "failed"
            }
            count += len(failed & run.known)
        return count


def _listed(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


def _is_there(store: str | os.PathLike[str]) -> bool:
    from gradlab.store.url import parse

    path = parse(store).path
    return path is None or path.exists()


def _nothing(plan: Plan, paths: object) -> str:
    said = plan.inventory.lines
    if len(said) == 1:
        return f"checkpoint {said[0]}"
    if said:
        more = f"; and {len(said) - _REASONS} reasons more" if len(said) > _REASONS else ""
        return f"none of the checkpoints can be measured: {'; '.join(said[:_REASONS])}{more}"
    over = ", ".join(f"{count} {ending}" for ending, count in plan.inventory.passed_over.items())
    more = f", only {over}; name a file to have it read" if over else ""
    return f"analyze {paths}: there are no checkpoints{more}"
