"""Actions as an environment takes them: points of its box, or numbers of discrete ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from gradlab.agent import Agent
from gradlab.simulation.lanes import Actions, Floats


def is_discrete(space: Any) -> bool:
    """Whether an action is one of finitely many, numbered from the space's ``start``."""
    return hasattr(space, "n") and hasattr(space, "start")


def count_actions(space: Any) -> int:
    """Number p of action coordinates; of a discrete space, of actions, which are then one-hot vectors."""
    return int(space.n) if is_discrete(space) else int(space.shape[0])


def to_env(space: Any, agent: Agent, act: Tensor) -> Actions:
    """From the critic's coordinates [N, p] to what the environment takes.

    Points of a box are clipped to it and stay float64, [N, p]; of one-hot vectors the largest entry counts, [N].
    """
    if is_discrete(space):
        return np.asarray(act.argmax(-1).cpu().numpy() + int(space.start), dtype=np.int64)
    return np.asarray(np.clip(agent.to_env(act).cpu().numpy(), *bounds(space)), dtype=np.float64)


def bounds(space: Any) -> tuple[Floats, Floats]:
    """Corners of a box in float64, [p] each."""
    return np.asarray(space.low, dtype=np.float64), np.asarray(space.high, dtype=np.float64)
