"""MuJoCo models that an environment changes: an episode's own masses, damping or gravity."""

from __future__ import annotations

import copy
import ctypes
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Numbers that no step reads, only what shows a picture; most of a model's memory.
_PICTURES = ("tex_", "skin_", "mat_")


def is_model(value: Any) -> bool:
    """Whether this is a compiled MuJoCo model.

    Example:
        >>> is_model(1.0)
        False
    """
    mujoco = sys.modules.get("mujoco")
    return mujoco is not None and isinstance(value, mujoco.MjModel)


class ModelWatch:
    """A model as it was, and whether it still is: every number is compared, but for pictures.

    Args:
        model: the compiled model, which is watched from now on.

    Attributes:
        model: the model itself.

    Example:
        >>> import mujoco
        >>> model = mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>")
        >>> watch = ModelWatch(model)
        >>> watch.changed()
        False
        >>> model.opt.gravity[2] = -1.0
        >>> watch.changed(), float(watch.fresh().opt.gravity[2])
        (True, -9.81)
    """

    def __init__(self, model: Any) -> None:
        self.model, self._kept = model, copy.copy(model)
        self._now = _memory(model)
        self._was = [now.copy() for now in self._now]
        options = [name for name in dir(model.opt) if not name.startswith("_")]
        self._options = [name for name in options if isinstance(getattr(model.opt, name), int | float)]
        self._chosen = self._settings()

    def fresh(self) -> Any:
        """Another model, as this one was."""
        return copy.copy(self._kept)

    def changed(self) -> bool:
        """Whether any number of the model is another than it was."""
        same = all((now == was).all() for now, was in zip(self._now, self._was, strict=True))
        return not same or self._settings() != self._chosen

    def _settings(self) -> list[Any]:
        options = self.model.opt
        return [getattr(options, name) for name in self._options]


def _memory(model: Any) -> list[NDArray[np.uint8]]:
    """The bytes behind the model's arrays, those side by side together: it has hundreds, most of them short."""
    found = []
    for owner in (model, model.opt, model.stat):
        for name in dir(owner):
            if name.startswith(("_", *_PICTURES)):
                continue
            value = getattr(owner, name)
            if isinstance(value, np.ndarray) and value.nbytes and value.flags.c_contiguous:
                found.append((int(value.__array_interface__["data"][0]), value.nbytes))
    runs: list[list[int]] = []
    for begin, size in sorted(found):
        # Between two arrays lies nothing but the room that aligns the second.
        if runs and begin - runs[-1][1] < 64:
            runs[-1][1] = max(runs[-1][1], begin + size)
        else:
            runs.append([begin, begin + size])
    return [np.ctypeslib.as_array((ctypes.c_uint8 * (end - begin)).from_address(begin)) for begin, end in runs]
