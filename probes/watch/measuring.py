"""One checkpoint: the run it belongs to, the states it is measured at, the measurements."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradlab.adapters.checkpoint import Checkpoint
from gradlab.errors import GradlabError, first_line
from gradlab.simulation import Simulator
from probes.checkpoints.beside import environment_of, normalised
from probes.checkpoints.content import ChangedError, GoneError
from probes.offline import Result, measure_all, visited_observations
from probes.probe import Probe
from probes.watch.events import Doing, Listener, Said
from probes.watch.options import Options
from probes.watch.runs import CHECKPOINT, Run, Runs
from probes.watch.waiting import Waiting

_NORMALISED = "its run normalised observations, which is not applied here: what is measured is not its policy"


class RefusedError(GradlabError):
    """The checkpoint cannot be measured as it is asked for; ``news`` is whether that has not been said of its like."""

    def __init__(self, reason: str, *, news: bool) -> None:
        super().__init__(reason)
        self.news = news


@dataclass(frozen=True)
class Done:
    """What came of a checkpoint; the attributes are the arguments of ``Run.keep``."""

    run: Run
    step: int
    results: Sequence[Result]
    note: Result
    marks: Sequence[str]


class Measuring:
    """Measures one checkpoint after the other.

    Args:
        root: the directory that is watched, absolute.
        options: the watch's numbers and switches.
        runs: the runs that checkpoints belong to.
        tell: is told what goes on.

    Attributes:
        refused: files that fit no task, with the reason.
    """

    def __init__(self, root: Path, options: Options, runs: Runs, tell: Listener) -> None:
        self._root, self._options, self._runs, self._tell = root, options, runs, tell
        self._simulators: dict[str, Simulator | GradlabError] = {}
        self._primed: set[int] = set()
        self._warned: set[Path] = set()
        self.refused: dict[Path, str] = {}

    def measure(self, saved: Checkpoint, chosen: Waiting, contents: Mapping[Path, str], waiting: int) -> Done:
        """Measure a checkpoint.

        Args:
            saved: the checkpoint.
            chosen: how it waited.
            contents: digests of the files there are, to find the checkpoint before this one.
            waiting: how many others wait, to be shown.

        Raises:
            RefusedError: its task is not known, or it does not fit.
        """
        folder = saved.path.parent
        try:
            environment = self._environment(folder)
            simulator = self._simulator(environment)
            simulator.pilot(saved.agent)
        except GradlabError as error:
            news = (folder, str(error)) not in {(path.parent, reason) for path, reason in self.refused.items()}
            self.refused[saved.path] = str(error)
            raise RefusedError(str(error), news=news) from error
        self.refused.pop(saved.path, None)
        run = self._runs.of(saved, environment)
        step = max(run.step, 0) + 1 if chosen.step is None else chosen.step
        marks = [chosen.digest]
        if chosen.step is None:
            marks.append("the file does not say its training step: numbered as it came")
        if normalised(folder):
            marks.append(_NORMALISED)
            if folder not in self._warned:
                self._warned.add(folder)
                self._tell(Said(f"{self._below(folder)}: {_NORMALISED}"))
        begun = time.perf_counter()
        about = f"{self._below(saved.path)}: {{}}" + (f"; {waiting} wait" if waiting else "")
        self._tell(Doing(about.format("visiting states")))
        try:
            obs = visited_observations(saved.agent, run.probes, simulator, self._options.seed)
        except Exception as error:  # noqa: BLE001 - whatever a task does with a broken policy is recorded
            reason = str(error) if isinstance(error, GradlabError) else first_line(error)
            failed = Result(CHECKPOINT, "failed", time.perf_counter() - begun, message=reason)
            return Done(run, step, (), failed, marks)
        note = Result(CHECKPOINT, "ok", time.perf_counter() - begun)
        if run.states is None:
            run.keep_to(obs)
        probes = run.probes if step >= run.step else self._runs.fresh(run)
        if step >= run.step:
            self._remember(run, contents)

        def before(probe: Probe) -> None:
            self._tell(Doing(about.format(f"measuring: {probe.name}")))

        results = measure_all(saved.agent, probes, obs, step=step, seed=self._options.seed, before=before)
        return Done(run, step, results, note, marks)

    def _environment(self, folder: Path) -> str:
        found = self._options.environment or environment_of(folder, self._root)
        if not found:
            raise GradlabError("nothing says which task this is: give --env, or keep its monitor.csv beside it")
        return found

    def _simulator(self, environment: str) -> Simulator:
        if environment not in self._simulators:
            try:
                # One thread: the job needs the cores more.
                self._simulators[environment] = Simulator(environment, threads=1)
            except GradlabError as error:
                self._simulators[environment] = error
        found = self._simulators[environment]
        if isinstance(found, GradlabError):
            raise found
        return found

    def _remember(self, run: Run, contents: Mapping[Path, str]) -> None:
        """Show the last checkpoint to probes that compare with it, where another process measured that."""
        if run.writer.id in self._primed:
            return
        self._primed.add(run.writer.id)
        those = [probe for probe in run.probes if probe.remembers]
        path = next((path for path, digest in contents.items() if digest == run.last), None)
        if not those or path is None or run.states is None:
            return
        self._tell(Doing(f"{self._below(path)}: taking up where it was left"))
        try:
            saved = self._options.read(path, run.last)
        except (GradlabError, GoneError, ChangedError):
            return
        measure_all(saved.agent, those, run.states, step=run.step, seed=self._options.seed)

    def _below(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()
