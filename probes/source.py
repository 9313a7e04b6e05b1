"""Source: where a monitor gets the agent and observations from, and what it knows of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gradlab.agent import Agent
from gradlab.experience import Experience
from gradlab.rollout import Rollout

#: Draws ``count`` observations [count, n] the run has seen, or None while there are too few; uses only the
#: generator it is given.
Sampler = Callable[[int, np.random.Generator], Any]


@dataclass(frozen=True)
class Source:
    """A live training run as a monitor sees it.

    Attributes:
        view: gives the agent as it is now; called at every measurement, since libraries re-bind things.
        sample: observations from the run's own data; None when ``monitor.step(t, obs=...)`` brings them.
        rollout: gives a copy of the rollout that training is about to use, or None while there is no whole one; None
            where the algorithm has no rollouts.
        experience: gives so many steps of the replay, drawn by a generator, beside the run's latest ones, or None while
            there are too few; None where the replay is not read.
        optimizer: the actor's optimizer; the monitor looks at the run after each of its steps. None where something
            else calls ``monitor.step``.
        clock: which training step the run is at, asked after a step of ``optimizer``; its steps are counted when None.
        logger: gives the library's own logger, which ``mirror=True`` writes to; None where there is none.
        apart: why the agent cannot act in an environment that a probe makes by its name, such as observations that it
            gets normalised and the environment does not; empty when it can.
        environment: gymnasium identifier of the task, for the simulator; empty when unknown.
        algorithm: name of the algorithm.
        library: name of the library.
        config: plain settings of the run, for the record.
    """

    view: Callable[[], Agent]
    sample: Sampler | None = None
    rollout: Callable[[], Rollout | None] | None = None
    experience: Callable[[int, np.random.Generator], Experience | None] | None = None
    optimizer: torch.optim.Optimizer | None = None
    clock: Callable[[], int] | None = None
    logger: Callable[[], Any] | None = None
    apart: str = ""
    environment: str = ""
    algorithm: str = ""
    library: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
