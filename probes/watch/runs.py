"""The runs of a store that a watch writes into: one for each directory and algorithm, found again after a restart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

import gradlab
from gradlab.adapters.checkpoint import Checkpoint
from gradlab.errors import GradlabError
from gradlab.measurement import Measurement
from gradlab.store import Entry, RunInfo, RunWriter, Store
from probes.heartbeat import PAUSE, Heartbeat
from probes.offline import Result, entries
from probes.probe import Probe
from probes.watch.options import Options

#: Name of the record that says which file a step's measurements are of, stored with them or not at all.
CHECKPOINT = "checkpoint"
_CONTENT, _FILE, _STATES = "content ", "file ", "states"
#: Seconds after which a second watch would have given a sign of life.
_PATIENCE = 2.5 * PAUSE


@dataclass
class Run:
    """One run of the store.

    Attributes:
        writer: its end that is written to.
        environment: gymnasium identifier of the task.
        probes: what measures it; its probes keep to ``states`` and remember the checkpoint ``last``.
        states: observations that probes keep to, those of the first checkpoint; None before that.
        step: largest step measured, -1 when none is.
        last: content of the checkpoint at that step.
        running: whether the store says that it goes on.
    """

    writer: RunWriter
    environment: str
    probes: list[Probe]
    states: Tensor | None = None
    step: int = -1
    last: str = ""
    running: bool = False

    def keep_to(self, states: Tensor) -> None:
        """Have the probes that compare checkpoints do so at these states."""
        self.states = states
        settle_on(self.probes, states)

    def keep(self, saved: Checkpoint, step: int, results: Sequence[Result], note: Result, marks: Sequence[str]) -> None:
        """Store a checkpoint's measurements, all of them or none.

        Args:
            saved: the checkpoint.
            step: training step of the record.
            results: one of each probe; none where there were no states to measure at.
            note: how the checkpoint itself went.
            marks: its content's digest, and what else a person should know of it.
        """
        arrays = {}
        if self.states is not None and self.step < 0:
            arrays[_STATES] = xr.DataArray(self.states.numpy(), dims=("state", "feature"))
        digest, *more = marks
        notes = (f"{_FILE}{saved.path.name}", f"{_CONTENT}{digest}", *more)
        measured = Measurement(arrays=arrays, notes=notes)
        head = Entry(CHECKPOINT, measured, note.seconds, "background", note.status, note.message)
        self.writer.record_all(step, [head, *entries(results)])


def settle_on(probes: Sequence[Probe], states: Tensor) -> None:
    """Have probes that keep to the states of their first measurement keep to these."""
    for probe in probes:
        probe.choose(states[: probe.offered])


class Runs:
    """The runs of everything under a directory, measured with the same settings.

    Args:
        store: open for writing.
        root: the directory, absolute.
        options: the settings.
        heart: gives signs of life of the runs that go on.

    Attributes:
        contents: digest of every content measured, and the file it was in.

    Raises:
        GradlabError: another process watches this directory into this store.
    """

    def __init__(self, store: Store, root: Path, options: Options, heart: Heartbeat) -> None:
        self._store, self._root, self._options, self._heart = store, root, options, heart
        self._runs: dict[tuple[str, str, str], Run] = {}
        self.contents: dict[str, str] = {}
        ours = [info for info in store.runs() if self._is_ours(info)]
        self._refuse_a_second_watch(ours)
        for info in ours:
            run = self._runs[_folder(info), info.algorithm, info.environment] = self._found(info)
            if run.running:
                self._beat(run)

    @property
    def running(self) -> list[Run]:
        """Those of which the store says that they go on."""
        return [run for run in self._runs.values() if run.running]

    def of(self, saved: Checkpoint, environment: str) -> Run:
        """The run that a checkpoint belongs to, begun or taken up again where it does not go on."""
        folder = str(saved.path.parent)
        key = (folder, saved.algorithm, environment)
        run = self._runs.get(key)
        if run is None:
            probes = self._options.choose(environment)
            writer = self._store.start_run(
                "/".join((self._root.name, *saved.path.parent.relative_to(self._root).parts)),
                algorithm=saved.algorithm,
                environment=environment,
                library=saved.agent.library,
                seed=self._options.seed,
                config={
                    "watch": {"directory": folder, "facts": self._options.facts.said},
                    "probes": _configs(probes),
                    "versions": {"gradlab": gradlab.__version__, "torch": torch.__version__},
                },
            )
            run = self._runs[key] = Run(writer, environment, probes, running=True)
        elif not run.running:
            run.writer.resume()
            run.running = True
        self._beat(run)
        return run

    def moved(self, run: Run, step: int, digest: str) -> None:
        """The run has come to this step, with this content, unless it was further already."""
        if step >= run.step:
            run.step, run.last = step, digest
        self._beat(run)

    def fresh(self, run: Run) -> list[Probe]:
        """The same probes without a memory, for a checkpoint from before the last one measured."""
        probes = self._options.choose(run.environment)
        if run.states is not None:
            settle_on(probes, run.states)
        return probes

    def _beat(self, run: Run) -> None:
        self._heart.at(run.writer, max(run.step, 0))

    def _is_ours(self, info: RunInfo) -> bool:
        folder = _folder(info)
        if not folder or info.config["watch"].get("facts") != self._options.facts.said:
            return False
        if info.seed != self._options.seed or not Path(folder).is_relative_to(self._root):
            return False
        return bool(info.config.get("probes") == _configs(self._options.choose(info.environment)))

    def _found(self, info: RunInfo) -> Run:
        run = Run(self._store.attach_run(info.id), info.environment, self._options.choose(info.environment))
        run.running = info.status == "running"
        for measured in self._store.measurements(run=info.id, probe=CHECKPOINT):
            digest = _after(_CONTENT, measured.notes)
            self.contents[digest] = _after(_FILE, measured.notes)
            if measured.status != "ok":
                continue
            if run.states is None:
                states = self._store.arrays(measured.id, [_STATES])[_STATES]
                run.keep_to(torch.from_numpy(states.values.copy()))
            if measured.step >= run.step:
                run.step, run.last = measured.step, digest
        return run

    def _refuse_a_second_watch(self, ours: list[RunInfo]) -> None:
        """A watch that was killed has left its runs running, too; only a live one goes on giving signs of life."""
        before = {info.id: info.last_seen for info in ours if info.status == "running"}
        if not before:
            return
        time.sleep(_PATIENCE)
        if any(before.get(info.id, info.last_seen) != info.last_seen for info in self._store.runs()):
            raise GradlabError(
                f"watch {self._root}: another process watches it into {self._store.name}; end that one first, "
                "or give another store"
            )


def _folder(info: RunInfo) -> str:
    about = info.config.get("watch")
    return str(about.get("directory", "")) if isinstance(about, dict) else ""


def _configs(probes: Sequence[Probe]) -> dict[str, dict[str, object]]:
    return {probe.name: probe.config() for probe in probes}


def _after(word: str, notes: Sequence[str]) -> str:
    return next((note.removeprefix(word) for note in notes if note.startswith(word)), "")
