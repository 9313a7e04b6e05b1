"""What a training object is to a monitor: of which kind it must be, and where it gets everything from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch

import gradlab
from gradlab.agent import Agent
from gradlab.arguments import shown
from gradlab.errors import GradlabError, first_line
from probes.callbacks import door_of
from probes.monitor import Monitor
from probes.quiet import quiet
from probes.source import Sampler, Source


def opened(
    model: Any,
    environment: str,
    sampler: Sampler | None,
    optimizer: torch.optim.Optimizer | None,
    clock: Callable[[], int] | None,
) -> tuple[type[Monitor], Source]:
    """The kind of monitor for a training object, and the run as it sees it; arguments as ``attach`` has them.

    Raises:
        GradlabError: the object is of no kind that gradlab knows, or another argument is not what it must be.
    """
    if not isinstance(environment, str):
        raise GradlabError(f"environment: {shown(environment)}; give its gymnasium identifier, or '' for none")
    for name, function in (("sampler", sampler), ("clock", clock)):
        if function is not None and not callable(function):
            raise GradlabError(f"{name}: {shown(function)}; give a function, or None")
    kind, source = _door(model, environment)
    if sampler is not None:
        source = replace(source, sample=_quietly(sampler))
    if optimizer is not None:
        source = replace(source, optimizer=optimizer)
    if clock is not None:
        source = replace(source, clock=clock)
    if source.optimizer is not None and not isinstance(source.optimizer, torch.optim.Optimizer):
        raise GradlabError(f"optimizer: {shown(source.optimizer)}; give the actor's torch.optim.Optimizer")
    return kind, source


def _door(model: Any, environment: str) -> tuple[type[Monitor], Source]:
    """The kind of monitor for a training object, and the run as it sees it."""
    if not isinstance(model, Agent):
        door = door_of(model)
        if door is not None:
            return door.MONITOR, door.source(model, environment)
    view = _view(model)
    try:
        agent = view()
    except GradlabError:
        raise
    except Exception as error:
        raise GradlabError(f"attach: the function that gives the agent raised {first_line(error)}") from error
    return Monitor, Source(view=view, environment=environment, algorithm=agent.algorithm, library=agent.library)


def _view(model: Any) -> Callable[[], Agent]:
    """What gives the agent as it is now."""
    # Not of everything that can be called: an actor given in place of an agent can, too.
    if isinstance(model, FunctionType | MethodType | partial):
        return lambda: gradlab.view(model())
    # view() says which libraries are known and names the generic door.
    agent = gradlab.view(model)
    return lambda: agent


def _quietly(sampler: Sampler) -> Sampler:
    """A user's sampler, which may draw from the training run's random states."""

    def sample(count: int, random: np.random.Generator) -> Any:
        with quiet():
            return sampler(count, random)

    return sample
