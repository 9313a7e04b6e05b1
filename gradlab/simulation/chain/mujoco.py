"""Tangent coordinates of MuJoCo's states.

Positions move along the tangent of their manifold (a quaternion has four numbers and three directions), as
``mj_integratePos`` and ``mj_differentiatePos`` do. The warm start of the constraint solver is a coordinate like
velocities are: a solver that stops early (Humanoid's) does depend on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.simulation.chain.displacement import AttributeDisplacement, Displacement, flat
from gradlab.simulation.lanes.base import Floats
from gradlab.simulation.lanes.mujoco import MujocoSnapshot

#: Derived quantities of MuJoCo that lag a substep, so that an environment may read them before it steps.
_LAGGING = (
    "xpos", "xquat", "xmat", "xipos", "ximat", "xanchor", "xaxis", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat",
    "subtree_com", "cinert", "cvel", "cfrc_ext", "qacc", "qfrc_actuator", "actuator_force", "sensordata",
)  # fmt: skip


class _Rows:
    """Rows of ``mjSTATE_INTEGRATION`` [N, nstate] ↔ offsets: positions' tangent first, then the rest of the row."""

    def __init__(self, model: Any) -> None:
        import mujoco

        self.mujoco, self.model = mujoco, model
        kinds = mujoco.mjtState
        sizes = {
            kind: mujoco.mj_stateSize(model, int(kind))
            for kind in kinds.__members__.values()
            if int(kind).bit_count() == 1 and int(kind) & int(kinds.mjSTATE_INTEGRATION)
        }
        begins, begin = {}, 0
        for kind in sorted(sizes, key=int):
            begins[kind], begin = begin, begin + sizes[kind]
        first = begins[kinds.mjSTATE_QPOS]
        self.positions = slice(first, first + model.nq)
        self.rest = np.r_[0:first, first + model.nq : begin]
        self.flat = model.nq == model.nv
        counted = np.zeros(begin, dtype=bool)
        for kind in (kinds.mjSTATE_QVEL, kinds.mjSTATE_ACT):
            counted[begins[kind] : begins[kind] + sizes[kind]] = True
        self.scale: Floats = np.r_[np.ones(model.nv), np.where(counted[self.rest], 1.0, np.inf)]

    def moved(self, rows: Floats, offsets: Floats) -> Floats:
        tangent, rest = np.split(offsets, [self.model.nv], -1)
        moved = rows.copy()
        moved[:, self.rest] += rest
        if self.flat:
            moved[:, self.positions] += tangent
            return moved
        for row, along in zip(moved, np.ascontiguousarray(tangent), strict=True):
            at = row[self.positions].copy()
            self.mujoco.mj_integratePos(self.model, at, along, 1.0)
            row[self.positions] = at
        return moved

    def between(self, rows: Floats, others: Floats) -> Floats:
        rest = others[:, self.rest] - rows[:, self.rest]
        here, there = (np.ascontiguousarray(at[:, self.positions]) for at in (rows, others))
        if self.flat:
            return np.concatenate([there - here, rest], -1)
        tangent = np.zeros((len(rows), self.model.nv))
        for along, begin, end in zip(tangent, here, there, strict=True):
            self.mujoco.mj_differentiatePos(self.model, along, 1.0, begin, end)
        return np.concatenate([tangent, rest], -1)


class RowDisplacement(Displacement):
    """Of states kept as a row of MuJoCo's integration state and the quantities an environment carries along."""

    def __init__(self, env: Any) -> None:
        self._rows = _Rows(env.model)

    def scale(self, origins: Sequence[Any]) -> Floats:
        """The engine's own units."""
        scale = np.r_[self._rows.scale, np.ones(len(origins[0].carried))]
        return np.broadcast_to(scale, (len(origins), len(scale)))

    def displaced(self, origins: Sequence[Any], offsets: Floats) -> list[Any]:
        """New rows."""
        many, (row, carried) = offsets.shape[1], np.split(offsets, [len(self._rows.scale)], -1)
        rows = self._rows.moved(_repeated([origin.state for origin in origins], many), flat(row))
        along = _repeated([origin.carried for origin in origins], many) + flat(carried)
        return [
            dataclasses.replace(origins[i // many], state=rows[i], carried=along[i]) for i in range(len(origins) * many)
        ]

    def between(self, origins: Sequence[Any], snapshots: Sequence[Any]) -> Floats:
        """Differences of rows."""
        many = len(snapshots) // len(origins)
        rows = self._rows.between(
            _repeated([origin.state for origin in origins], many), np.stack([there.state for there in snapshots])
        )
        carried = np.stack([there.carried for there in snapshots]) - _repeated([o.carried for o in origins], many)
        return np.concatenate([rows, carried], -1).reshape(len(origins), many, rows.shape[-1] + carried.shape[-1])


class DataDisplacement(Displacement):
    """Of states kept as the engine's whole data: its integration state, what lags a substep, and Python attributes."""

    def __init__(self, env: Any) -> None:
        self._rows = _Rows(env.model)
        self._attributes = AttributeDisplacement()

    def scale(self, origins: Sequence[Any]) -> Floats:
        """The engine's own units; attributes likewise."""
        attributes = self._attributes.scale([origin.attributes for origin in origins])
        fixed = np.r_[self._rows.scale, np.full(len(_lagging(origins[0].data)), np.inf)]
        return np.concatenate([np.broadcast_to(fixed, (len(origins), len(fixed))), attributes], -1)

    def displaced(self, origins: Sequence[Any], offsets: Floats) -> list[Any]:
        """Full copies of the data, then moved."""
        many, size = offsets.shape[1], len(self._rows.scale)
        kept = size + len(_lagging(origins[0].data))
        rows = self._rows.moved(_repeated([self._row(o.data) for o in origins], many), flat(offsets[..., :size]))
        attributes = self._attributes.displaced([origin.attributes for origin in origins], offsets[..., kept:])
        moved = []
        for i, (row, along) in enumerate(zip(rows, flat(offsets[..., size:kept]), strict=True)):
            data = self._rows.mujoco.MjData(self._rows.model)
            self._rows.mujoco.mj_copyData(data, self._rows.model, origins[i // many].data)
            self._rows.mujoco.mj_setState(self._rows.model, data, row, self._rows.mujoco.mjtState.mjSTATE_INTEGRATION)
            begin = 0
            for name in _LAGGING:
                values = getattr(data, name)
                values += along[begin : begin + values.size].reshape(values.shape)
                begin += values.size
            moved.append(MujocoSnapshot(data, attributes[i]))
        return moved

    def between(self, origins: Sequence[Any], snapshots: Sequence[Any]) -> Floats:
        """Differences of the integration state, of what lags, and of attributes."""
        many = len(snapshots) // len(origins)
        row = self._rows.between(
            _repeated([self._row(o.data) for o in origins], many), np.stack([self._row(s.data) for s in snapshots])
        )
        lag = np.stack([_lagging(s.data) for s in snapshots]) - _repeated([_lagging(o.data) for o in origins], many)
        attributes = self._attributes.between([o.attributes for o in origins], [s.attributes for s in snapshots])
        lead = (len(origins), many, -1)
        return np.concatenate([row.reshape(lead), lag.reshape(lead), attributes], -1)

    def _row(self, data: Any) -> Floats:
        row = np.empty(self._rows.positions.stop + len(self._rows.rest) - self._rows.positions.start)
        self._rows.mujoco.mj_getState(self._rows.model, data, row, self._rows.mujoco.mjtState.mjSTATE_INTEGRATION)
        return row


def _repeated(rows: list[Any], many: int) -> Floats:
    return np.repeat(np.stack(rows), many, axis=0)


def _lagging(data: Any) -> Floats:
    return np.concatenate([np.ravel(getattr(data, name)) for name in _LAGGING])
