"""Lanes for gymnasium's MuJoCo tasks."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.simulation.lanes.base import SHARED, Bools, Floats, TurnLanes
from gradlab.simulation.lanes.generators import reseed

#: Where gymnasium keeps an environment's generator; resets always draw from it, steps rarely.
_GENERATOR = "_np_random"


@dataclass(frozen=True)
class MujocoSnapshot:
    """A MuJoCo state: the engine's whole data and the Python attributes that change from step to step."""

    data: Any
    attributes: dict[str, Any]


class MujocoLanes(TurnLanes):
    """gymnasium's MuJoCo tasks: one ``MjData`` a lane, copied by ``mj_copyData``.

    The full copy keeps warm starts, contacts and derived quantities, which ``mj_setState`` does not (on Ant
    the difference reaches the reward). Python attributes that a reset or a step changes travel with the lane.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        import mujoco

        self._mujoco = mujoco
        self._pool: list[Any] = []
        self._warnings = [
            int(kind)
            for kind in (
                mujoco.mjtWarning.mjWARN_BADQPOS,
                mujoco.mjtWarning.mjWARN_BADQVEL,
                mujoco.mjtWarning.mjWARN_BADQACC,
            )
        ]
        self._names, self._written = self._changing()
        self._attributes: list[dict[str, Any]] = []

    def _changing(self) -> tuple[tuple[str, ...], bool]:
        """Names of the attributes that differ between states, and whether a step writes any of them."""
        env = self.env
        rng = np.random.default_rng(0)
        reset, stepped = set[str](), set[str]()
        env.reset(seed=0)
        before = self._pickled()
        for seed in range(1, 4):
            env.reset(seed=seed)
            after = self._pickled()
            reset |= {name for name in after if after[name] != before.get(name)}
            for _ in range(3):
                before = after
                env.step(rng.uniform(-0.5, 0.5, env.action_space.shape))
                after = self._pickled()
                stepped |= {name for name in after if after[name] != before.get(name)}
            before = after
        # A generator that only resets draw from does not belong to the state.
        names = (reset - {_GENERATOR, "_np_random_seed"}) | stepped
        return tuple(sorted(names)), bool(stepped)

    def _pickled(self) -> dict[str, bytes]:
        found = {}
        for name, value in vars(self.env).items():
            if name in SHARED or name == "data":
                continue
            try:
                found[name] = pickle.dumps(value)
            except (pickle.PicklingError, TypeError, AttributeError):
                continue
        return found

    def _grow(self, size: int) -> None:
        while len(self._pool) < size:
            self._pool.append(self._mujoco.MjData(self.env.model))
        self.size = size
        self._attributes = [{} for _ in range(size)]

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
            self._mujoco.mj_copyData(self._pool[lane], self.env.model, snapshot.data)
            self._attributes[lane] = copy.deepcopy(snapshot.attributes)
        self._before = self._counts()

    def reset(self, seeds: Sequence[int]) -> Floats:
        """Start from seeded resets."""
        self._grow(len(seeds))
        obs = []
        for lane, seed in enumerate(seeds):
            self.env.data = self._pool[lane]
            obs.append(np.asarray(self.env.reset(seed=seed)[0], dtype=np.float64))
            self._attributes[lane] = copy.deepcopy(self._current())
        self._before = self._counts()
        return np.stack(obs)

    def reseed(self, seeds: Sequence[int]) -> bool:
        """Replace the generators among the attributes that travel."""
        return all(reseed(kept, seed) for kept, seed in zip(self._attributes, seeds, strict=True))

    def capture(self, lane: int) -> MujocoSnapshot:
        """A full copy of the engine's data."""
        data = self._mujoco.MjData(self.env.model)
        self._mujoco.mj_copyData(data, self.env.model, self._pool[lane])
        return MujocoSnapshot(data, copy.deepcopy(self._attributes[lane]))

    def _current(self) -> dict[str, Any]:
        attributes = vars(self.env)
        return {name: attributes[name] for name in self._names}

    def _enter(self, lane: int) -> None:
        self.env.data = self._pool[lane]
        if self._names:
            vars(self.env).update(self._attributes[lane])

    def _leave(self, lane: int) -> None:
        if self._written:
            self._attributes[lane] = self._current()

    def _counts(self) -> NDArray[np.int64]:
        return np.array(
            [[data.warning[kind].number for kind in self._warnings] for data in self._pool[: self.size]], dtype=np.int64
        ).reshape(self.size, len(self._warnings))

    def unstable(self) -> Bools:
        """Lanes where MuJoCo met a bad position, velocity or acceleration, upon which it resets the state."""
        return np.asarray((self._counts() != self._before).any(-1))
