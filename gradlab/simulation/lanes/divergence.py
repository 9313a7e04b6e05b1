"""Whether MuJoCo met numbers it could not go on from, upon which it resets the state without a word."""

from __future__ import annotations

import sys
from typing import Any


def count_warnings(data: Any) -> int:
    """How often an ``MjData`` has met a bad position, velocity or acceleration; 0 for anything else.

    Example:
        >>> count_warnings(None)
        0
    """
    mujoco = sys.modules.get("mujoco")
    if mujoco is None or not isinstance(data, mujoco.MjData):
        return 0
    kinds = mujoco.mjtWarning
    bad = (kinds.mjWARN_BADQPOS, kinds.mjWARN_BADQVEL, kinds.mjWARN_BADQACC)
    return sum(int(data.warning[int(kind)].number) for kind in bad)
