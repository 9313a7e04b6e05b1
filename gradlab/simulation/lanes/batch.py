"""Lanes of gymnasium's own MuJoCo tasks, stepped together: physics by rows of states, task by arithmetic on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.simulation.lanes.base import Actions, Bools, Floats, Lanes
from gradlab.simulation.lanes.engines import BatchEngine, ContactEngine, Engine
from gradlab.simulation.tasks import Task


@dataclass(frozen=True, eq=False)
class BatchSnapshot:
    """A MuJoCo state that goes on exactly.

    Attributes:
        state: float64 [nstate], the engine's ``mjSTATE_INTEGRATION`` (positions, velocities, warm start, …).
        carried: float64 [c], derived quantities that lag a substep behind the state and enter the next reward (Ant's
            torso, Humanoid's mass centre); empty in tasks that have none.
    """

    state: Floats
    carried: Floats


class BatchLanes(Lanes):
    """N states of a task that is known, as rows of numbers.

    A step writes the actions into the rows, lets the engine advance these by the environment's number of substeps,
    and has the task work out observations, rewards and ends from the engine's fields. Substeps are ``mj_step``'s, bit
    for bit. A state that diverges is treated as ``env.step`` treats it (MuJoCo starts it anew) and is reported by
    ``unstable``; one in which MuJoCo raises an error keeps its row, gives numbers that are not, and is reported too.
    Neither touches another lane.

    The environment itself is needed for its resets only. Lanes that ``another`` gives may be used in another thread
    at the same time; one object may not.

    Args:
        env: the bare environment.
        task: its vectorised task.
        door: a lock around the environment, shared with every other lanes of the same one.

    Example:
        >>> import gymnasium
        >>> from gradlab.simulation.tasks import task_of
        >>> env = gymnasium.make("Hopper-v5").unwrapped
        >>> lanes = BatchLanes(env, task_of(env))
        >>> obs = lanes.reset([5, 6])
        >>> lanes.load([lanes.capture(1)])
        >>> obs, reward, terminated = lanes.step(np.full((1, 3), 0.2), np.array([True]))
        >>> _ = env.reset(seed=6)
        >>> bool(reward[0] == env.step(np.full(3, 0.2))[1])
        True
    """

    promise = "meant to equal env.step, and not held against it yet"

    def __init__(self, env: Any, task: Task, door: Lock | None = None) -> None:
        super().__init__(env)
        import mujoco

        self._mujoco = mujoco
        self._task = task
        self._door = door or Lock()
        self._spec = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        self._length = int(mujoco.mj_stateSize(env.model, self._spec))
        self._obs_shape, self._substeps = env.observation_space.shape, int(env.frame_skip)
        self._engine: Engine | None = None
        self._regimes: NDArray[np.int64] | None = None

    def another(self) -> BatchLanes:
        """Lanes of the same task and model, with an engine of their own."""
        lanes = BatchLanes(self.env, self._task, self._door)
        lanes.promise = self.promise
        return lanes

    def _begin(self, size: int) -> Engine:
        engine, task = self._engine, self._task
        if engine is None or len(engine.rows) < size:
            kind = ContactEngine if task.contact_forces else BatchEngine
            engine = self._engine = kind(self.env.model, size, task.derived)
        self.size = size
        engine.failed[:] = False
        engine.forget()
        return engine

    def load(self, snapshots: Sequence[Any]) -> None:
        """Start from copies of the rows.

        Raises:
            GradlabError: a snapshot is of another kind, or of a model of another size.
        """
        for snapshot in snapshots:
            if not isinstance(snapshot, BatchSnapshot) or snapshot.state.shape != (self._length,):
                raise GradlabError(
                    f"states: a snapshot ({type(snapshot).__name__}) is not a row of this task's {self._length} "
                    "numbers; visit states anew with this version of MuJoCo and of the task's model"
                )
        engine = self._begin(len(snapshots))
        engine.rows[: self.size] = [snapshot.state for snapshot in snapshots]
        if self._task.lagging:
            self._position = np.stack([snapshot.carried for snapshot in snapshots])
        else:
            self._position = self._task.position({name: engine.fields[name][: self.size] for name in ("qpos", "qvel")})

    def reset(self, seeds: Sequence[int]) -> Floats:
        """Start from the environment's own seeded resets."""
        engine = self._begin(len(seeds))
        lib, env = self._mujoco, self.env
        obs, position = [], []
        with self._door:
            for lane, seed in enumerate(seeds):
                obs.append(np.asarray(env.reset(seed=seed)[0], dtype=np.float64))
                lib.mj_getState(env.model, env.data, engine.rows[lane], self._spec)
                position.append(self._task.position({name: getattr(env.data, name)[None] for name in engine.fields}))
        self._position = np.concatenate(position)
        return np.stack(obs)

    def capture(self, lane: int) -> BatchSnapshot:
        """Copies of the lane's row and of what it carries."""
        assert self._engine is not None
        carried = self._position[lane].copy() if self._task.lagging else np.empty(0)
        return BatchSnapshot(self._engine.rows[lane].copy(), carried)

    def step(self, act: Actions, running: Bools) -> tuple[Floats, Floats, Bools]:
        """One step of the lanes that are ``running``; not a number where MuJoCo raised an error."""
        engine, size = self._engine, self.size
        assert engine is not None
        obs = np.zeros((size, *self._obs_shape))
        reward, terminated = np.zeros(size), np.zeros(size, dtype=bool)
        everyone = bool(running.all())
        ids = np.flatnonzero(running).astype(np.int32)
        if not len(ids):
            return obs, reward, terminated
        at: Any = slice(0, size) if everyone else ids
        taken = np.ascontiguousarray(act[at], dtype=np.float64)
        engine.fields["ctrl"][at] = taken
        engine.advance(None if everyone and size == len(engine.rows) else ids, self._substeps)
        fields = {name: field[at] for name, field in engine.fields.items()}
        # A lane that diverges is reported, not warned of once for every sum it overflows.
        with np.errstate(all="ignore"):
            after = self._task.position(fields)
            obs[at], reward[at], terminated[at] = self._task.outcome(fields, self._position[at], after, taken)
        self._position[at] = after
        regime = self._task.regime(fields)
        if regime is not None:
            self._regimes = np.zeros(size, dtype=np.int64)
            self._regimes[at] = regime
        if engine.failed.any():
            failed = engine.failed[:size] & running
            obs[failed], reward[failed], terminated[failed] = np.nan, np.nan, False
        return obs, reward, terminated

    def regimes(self) -> NDArray[np.int64] | None:
        """As the task says."""
        return self._regimes

    def unstable(self) -> Bools:
        """Lanes where MuJoCo met a bad position, velocity or acceleration, or raised an error."""
        assert self._engine is not None
        return np.asarray((self._engine.warned() | self._engine.failed)[: self.size])
