"""Lanes that take turns in the environment itself."""

from __future__ import annotations

import types
from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.simulation.lanes.base import Actions, Bools, Floats, Lanes, drew
from gradlab.simulation.lanes.generators import Watch
from gradlab.simulation.lanes.global_watch import GlobalWatch

#: Values that a deep copy leaves as they are and that cannot always be pickled.
CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType)

#: What one layer of an environment holds, by name.
Attributes = dict[str, Any]


class TurnLanes(Lanes):
    """States that take turns in the environment itself.

    Stepping calls the environment's own ``step``, so observation, reward and termination are the environment's own
    to the last bit. Its generators are watched at every step, and so are the global ones unless all code is
    gymnasium's.
    """

    promise = "equal to env.step to the last bit: it is env.step, one state after another"
    can_draw = True

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._watches: dict[int, Watch] = {}
        self._globals = None if env is None or _only_gymnasium(env) else GlobalWatch()
        self._pays_health = env is not None and _pays_health(env.unwrapped)
        self._regimes: NDArray[np.int64] | None = None

    @abstractmethod
    def _enter(self, lane: int) -> None:
        """Put the environment in that lane's state."""

    @abstractmethod
    def _leave(self, lane: int) -> None:
        """Keep the environment's state as that lane's."""

    def _begun(self) -> None:
        """To be called when the lanes hold other objects than before."""
        self._watches.clear()

    def step(self, act: Actions, running: Bools) -> tuple[Floats, Floats, Bools]:
        """One step of the lanes that are ``running``, one after another.

        Raises:
            GradlabError: a step draws random numbers of an environment that was opened as drawing none, or draws
                from a global generator, which is in nobody's state.
        """
        env = self.env
        obs = np.zeros((self.size, *env.observation_space.shape))
        reward, terminated = np.zeros(self.size), np.zeros(self.size, dtype=bool)
        if self._globals is not None:
            self._globals.look()
        if self._pays_health:
            self._regimes = np.zeros(self.size, dtype=np.int64)
        for lane in np.flatnonzero(running).tolist():
            self._enter(lane)
            watch = self._watches.get(lane)
            if watch is None:
                watch = self._watches[lane] = Watch(env)
            obs[lane], reward[lane], terminated[lane], _, _ = env.step(act[lane])
            if self._regimes is not None:
                self._regimes[lane] = int(env.unwrapped.is_healthy)
            if self._globals is not None and self.declared is not None and self._globals.drew():
                raise GradlabError(
                    f"environment {type(env.unwrapped).__name__}: a step drew from a global random generator (of "
                    "random, numpy or torch), which is no part of a state that can be restored; let it draw from "
                    "self.np_random"
                )
            self._note(watch.drew(env))
            self._leave(lane)
        return obs, reward, terminated

    def regimes(self) -> NDArray[np.int64] | None:
        """Healthy or not, of what derives from a task of gymnasium's that pays for it without an end."""
        return self._regimes

    def _note(self, drawn: bool) -> None:
        if drawn:
            self.draws = True
            if self.declared is False:
                raise drew(type(self.env.unwrapped).__name__)


def _pays_health(bare: Any) -> bool:
    of_gymnasium = any(kind.__module__.startswith("gymnasium.envs.mujoco") for kind in type(bare).__mro__)
    if not of_gymnasium or not hasattr(type(bare), "is_healthy"):
        return False
    return not getattr(bare, "_terminate_when_unhealthy", True) and getattr(bare, "_healthy_reward", 0) != 0


def _only_gymnasium(env: Any) -> bool:
    layer = env
    while True:
        if type(layer).__module__.partition(".")[0] != "gymnasium":
            return False
        if layer is layer.unwrapped:
            return True
        layer = layer.env
