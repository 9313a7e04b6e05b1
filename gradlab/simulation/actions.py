"""Actions as an environment takes them: points of its box, or numbers of discrete ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.simulation.lanes.base import Actions, Floats

if TYPE_CHECKING:
    # Processes that only step environments look at spaces, too, and need no torch for it.
    from torch import Tensor

    from gradlab.agent import Agent


def is_discrete(space: Any) -> bool:
    """Whether an action is one of finitely many, numbered from the space's ``start``."""
    return hasattr(space, "n") and hasattr(space, "start")


def count_actions(space: Any) -> int:
    """Number p of action coordinates; of a discrete space, of actions, which are then one-hot vectors."""
    return int(space.n) if is_discrete(space) else int(space.shape[0])


def taker(space: Any, agent: Agent) -> Callable[[Tensor], Actions]:
    """The map from the critic's coordinates [N, p] to what the environment takes.

    Points of a box are clipped to it and stay float64, [N, p]; of one-hot vectors the largest entry counts, [N].
    The map is that of ``agent.to_env`` to the last bit, with what it needs at hand: it is taken at every step.
    """
    if is_discrete(space):
        start = int(space.start)
        return lambda act: np.asarray(act.argmax(-1).cpu().numpy() + start, dtype=np.int64)
    corners = (agent.action_low, agent.action_high, agent.env_low, agent.env_high)
    low, high, env_low, env_high = (corner.detach().cpu().double().numpy() for corner in corners)
    scale = (env_high - env_low) / (high - low)
    box_low, box_high = bounds(space)

    def take(act: Tensor) -> Actions:
        inside = (act.cpu().numpy().astype(np.float64, copy=False) - low) * scale
        inside += env_low
        np.maximum(inside, box_low, out=inside)
        np.minimum(inside, box_high, out=inside)
        return np.asarray(inside)

    return take


def to_env(space: Any, agent: Agent, act: Tensor) -> Actions:
    """What the environment takes for ``act`` [N, p], by the map of ``taker``."""
    return taker(space, agent)(act)


def bounds(space: Any) -> tuple[Floats, Floats]:
    """Corners of a box in float64, [p] each."""
    return np.asarray(space.low, dtype=np.float64), np.asarray(space.high, dtype=np.float64)
