"""What a task adds to the physics: an observation, a reward and an end, for many states at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: Fields of the engine by their name in ``MjData``, each with the N states in front.
Fields = Mapping[str, Floats]


class Task(ABC):
    """One of gymnasium's MuJoCo tasks, as arithmetic on [N, ...] float64 arrays.

    A task repeats the floating-point operations of the environment's ``step`` in the environment's order, so that
    every number it gives equals the environment's own, to the last bit where numpy sums alike. The constructor's
    options are read from the environment's attributes once.

    Args:
        env: the bare environment.

    Attributes:
        derived: engine fields it needs beside positions, velocities and controls.
        lagging: whether ``position`` looks at derived fields. These lag a substep behind the state, so a state must
            carry its position along: it cannot be computed from the state again.
        contact_forces: whether it looks at ``cfrc_ext``, which ``mj_step`` alone does not compute.
    """

    derived: tuple[str, ...] = ()
    lagging: bool = False
    contact_forces: bool = False

    def __init__(self, env: Any) -> None:
        self.dt = float(env.dt)

    def position(self, fields: Fields) -> Floats:
        """What the next step's reward compares with: [N, c], c possibly zero."""
        return np.empty((len(fields["qpos"]), 0))

    def regime(self, fields: Fields) -> NDArray[np.int64] | None:
        """Which piece of its reward each state is paid by, [N], where the reward jumps from one piece to another.

        None: it does not jump, or only where the episode ends. (A creature that goes on when it is not healthy is
        paid for its health until then.)
        """
        return None

    @abstractmethod
    def outcome(self, fields: Fields, before: Floats, after: Floats, act: Floats) -> tuple[Floats, Floats, Bools]:
        """Observations [N, n], rewards [N] and terminations [N] of a step.

        Args:
            fields: the engine's fields after the step.
            before: ``position`` before the step, [N, c].
            after: ``position`` after the step, [N, c].
            act: the actions, [N, p] in environment units.
        """


def squares(values: Floats) -> Floats:
    """Sum of squares of each state's numbers [N, ...] → [N], added as ``np.sum`` adds one state's.

    Along the last axis of contiguous rows numpy adds each row in pairs, as it does a single row.
    """
    return np.asarray(np.square(values).reshape(len(values), -1).sum(-1))


def norms(vectors: Floats) -> Floats:
    """Euclidean norms [N, k] → [N], as ``np.linalg.norm`` of each: the root of a dot product."""
    return np.asarray(np.sqrt(np.vecdot(vectors, vectors)))


def between(values: Floats, bounds: tuple[float, float]) -> Bools:
    """Whether each value lies strictly inside; not a number does not."""
    low, high = bounds
    return np.asarray((low < values) & (values < high))


def joined(*parts: Floats) -> Floats:
    """The parts of an observation, each [N, ...] and flattened, side by side."""
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
