"""analyze: measure checkpoints that training has left, on one core or on a cluster, into a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from gradlab.adapters.facts import Facts
from gradlab.arguments import whole_number
from gradlab.errors import GradlabError
from gradlab.store import open_store
from gradlab.store.url import parse
from probes.analysis.carrying import Carrying, Summary
from probes.analysis.clusters import engine_of
from probes.analysis.events import Doing, Listener
from probes.analysis.plan import Plan, make_plan
from probes.analysis.settings import Settings
from probes.function import Function
from probes.probe import Probe

#: Reasons that an error names.
_REASONS = 4


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
        return Carrying(opened, found, tell).carry_out(where)


def _listed(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


def _is_there(store: str | os.PathLike[str]) -> bool:
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
