"""Many copies of one environment, each with its own exact state, stepped together.

This is the seam: whatever steps a batch of exact states fast enough can stand behind ``Lanes``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: Actions as an environment takes them: [N, p] float64, or [N] int64 where they are discrete.
Actions = NDArray[np.float64] | NDArray[np.int64]

#: Parts of an environment that stay the same all its life, and so are shared by every lane.
SHARED = frozenset({"spec", "metadata", "observation_space", "action_space", "render_mode", "mujoco_renderer", "model"})


class Lanes(ABC):
    """N exact states of one environment.

    A step is that of the bare environment: no time limit cuts it, and its own ``truncated`` flag is not looked at.

    Attributes:
        env: the bare environment.
        size: number N of lanes loaded.
        promise: one sentence, what is promised of their numbers.
        reseedable: whether random numbers that steps draw have been found to follow from ``reseed`` alone.
    """

    promise: str

    reseedable: bool = False

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

    def reseed(self, seeds: Sequence[int]) -> bool:
        """Let the random numbers that lane i draws from now on begin from ``seeds[i]``; False: there is no such way."""
        return False

    def another(self) -> Lanes | None:
        """Independent lanes of the same task for another thread to step at the same time; None: there can be none.

        They load the same snapshots and go on from them to the same bit. What never changes may be shared.
        """
        return None


class TurnLanes(Lanes):
    """States that take turns in the environment itself.

    Stepping calls the environment's own ``step``, so observation, reward and termination are the environment's own
    to the last bit.
    """

    promise = "equal to env.step to the last bit: it is env.step, one state after another"

    @abstractmethod
    def _enter(self, lane: int) -> None:
        """Put the environment in that lane's state."""

    @abstractmethod
    def _leave(self, lane: int) -> None:
        """Keep the environment's state as that lane's."""

    def step(self, act: Actions, running: Bools) -> tuple[Floats, Floats, Bools]:
        """One step of the lanes that are ``running``, one after another."""
        env = self.env
        obs = np.zeros((self.size, *env.observation_space.shape))
        reward, terminated = np.zeros(self.size), np.zeros(self.size, dtype=bool)
        for lane in np.flatnonzero(running).tolist():
            self._enter(lane)
            obs[lane], reward[lane], terminated[lane], _, _ = env.step(act[lane])
            self._leave(lane)
        return obs, reward, terminated
