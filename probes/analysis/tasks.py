"""One task of an analysis: a checkpoint and a probe. It is a pure function of files, settings and a seed.

It can be done in any process, in any order and any number of times, and gives the same numbers, to the last bit, as
long as torch computes on one thread there.
"""

from __future__ import annotations

import copy
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from gradlab.adapters.checkpoint import Checkpoint
from gradlab.adapters.facts import Facts
from gradlab.digests import digest
from gradlab.errors import GradlabError, first_line
from gradlab.simulation.torch_threads import one_torch_thread
from probes.analysis.fitting import with_box
from probes.analysis.states import Choice, States
from probes.attempt import Attempt, attempt
from probes.checkpoints import content
from probes.checkpoints.content import ChangedError, GoneError
from probes.giving import given
from probes.probe import Probe, choice_for, generator_for
from probes.quiet import quiet

T = TypeVar("T")

#: Checkpoints that a process keeps, so that the probes of one do not each read it.
_KEPT = 4
_read: OrderedDict[str, Checkpoint] = OrderedDict()


@dataclass(frozen=True)
class Moment:
    """A checkpoint at its step, and the replay buffer saved with it.

    Attributes:
        path: the file.
        content: digest of its bytes.
        step: training step.
        replay: the buffer's file, None where there is none or it is not asked for.
        replay_content: digest of that.
    """

    path: Path
    content: str
    step: int
    replay: Path | None = None
    replay_content: str = ""


@dataclass(frozen=True)
class Task:
    """A checkpoint and a probe.

    Attributes:
        token: its identity in the store: of the run, the content, the probe's settings, the states and the seed.
        run: number of the run in the store.
        at: the checkpoint.
        probe: as it was made; it is copied before it is used.
        environment: gymnasium identifier of the task.
        seed: of states and measurements.
        states: where states come from.
        first: the checkpoint whose states a probe keeps to; None for one that does not.
        before: the checkpoint that a probe compares with; None for one that does not, and for the first.
        place: of the checkpoint in its run, from 0.
        facts: what the file does not say.
        trust: whether code in it may run.
    """

    token: str
    run: int
    at: Moment
    probe: Probe
    environment: str
    seed: int
    states: States
    first: Moment | None
    before: Moment | None
    place: int
    facts: Facts
    trust: bool


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Attributes:
        token: the task's.
        tried: what came of the measurement; None where the checkpoint could not be read as it was when it was found.
        reason: why it could not, one line.
        seconds: what it took, with reading and visiting states.
    """

    token: str
    tried: Attempt | None
    reason: str = ""
    seconds: float = 0.0


def keeps_states(probe: Probe) -> bool:
    """Whether the probe measures at the states of its first measurement, ever after."""
    return probe.needs_observations and type(probe).choose is not Probe.choose


def perform(task: Task) -> Outcome:
    """Do a task; nothing is raised, but for the user's own interruption."""
    begun = time.perf_counter()
    tried, reason = None, ""
    with one_torch_thread(), quiet():
        try:
            saved = _checkpoint(task, task.at)
            refusal = task.probe.refusal(saved.agent)
            tried = Attempt("skipped", 0.0, message=refusal) if refusal else _measured(task, saved)
        except GoneError:
            reason = "deleted or renamed since it was found"
        except ChangedError:
            reason = "written anew since it was found"
    return Outcome(task.token, tried, reason, time.perf_counter() - begun)


def _measured(task: Task, saved: Checkpoint) -> Attempt:
    probe = copy.deepcopy(task.probe)
    name = probe.name
    try:
        at = _given(task, probe, task.at if task.first is None else task.first)
    except GradlabError as error:
        return Attempt("failed", 0.0, message=str(error))
    except (GoneError, ChangedError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a task does with a broken policy is recorded
        return _failed(error)
    probe.stand_alone(task.place)
    if keeps_states(probe):
        at = probe.choose(at)
    note = ""
    if task.before is not None:
        try:
            _recall(task, task.before, probe, at)
            note = f"compared with step {task.before.step:,}"
        except GradlabError as error:
            note = f"not compared with step {task.before.step:,}: {error}"
    tried = attempt(probe, saved.agent.snapshot(), at, generator_for(task.seed, name, task.at.step))
    if note and tried.measurement is not None:
        measured = replace(tried.measurement, notes=(*tried.measurement.notes, note))
        return replace(tried, measurement=measured)
    return tried


def _recall(task: Task, before: Moment, probe: Probe, at: Any) -> None:
    agent = _checkpoint(task, before).agent.snapshot()
    agent = agent if agent.coarse is None else agent.single()
    obs = getattr(getattr(at, "replay", None), "obs", at)
    obs = torch.empty(0) if obs is None else agent.observations(obs).clone()
    probe.recall(agent, obs, generator_for(task.seed, probe.name, before.step))


def _given(task: Task, probe: Probe, moment: Moment) -> Any:
    """What the probe is handed of this checkpoint's states.

    Raises:
        GradlabError: there are no states, too few, or they do not fit.
    """
    saved = _checkpoint(task, moment)
    choice = Choice(_key(task, moment), saved.agent, task.environment, task.seed, moment.replay, probe)
    source, obs = task.states.of(choice)
    found, lack = given(probe, source, choice_for(task.seed, probe.name, moment.step), obs)
    if lack:
        raise GradlabError(f"{task.states.where(choice)}: {lack}: it has fewer than the {probe.states} that are needed")
    return found


def _checkpoint(task: Task, moment: Moment) -> Checkpoint:
    def read() -> Checkpoint:
        facts = with_box(task.facts, task.environment)
        return content.read(moment.path, moment.content, trust=task.trust, facts=facts)

    return _remembered(_read, _key(task, moment), read)


def _key(task: Task, moment: Moment) -> str:
    """What tells the agent from any other: of a content by other facts, for one, there is another."""
    return digest([moment.content, task.facts.said, task.trust, task.environment])


def _remembered(kept: OrderedDict[str, T], key: str, make: Callable[[], T]) -> T:
    found = kept.pop(key, None) or make()
    kept[key] = found
    while len(kept) > _KEPT:
        kept.popitem(last=False)
    return found


def _failed(error: Exception) -> Attempt:
    return Attempt("failed", 0.0, message=first_line(error), traceback="".join(traceback.format_exception(error)))
