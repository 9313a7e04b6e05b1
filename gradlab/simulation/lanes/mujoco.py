"""Lanes for gymnasium's MuJoCo tasks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.simulation.lanes.base import SHARED, Bools, Floats, NotRestorableError
from gradlab.simulation.lanes.generators import reseed
from gradlab.simulation.lanes.models import ModelWatch
from gradlab.simulation.lanes.turns import CODE, Attributes, TurnLanes

#: Of the environment's attributes, those that are not carried with the others.
_APART = SHARED | {"data", "model"}


@dataclass(frozen=True)
class MujocoSnapshot:
    """A MuJoCo state: the engine's whole data and every Python attribute that is not shared.

    A model that this episode has changed is among the attributes.
    """

    data: Any
    attributes: Attributes


class MujocoLanes(TurnLanes):
    """gymnasium's MuJoCo tasks: one ``MjData`` a lane, copied by ``mj_copyData``.

    The full copy keeps warm starts, contacts and derived quantities, which ``mj_setState`` does not (on Ant
    the difference reaches the reward). All Python attributes travel with the lane, whether they have been seen to
    change or not; so does the model once a reset or a step has changed it (an episode's own masses or gravity). A
    reset begins with the model as it was made.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        import mujoco

        self._mujoco = mujoco
        self._pool: list[Any] = []
        self._watch = ModelWatch(env.model)
        self._warnings = [
            int(kind)
            for kind in (
                mujoco.mjtWarning.mjWARN_BADQPOS,
                mujoco.mjtWarning.mjWARN_BADQVEL,
                mujoco.mjtWarning.mjWARN_BADQACC,
            )
        ]
        self._attributes: list[Attributes] = []

    def _grow(self, size: int) -> None:
        while len(self._pool) < size:
            self._pool.append(self._mujoco.MjData(self._watch.model))
        self.size = size
        self._attributes = [{} for _ in range(size)]
        self._begun()

    def load(self, snapshots: Sequence[Any]) -> None:
        """Start from full copies of the engine's data.

        Raises:
            GradlabError: a snapshot is of another kind.
        """
        for snapshot in snapshots:
            if not isinstance(snapshot, MujocoSnapshot):
                raise GradlabError(
                    f"states: a snapshot ({type(snapshot).__name__}) is not a copy of MuJoCo's data, as this "
                    "environment needs; visit states anew with it"
                )
        self._grow(len(snapshots))
        for lane, snapshot in enumerate(snapshots):
            self._mujoco.mj_copyData(self._pool[lane], self._watch.model, snapshot.data)
            self._attributes[lane] = self._copy(snapshot.attributes)
        self._before = self._counts()

    def reset(self, seeds: Sequence[int]) -> Floats:
        """Start from seeded resets."""
        self._grow(len(seeds))
        obs = []
        for lane, seed in enumerate(seeds):
            self.env.data, self.env.model = self._pool[lane], self._watch.model
            obs.append(np.asarray(self.env.reset(seed=seed)[0], dtype=np.float64))
            self._leave(lane)
            self._attributes[lane] = self._copy(self._attributes[lane])
        self._before = self._counts()
        return np.stack(obs)

    def reseed(self, seeds: Sequence[int]) -> bool:
        """Replace the generators among the attributes that travel."""
        self._begun()
        return all(reseed(kept, seed) for kept, seed in zip(self._attributes, seeds, strict=True))

    def capture(self, lane: int) -> MujocoSnapshot:
        """A full copy of the engine's data."""
        data = self._mujoco.MjData(self._watch.model)
        self._mujoco.mj_copyData(data, self._watch.model, self._pool[lane])
        return MujocoSnapshot(data, self._copy(self._attributes[lane]))

    def _copy(self, attributes: Attributes) -> Attributes:
        # Whatever refers back to the environment goes on doing so, rather than to a copy of it.
        return copy.deepcopy(attributes, {id(self.env): self.env})

    def _enter(self, lane: int) -> None:
        held, mine = vars(self.env), self._attributes[lane]
        for name in [name for name, value in held.items() if self._travels(name, value) and name not in mine]:
            # What another lane's steps added does not leak into this one.
            del held[name]
        self.env.data, self.env.model = self._pool[lane], self._watch.model
        held.update(mine)

    def _leave(self, lane: int) -> None:
        env, watch = self.env, self._watch
        if env.data is not self._pool[lane]:
            raise NotRestorableError(
                f"environment {type(env).__name__}: it replaces its MuJoCo data, which cannot be followed"
            )
        self._attributes[lane] = {name: value for name, value in vars(env).items() if self._travels(name, value)}
        if env.model is not watch.model or watch.changed():
            self._attributes[lane]["model"] = env.model
            if env.model is watch.model:
                # The lane keeps the one it has changed; all others have never seen it.
                self._watch = ModelWatch(watch.fresh())
        env.model = self._watch.model

    def _travels(self, name: str, value: Any) -> bool:
        return name not in _APART and not isinstance(value, CODE)

    def _counts(self) -> NDArray[np.int64]:
        return np.array(
            [[data.warning[kind].number for kind in self._warnings] for data in self._pool[: self.size]], dtype=np.int64
        ).reshape(self.size, len(self._warnings))

    def unstable(self) -> Bools:
        """Lanes where MuJoCo met a bad position, velocity or acceleration, upon which it resets the state."""
        return np.asarray((self._counts() != self._before).any(-1))
