"""The runs of a store that an analysis writes into, and what of it they have already."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from gradlab.command import command_line, versions
from gradlab.digests import digest
from gradlab.measurement import Measurement
from gradlab.store import Entry, RunInfo, RunWriter, Store
from gradlab.store.entry import UnstorableError
from probes.analysis.found import Found
from probes.analysis.grouping import Series
from probes.analysis.settings import Settings
from probes.analysis.states import States
from probes.analysis.tasks import Moment, Task, keeps_states
from probes.attempt import Attempt
from probes.probe import Probe

#: Name of the record that says which file a step's measurements are of, as a watch has it.
CHECKPOINT = "checkpoint"


def settings_of(probe: Probe) -> dict[str, object]:
    """A probe's settings that decide its numbers: at which steps of a live run it measures does not."""
    return {name: value for name, value in probe.config().items() if name != "every"}


def run_of(
    infos: Sequence[RunInfo], series: Series, settings: Settings, states: States, probes: Sequence[Probe]
) -> tuple[RunInfo, Found] | None:
    """The newest of a store's runs that these checkpoints go on in, and the checkpoint whose states it keeps to.

    None where none is of these files with the same settings, of as many of the probes as it was measured with,
    whose first checkpoint is still among the files.
    """
    wanted = identity_of(series, settings, states)
    contents = {one.content: one for one in series.checkpoints}
    for info in sorted(infos, key=lambda one: -one.id):
        about = info.config.get("analysis")
        if not isinstance(about, dict) or about.get("of") != wanted or info.seed != settings.seed:
            continue
        measured = info.config.get("probes")
        known = measured if isinstance(measured, dict) else {}
        agrees = all(_same(known[probe.name], probe) for probe in probes if probe.name in known)
        first = contents.get(str(about.get("first")))
        if agrees and first is not None:
            return info, first
    return None


def identity_of(series: Series, settings: Settings, states: States) -> str:
    """What tells the run of these files, measured so, from another: 128 bits, as hexadecimals."""
    about = (series.folder.as_posix(), series.name, series.library, series.algorithm, series.environment, series.seed)
    return digest([*about, settings.facts.said, states.identity, settings.state_count])


def begin(
    store: Store,
    series: Series,
    settings: Settings,
    states: States,
    probes: Sequence[Probe],
    before: RunInfo | None,
    first: Found,
) -> RunWriter:
    """The writing end of the run: taken up where there is one, begun where there is none."""
    measured = {} if before is None else dict(before.config.get("probes") or {})
    config = {
        "analysis": {
            "of": identity_of(series, settings, states),
            "folder": series.folder.as_posix(),
            "files": series.name,
            # Of the training run: that of the measurements is the run's own.
            "training_seed": series.seed,
            "states": str(settings.states),
            "facts": settings.facts.said,
            "first": first.content,
        },
        "probes": {**measured, **{probe.name: probe.config() for probe in probes}},
        "command": command_line(),
        "versions": versions(),
    }
    if before is None:
        return store.start_run(
            series.title,
            algorithm=series.algorithm,
            environment=series.environment,
            library=series.library,
            seed=settings.seed,
            config=config,
        )
    run = store.attach_run(before.id)
    run.resume(config)
    return run


def token_of(
    run: int, at: Found, probe: Probe, environment: str, settings: Settings, states: States, first: Found
) -> str:
    """A task's identity: of the run, the file's content, the probe's settings, the states and the seed."""
    kept = [first.content, first.replay_content] if keeps_states(probe) else []
    about = [probe.name, settings_of(probe), environment, settings.seed, settings.facts.said]
    return digest(["analysis", run, at.content, at.replay_content, at.step, *about, states.identity, *kept])


def moment(of: Found) -> Moment:
    """The checkpoint as a task has it."""
    return Moment(of.path, of.content, of.step, of.replay, of.replay_content)


def name_file(run: RunWriter, at: Found) -> None:
    """Record once which file the measurements of a step are of."""
    notes = (f"file {at.path.name}", f"content {at.content}", *at.marks)
    entry = Entry(CHECKPOINT, Measurement(notes=notes), 0.0, "background")
    run.record_once(digest(["analysis", run.id, at.content, at.step, CHECKPOINT]), at.step, entry, when=time.time())


def keep(run: RunWriter, task: Task, tried: Attempt) -> Attempt:
    """Store what came of a task with its identity, in one transaction; nothing where the store has it.

    Returns:
        What was stored: a failure where the numbers cannot be.
    """
    try:
        _store(run, task, tried)
    except UnstorableError as error:
        tried = Attempt("failed", tried.seconds, message=f"cannot be stored: {error}")
        _store(run, task, tried)
    return tried


def _store(run: RunWriter, task: Task, tried: Attempt) -> None:
    entry = Entry(task.probe.name, tried.measurement, tried.seconds, "background", tried.status, tried.message)
    run.record_once(task.token, task.at.step, entry, when=time.time(), traceback=tried.traceback)


def _same(known: Any, probe: Probe) -> bool:
    if not isinstance(known, Mapping):
        return False
    return {name: value for name, value in known.items() if name != "every"} == settings_of(probe)
