"""The physics of many states, each a row of numbers, advanced together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.simulation.lanes.base import Bools, Floats

_STATE_FIELDS = ("qpos", "qvel", "ctrl")


class Engine(ABC):
    """Rows of MuJoCo states (``mjSTATE_INTEGRATION``), and the fields of the engine that belong to them.

    Attributes:
        rows: the states, [N, nstate] float64; written to in order to set them.
        fields: positions, velocities, controls (all of them views of the rows) and the derived fields asked for,
            each [N, ...]. Derived fields are those of a row's last advance.
        failed: rows [N] in which MuJoCo raised an error; they keep the state they had.
    """

    rows: Floats
    fields: dict[str, Floats]
    failed: Bools

    @abstractmethod
    def advance(self, ids: NDArray[np.int32] | None, substeps: int) -> None:
        """Substeps with the controls in the rows: of all rows, or of those with the given sorted numbers."""

    @abstractmethod
    def warned(self) -> Bools:
        """Rows [N] that met a bad position, velocity, acceleration or control since ``forget``, as far as is counted.

        Upon one MuJoCo resets the state and all its counters, and then counts it: a counter never exceeds one, and
        a second time is not seen unless the first has been forgotten.
        """

    @abstractmethod
    def forget(self) -> None:
        """Begin to count anew."""


class BatchEngine(Engine):
    """``mujoco.batch``, on the caller's thread alone.

    One MjData serves all rows and stays in the processor's cache; further threads are given engines of their own.
    """

    def __init__(self, model: Any, size: int, derived: tuple[str, ...]) -> None:
        from mujoco.batch import Batch, SimulationError

        self._batch, self._error = Batch(model, size, nthread=1), SimulationError
        self.rows = self._batch.state
        self.fields = {name: self._batch.bind(name) for name in (*_STATE_FIELDS, *derived)}
        self.failed = np.zeros(size, dtype=bool)
        self._unstable = _instabilities()

    def advance(self, ids: NDArray[np.int32] | None, substeps: int) -> None:
        """One call for all rows; those that fail do not stop the others."""
        try:
            self._batch.step(ids, substeps)
        except self._error as error:
            self.failed[error.ids] = True

    def warned(self) -> Bools:
        """By the batch's counters."""
        return np.asarray(self._batch.warning[:, self._unstable, 1].any(-1))

    def forget(self) -> None:
        """The batch's counters are written to."""
        self._batch.warning[:, self._unstable, 1] = 0


class ContactEngine(Engine):
    """One MjData through which every row goes in turn, with the contact forces that ``mj_step`` leaves out.

    gymnasium calls ``mj_rnePostConstraint`` after the last substep, on the contacts of the integrator's last stage;
    a batch can compute them only at the beginning of a substep, which is another number.
    """

    def __init__(self, model: Any, size: int, derived: tuple[str, ...]) -> None:
        import mujoco

        self._mujoco, self._model = mujoco, model
        self._spec = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        self.rows = np.zeros((size, mujoco.mj_stateSize(model, self._spec)))
        self.failed = np.zeros(size, dtype=bool)
        self._warned = np.zeros(size, dtype=bool)
        self.fields = {name: self._part(name) for name in _STATE_FIELDS}
        data = mujoco.MjData(model)
        self._derived = {name: np.zeros((size, *getattr(data, name).shape)) for name in derived}
        self.fields |= self._derived
        self._unstable = _instabilities()
        self._take(data)

    def _take(self, data: Any) -> None:
        self._data, self._numbers = data, data.warning.number
        self._seen = self._numbers.tobytes()
        self._copies = [(field, getattr(data, name)) for name, field in self._derived.items()]

    def _part(self, name: str) -> Floats:
        kinds = self._mujoco.mjtState
        wanted = {"qpos": kinds.mjSTATE_QPOS, "qvel": kinds.mjSTATE_QVEL, "ctrl": kinds.mjSTATE_CTRL}[name]
        # Components lie in the order of their bits.
        below = self._spec & (int(wanted) - 1)
        begin = self._mujoco.mj_stateSize(self._model, below)
        return self.rows[:, begin : begin + self._mujoco.mj_stateSize(self._model, int(wanted))]

    def advance(self, ids: NDArray[np.int32] | None, substeps: int) -> None:
        """Row by row; a row that fails does not stop the others."""
        for row in range(len(self.rows)) if ids is None else ids.tolist():
            try:
                self._advance(row, substeps)
            except self._mujoco.FatalError:
                self.failed[row] = True
                # The engine's stack is left as the error found it.
                self._take(self._mujoco.MjData(self._model))

    def _advance(self, row: int, substeps: int) -> None:
        lib, model, data, state = self._mujoco, self._model, self._data, self.rows[row]
        lib.mj_setState(model, data, state, self._spec)
        lib.mj_step(model, data, substeps)
        lib.mj_rnePostConstraint(model, data)
        lib.mj_getState(model, data, state, self._spec)
        for field, value in self._copies:
            field[row] = value
        # Comparing bytes is what costs least; the counters hardly ever change.
        if self._numbers.tobytes() != self._seen:
            self._warned[row] |= bool(self._numbers[self._unstable].any())
            self._numbers[self._unstable] = 0
            self._seen = self._numbers.tobytes()

    def warned(self) -> Bools:
        """Looked at row by row."""
        return self._warned.copy()

    def forget(self) -> None:
        """The one MjData's counters are cleared whenever they have been looked at."""
        self._warned[:] = False


def _instabilities() -> list[int]:
    """MuJoCo's warnings upon which it resets the state, and the one upon which it takes no action instead of one."""
    from mujoco import mjtWarning

    kinds = mjtWarning.mjWARN_BADQPOS, mjtWarning.mjWARN_BADQVEL, mjtWarning.mjWARN_BADQACC, mjtWarning.mjWARN_BADCTRL
    return [int(kind) for kind in kinds]
