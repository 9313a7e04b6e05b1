"""Lanes for any environment whose state is its Python attributes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.simulation.lanes.base import SHARED, Bools, Floats, NotRestorableError
from gradlab.simulation.lanes.divergence import count_warnings
from gradlab.simulation.lanes.generators import reseed
from gradlab.simulation.lanes.models import ModelWatch, is_model
from gradlab.simulation.lanes.turns import CODE, Attributes, TurnLanes

#: Parts of a wrapper that stay the same all its life.
_WRAPPER_SHARED = SHARED | {
    "env",
    "func",
    "_action_space",
    "_observation_space",
    "_metadata",
    "_cached_spec",
    "_saved_kwargs",
}


class CopiedLanes(TurnLanes):
    """Any environment whose whole state is its Python attributes: one deep copy of them a lane.

    An environment with wrappers is stepped through them, and what they hold is part of the state (frames that are
    stacked, steps that are counted). It cannot promise speed, nor exactness for an environment that keeps state
    elsewhere (a C library, a module's variables, a file); ``verify`` and ``held_alone`` catch most of those. A compiled
    MuJoCo model is shared by all lanes, and an environment that changes it is refused.

    A snapshot is a dictionary of attributes; with wrappers, a tuple of them, from the outermost inwards.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._layers = [env] if env is not None else []
        while self._layers and self._layers[-1] is not env.unwrapped:
            self._layers.append(self._layers[-1].env)
        model = vars(env.unwrapped).get("model") if env is not None else None
        self._model = ModelWatch(model) if is_model(model) else None
        self._lanes: list[list[Attributes]] = []
        self._before: list[int] = []

    def load(self, snapshots: Sequence[Any]) -> None:
        """Start from deep copies."""
        self._lanes = [self._copy([kept] if isinstance(kept, dict) else list(kept)) for kept in snapshots]
        self.size = len(snapshots)
        self._begun()
        self._before = self._warned()

    def reset(self, seeds: Sequence[int]) -> Floats:
        """Start from seeded resets."""
        self.size = len(seeds)
        obs, self._lanes = [], []
        for seed in seeds:
            obs.append(np.asarray(self.env.reset(seed=seed)[0], dtype=np.float64))
            self._same_model()
            self._lanes.append(self._copy(self._attributes()))
        self._begun()
        self._before = self._warned()
        return np.stack(obs)

    def reseed(self, seeds: Sequence[int]) -> bool:
        """Replace the generators among the attributes."""
        self._begun()
        return all(reseed(kept, seed) for kept, seed in zip(self._lanes, seeds, strict=True))

    def capture(self, lane: int) -> Any:
        """A deep copy of the attributes."""
        copied = self._copy(self._lanes[lane])
        return copied[0] if len(copied) == 1 else tuple(copied)

    def unstable(self) -> Bools:
        """Lanes of a MuJoCo task whose physics diverged; other environments cannot tell."""
        return np.array([now != then for now, then in zip(self._warned(), self._before, strict=True)], dtype=bool)

    def _warned(self) -> list[int]:
        return [count_warnings(kept[-1].get("data")) for kept in self._lanes]

    def _enter(self, lane: int) -> None:
        for layer, kept in zip(self._layers, self._lanes[lane], strict=True):
            attributes = vars(layer)
            shared = {name: value for name, value in attributes.items() if self._is_shared(layer, name, value)}
            # Cleared, so that what another lane's steps added does not leak into this one.
            attributes.clear()
            attributes.update(shared)
            attributes.update(kept)

    def _leave(self, lane: int) -> None:
        self._same_model()
        self._lanes[lane] = self._attributes()

    def _same_model(self) -> None:
        if self._model is None:
            return
        if vars(self.env.unwrapped).get("model") is not self._model.model or self._model.changed():
            raise NotRestorableError(
                f"environment {type(self.env.unwrapped).__name__}: it changes its MuJoCo model, which all copies of "
                "its state share"
            )

    def _attributes(self) -> list[Attributes]:
        return [
            {name: value for name, value in vars(layer).items() if not self._is_shared(layer, name, value)}
            for layer in self._layers
        ]

    def _is_shared(self, layer: Any, name: str, value: Any) -> bool:
        kept = SHARED if layer is self._layers[-1] else _WRAPPER_SHARED
        return name in kept or isinstance(value, CODE) or is_model(value)

    def _copy(self, attributes: list[Attributes]) -> list[Attributes]:
        # Whatever refers back to the environment goes on doing so, rather than to a copy of it.
        return copy.deepcopy(attributes, {id(layer): layer for layer in self._layers})
