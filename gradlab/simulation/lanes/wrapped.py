"""Lanes of an environment in wrappers that are functions of a step, applied to all lanes together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.simulation.actions import is_discrete
from gradlab.simulation.lanes.base import Actions, Bools, Floats, Lanes
from gradlab.simulation.wrappers import Function, Layer, Stack


class WrappedLanes(Lanes):
    """Lanes of the bare environment, with actions mapped on the way in, observations and rewards on the way out.

    The functions are the wrappers' own and get numbers of the type that the environment itself gives (its float32
    observations as float32), so that nothing is rounded that the wrapped environment would not round. Functions that
    work number by number are called once for all lanes, all others lane by lane; with more than one thread they are
    called from several.

    Args:
        inner: lanes of the bare environment.
        stack: its wrappers, none of which keeps state.
    """

    def __init__(self, inner: Lanes, stack: Stack) -> None:
        super().__init__(inner.env)
        self.inner = inner
        self.stack = stack
        self._layers = [layer for layer in stack.layers if layer is not None]
        obs, _ = inner.env.reset(seed=0)
        self._kind = np.asarray(obs).dtype
        _, reward, *_ = inner.env.step(_some_action(inner.env.action_space))
        self._number: type = type(reward) if isinstance(reward, np.generic) else float
        self.promise = inner.promise

        self.can_draw = inner.can_draw

    def declare(self, random: bool) -> None:
        """Of the bare environment: the wrappers draw nothing."""
        super().declare(random)
        self.inner.declare(random)

    def another(self) -> WrappedLanes | None:
        """Around others of the bare environment."""
        inner = self.inner.another()
        if inner is None:
            return None
        other = copy.copy(self)
        other.inner, other.env, other.size = inner, inner.env, 0
        return other

    def load(self, snapshots: Sequence[Any]) -> None:
        """Start from the bare environment's snapshots."""
        self.inner.load(snapshots)
        self.size = self.inner.size

    def reset(self, seeds: Sequence[int]) -> Floats:
        """Start from seeded resets."""
        obs = self.inner.reset(seeds)
        self.size = self.inner.size
        return self._seen(obs)

    def reseed(self, seeds: Sequence[int]) -> bool:
        """Of the bare environment: the wrappers draw nothing."""
        return self.inner.reseed(seeds)

    def capture(self, lane: int) -> Any:
        """The bare environment's snapshot: the wrappers hold nothing."""
        return self.inner.capture(lane)

    def step(self, act: Actions, running: Bools) -> tuple[Floats, Floats, Bools]:
        """One step of the lanes that are ``running`` [N], as seen from outside the wrappers."""
        seen, paid = np.zeros((self.size, *self.stack.env.observation_space.shape)), np.zeros(self.size)
        at = np.flatnonzero(running)
        if not len(at):
            return seen, paid, np.zeros(self.size, dtype=bool)
        taken = self._taken(act[at])
        every = np.zeros((self.size, *taken.shape[1:]), dtype=taken.dtype)
        every[at] = taken
        obs, reward, terminated = self.inner.step(every, running)
        seen[at], paid[at] = self._seen(obs[at]), self._paid(reward[at])
        return seen, paid, terminated

    def unstable(self) -> Bools:
        """As the bare environment's lanes say."""
        return self.inner.unstable()

    def regimes(self) -> NDArray[np.int64] | None:
        """As the bare environment's lanes say: a wrapper's own jumps cannot be seen."""
        return self.inner.regimes()

    # The functions -----------------------------------------------------------------------------------------

    def _taken(self, act: Actions) -> Actions:
        rows: NDArray[Any] = act
        for layer in reversed(self._layers):
            rows = _mapped(layer, layer.act, rows)
        if is_discrete(self.inner.env.action_space):
            return np.asarray(rows, dtype=np.int64)
        return np.asarray(rows, dtype=np.float64)

    def _seen(self, obs: Floats) -> Floats:
        rows: NDArray[Any] = obs.astype(self._kind)
        for layer in self._layers:
            rows = _mapped(layer, layer.obs, rows)
        return np.asarray(rows, dtype=np.float64)

    def _paid(self, reward: Floats) -> Floats:
        rows: NDArray[Any] = reward.astype(self._number)
        for layer in self._layers:
            rows = _mapped(layer, layer.reward, rows)
        return np.asarray(rows, dtype=np.float64)


def _mapped(layer: Layer, function: Function | None, rows: NDArray[Any]) -> NDArray[Any]:
    """The function of each row, all at once where it may be."""
    if function is None:
        return rows
    if layer.by_number:
        return np.asarray(function(rows))
    return np.stack([np.asarray(function(row)) for row in rows])


def _some_action(space: Any) -> Any:
    space.seed(0)
    return space.sample()
