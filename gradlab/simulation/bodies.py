"""What a state looks like: the shapes of a simulated body, placed by kinematics alone; nothing is rendered."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from gradlab.errors import GradlabError
from gradlab.simulation.environments import make
from gradlab.simulation.from_observations import positions_and_velocities

#: Kinds of shapes by MuJoCo's number for them (mjtGeom); others are left out.
KINDS = {0: "plane", 2: "sphere", 3: "capsule", 4: "ellipsoid", 5: "cylinder", 6: "box"}
#: Groups above this are not shown by MuJoCo's viewer either.
_SHOWN = 2


def bodies(environment: str, obs: Any) -> xr.Dataset:
    """The shapes of a task's body in each of the states that observations [S, n] are of.

    Args:
        environment: gymnasium identifier of a MuJoCo task, or of Pendulum.
        obs: observations as the environment gives them.

    Returns:
        ``body_position`` (state, shape, axis) and ``body_rotation`` (state, shape, row, axis), whose columns are the
        shape's own axes; ``body_size`` (shape, axis), MuJoCo's half lengths and radii; ``body_kind`` (shape), a key of
        ``KINDS``; ``body_color`` (shape, channel), red, green, blue and opacity of 0 to 1. float32, metres.

    Raises:
        GradlabError: there is no such environment, it has no body, or its observations do not hold its positions.

    Example:
        >>> import numpy as np
        >>> hanging = bodies("Pendulum-v1", np.array([[-1.0, 0.0, 0.0]]))
        >>> (hanging.body_position.values[0, 0].round(3) + 0.0).tolist()  # the middle of the rod, below the pivot
        [0.0, 0.0, -0.5]
    """
    env = _environment(environment)
    position, velocity = positions_and_velocities(env, obs)
    if not hasattr(env, "model"):
        return _rod(env, position)
    import mujoco

    model, data = env.model, mujoco.MjData(env.model)
    shown = [
        shape
        for shape in range(model.ngeom)
        if int(model.geom_type[shape]) in KINDS and model.geom_group[shape] <= _SHOWN and _color(model, shape)[3] > 0
    ]
    if not shown:
        raise GradlabError(f"environment {environment}: its body has no shapes that can be drawn")
    places, turns = [], []
    for row in range(len(position)):
        data.qpos[:], data.qvel[:] = position[row], velocity[row]
        mujoco.mj_kinematics(model, data)
        places.append(data.geom_xpos[shown].copy())
        turns.append(data.geom_xmat[shown].reshape(-1, 3, 3).copy())
    return _dataset(
        np.stack(places),
        np.stack(turns),
        model.geom_size[shown],
        model.geom_type[shown],
        np.stack([_color(model, shape) for shape in shown]),
    )


@lru_cache(maxsize=4)
def _environment(name: str) -> Any:
    return make(name).env.unwrapped


def _color(model: Any, shape: int) -> Any:
    material = int(model.geom_matid[shape])
    return model.mat_rgba[material] if material >= 0 else model.geom_rgba[shape]


def _rod(env: Any, angle: Any) -> xr.Dataset:
    """The pendulum of gymnasium: a rod whose angle is 0 upright and grows anticlockwise, in the plane of x and z."""
    length = getattr(env, "l", None)
    if length is None:
        raise GradlabError(f"environment {type(env).__name__}: it has no body that is known")
    sine, cosine = -np.sin(angle[:, 0]), np.cos(angle[:, 0])
    zero, one = np.zeros_like(sine), np.ones_like(sine)
    along = np.stack([sine, zero, cosine], -1)
    turn = np.stack([np.stack([cosine, zero, -sine], -1), np.stack([zero, one, zero], -1), along], -1)
    places = np.stack([along * length / 2, np.zeros_like(along)], 1)
    return _dataset(
        places,
        np.stack([turn, turn], 1),
        np.array([[0.08 * length, length / 2, 0.0], [0.05 * length, 0.0, 0.0]]),
        np.array([3, 2]),
        np.array([[0.8, 0.3, 0.3, 1.0], [0.1, 0.1, 0.1, 1.0]]),
    )


def _dataset(position: Any, rotation: Any, size: Any, kind: Any, color: Any) -> xr.Dataset:
    return xr.Dataset(
        {
            "body_position": (("state", "shape", "axis"), position.astype(np.float32), {"units": "m"}),
            "body_rotation": (("state", "shape", "row", "axis"), rotation.astype(np.float32)),
            "body_size": (("shape", "axis"), np.asarray(size, dtype=np.float32), {"units": "m"}),
            "body_kind": (("shape",), np.asarray(kind, dtype=np.int32)),
            "body_color": (("shape", "channel"), np.asarray(color, dtype=np.float32)),
        }
    )
