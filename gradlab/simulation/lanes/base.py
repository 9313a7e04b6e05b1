"""Many copies of one environment, each with its own exact state, stepped together.

This is the seam: whatever steps a batch of exact states fast enough can stand behind ``Lanes``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: Actions as an environment takes them: [N, p] float64, or [N] int64 where they are discrete.
Actions = NDArray[np.float64] | NDArray[np.int64]

#: Parts of an environment that stay the same all its life, and so are shared by every lane.
SHARED = frozenset({"spec", "metadata", "observation_space", "action_space", "render_mode", "mujoco_renderer"})


class NotRestorableError(GradlabError):
    """A state of the environment cannot be copied and gone on from exactly."""


class Lanes(ABC):
    """N exact states of one environment.

    A step is that of the bare environment: no time limit cuts it, and its own ``truncated`` flag is not looked at.

    Attributes:
        env: the bare environment.
        size: number N of lanes loaded.
        promise: one sentence, what is promised of their numbers.
        reseedable: whether random numbers that steps draw have been found to follow from ``reseed`` alone.
        can_draw: whether a step may draw random numbers at all.
        draws: whether a step has.
        declared: None until the environment has been opened; then whether its steps are known to draw. From then on a
            step that draws is an error where it is not.
    """

    promise: str

    reseedable: bool = False
    can_draw: bool = False
    draws: bool = False
    declared: bool | None = None

    def __init__(self, env: Any) -> None:
        self.env = env
        self.size = 0

    @abstractmethod
    def load(self, snapshots: Sequence[Any]) -> None:
        """Start lane i from a copy of ``snapshots[i]``; there are then as many lanes as snapshots."""

    @abstractmethod
    def reset(self, seeds: Sequence[int]) -> Floats:
        """Start lane i from the environment's own reset with ``seeds[i]``; observations [N, n]."""

    @abstractmethod
    def capture(self, lane: int) -> Any:
        """The exact state of a lane, as a snapshot that shares nothing with it and can be pickled."""

    @abstractmethod
    def step(self, act: Actions, running: Bools) -> tuple[Floats, Floats, Bools]:
        """One step of the lanes that are ``running`` [N]; the others stay as they are.

        Args:
            act: actions [N, p] in environment units; numbers of actions [N] where the environment's are discrete.
            running: which lanes to step, [N].

        Returns:
            Observations [N, n], rewards [N] and terminations [N], in new arrays; zero and False in lanes that stood
            still.
        """

    def unstable(self) -> Bools:
        """Lanes [N] whose physics diverged since they were loaded, where the engine can tell."""
        return np.zeros(self.size, dtype=bool)

    def regimes(self) -> NDArray[np.int64] | None:
        """Which piece of its reward each lane was paid by in its latest step, [N]; None where the task tells none."""
        return None

    def reseed(self, seeds: Sequence[int]) -> bool:
        """Let the random numbers that lane i draws from now on begin from ``seeds[i]``; False: there is no such way."""
        return False

    def declare(self, random: bool) -> None:
        """From now on steps draw random numbers, or never do."""
        self.declared = random

    def another(self) -> Lanes | None:
        """Independent lanes of the same task for another thread to step at the same time; None: there can be none.

        They load the same snapshots and go on from them to the same bit. What never changes may be shared.
        """
        return None


def drew(name: str) -> GradlabError:
    """What to say of an environment that begins to draw random numbers when nobody looks any more."""
    return GradlabError(
        f"environment {name}: a step drew random numbers, but none did while it was opened, so it was taken to draw "
        "none; open it as Simulator(…, random=True), and references average over them"
    )
