"""A plan that is carried out: tasks are handed out, and what comes of them is stored as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gradlab.errors import GradlabError, first_line
from gradlab.store import RunWriter, Store
from gradlab.store.records import RunStatus
from probes.analysis import engines
from probes.analysis.engines import Engine
from probes.analysis.events import Done, Listener, Planned, Said
from probes.analysis.found import lines
from probes.analysis.kept import begin, keep, name_file
from probes.analysis.plan import Plan
from probes.analysis.tasks import Task
from probes.heartbeat import Heartbeat
from probes.insisting import insist


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
    def lacks(self) -> list[str]:
        """What is missing, a line a reason."""
        return lines({**self.refused, **self.missing})

    @property
    def complete(self) -> bool:
        """Whether nothing failed and nothing is missing."""
        return not (self.failed or self.refused or self.missing)


class BrokenOffError(GradlabError):
    """The store gave up half-way, as when its disk is full; what was measured before is in it."""


class Carrying:
    """A plan that is carried out; this process is the only one that writes.

    Args:
        store: open for writing.
        plan: what is to be done.
        tell: is told what happens.
    """

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

            try:
                insist(write, lambda text: self._tell(Said(text)))
            except GradlabError as error:
                if not self._measured:
                    raise
                raise BrokenOffError(
                    f"{error}; {self._measured:,} of {len(tasks):,} measurements are kept, and the same command goes on"
                ) from error
            self._measured += 1
            self._failed += kept.status == "failed"
            self._steps[task.run] = max(self._steps[task.run], task.at.step)
            self._heart.at(writer, self._steps[task.run])
            if kept.status == "ok":
                self._plan.costs.took(name, task.environment, outcome.seconds)
            self._tell(Done(*about, kept.status, outcome.seconds, kept.message))

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
