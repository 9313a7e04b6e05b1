"""Which task a checkpoint is of: what is given, or what its surroundings say, held against its networks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from gradlab.adapters.checkpoint import Checkpoint
from gradlab.adapters.facts import Facts, UnsaidError
from gradlab.errors import GradlabError
from gradlab.simulation import Simulator
from probes.analysis.settings import Settings
from probes.checkpoints.beside import environment_in_name, environment_of
from probes.task import task_simulator

#: What the task says, so that nobody is asked for it.
_BOX = ("action_low", "action_high")
_NO_TASK = "nothing says its task: pass environment=… (--env), or keep its monitor.csv beside it"


def fitting(path: Path, digest: str, settings: Settings) -> tuple[Checkpoint, str]:
    """The checkpoint of these bytes, and the identifier of the task that it fits.

    Raises:
        GradlabError: it cannot be read, something is not said, or it fits no task that is given, or several.
        GoneError: there is no such file any more.
        ChangedError: it has other bytes by now.
    """
    candidates = settings.environments or _said(path)
    if not candidates:
        raise _without_a_task(path, digest, settings)
    fits: list[tuple[Checkpoint, str]] = []
    reasons: list[GradlabError] = []
    for environment in candidates:
        try:
            simulator = simulator_of(environment)
            saved = settings.read(path, digest, with_box(settings.facts, environment))
            simulator.pilot(saved.agent)
            fits.append((saved, environment))
        except UnsaidError as error:
            raise GradlabError(with_options(error)) from error
        except GradlabError as error:
            reasons.append(error)
    if len(fits) == 1:
        return fits[0]
    names = [environment for _, environment in fits]
    if names:
        raise GradlabError(f"fits {' and '.join(names)} alike; analyse it apart, with the one it was trained on")
    if len(reasons) == 1 or len(set(map(str, reasons))) == 1:
        raise reasons[0]
    raise GradlabError(f"fits none of {', '.join(candidates)}; pass the task it was trained on, too")


@lru_cache(maxsize=64)
def _opened(environment: str) -> Simulator | GradlabError:
    try:
        return task_simulator(environment)
    except GradlabError as error:
        return error


def simulator_of(environment: str) -> Simulator:
    """The task, opened once; one that cannot be is refused every time.

    Raises:
        GradlabError: there is no such task, or it cannot be simulated.
    """
    found = _opened(environment)
    if isinstance(found, GradlabError):
        raise found
    return found


@lru_cache(maxsize=64)
def _box(environment: str) -> tuple[Any, Any]:
    import gymnasium

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gymnasium.make(environment)
    space = env.action_space
    env.close()
    return getattr(space, "low", None), getattr(space, "high", None)


def with_box(facts: Facts, environment: str) -> Facts:
    """The facts, with the task's box of actions where none is given."""
    if facts.action_low is not None or facts.action_high is not None:
        return facts
    low, high = _box(environment)
    return replace(facts, action_low=low, action_high=high)


def with_options(error: UnsaidError, *, without: Sequence[str] = ()) -> str:
    """What a file does not say, with the options of the command line as well."""
    options = ", ".join(f"--{name.replace('_', '-')}" for name in error.names if name not in without)
    return f"{error} ({options})" if options else str(error)


def _said(path: Path) -> tuple[str, ...]:
    import gymnasium

    found = environment_of(path.parent, Path(path.anchor)) or environment_in_name(path, gymnasium.registry)
    return (found,) if found else ()


def _without_a_task(path: Path, digest: str, settings: Settings) -> GradlabError:
    """What to say of a checkpoint of an unknown task: with all else that it lacks, so that nobody is asked twice."""
    # Any box will do to find out what else is missing.
    facts = settings.facts if settings.facts.action_low is not None else replace(settings.facts, **_anything())
    try:
        settings.read(path, digest, facts)
    except UnsaidError as error:
        return GradlabError(f"{with_options(error, without=_BOX)}; {_NO_TASK}")
    except GradlabError as error:
        if facts is settings.facts or "box" not in str(error):
            return error
    return GradlabError(_NO_TASK)


def _anything() -> dict[str, Any]:
    return {"action_low": [-1.0], "action_high": [1.0]}
