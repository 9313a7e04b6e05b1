"""Which environment a state is of: not only its name, but its model, its options and its wrappers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradlab.digests import digest
from gradlab.simulation.global_randomness import global_randomness_kept
from gradlab.simulation.lanes.agreement import random_actions
from gradlab.simulation.lanes.base import Bools, Lanes

#: Steps that are compared, in two episodes side by side.
_STEPS = 8
#: Attributes that say how a constructor was called, or how a picture is drawn, and nothing of the task.
_NOT_THE_TASK = frozenset({"spec", "metadata", "width", "height", "camera_id", "screen", "clock", "isopen"})


def environment_digest(lanes: Lanes, names: Sequence[str] = ()) -> str:
    """A digest that environments share which begin alike and are built alike, in any process.

    It holds the beginning of two episodes (observations, rewards and ends under given actions, rounded to float32, so
    that another processor's last bits do not matter), the spaces, the names of the class and of the wrappers; of
    MuJoCo's environments the compiled model; and of gymnasium's own environments the numbers among the attributes,
    where their options are. What differs from one time to the next is left out. So options of an environment of one's
    own that show only later in an episode are not told apart.

    Args:
        lanes: of the environment; afterwards in some state of their own.
        names: of the wrappers that are honoured.

    Example:
        >>> import gymnasium
        >>> from gradlab.simulation.lanes.exactness import open_lanes
        >>> def made(**options):
        ...     return environment_digest(open_lanes("Reacher", gymnasium.make("Reacher-v5", **options).unwrapped)[0])
        >>> made() == made(), made() == made(reward_control_weight=0.5)
        (True, False)
    """
    with global_randomness_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = ({"beginning": _beginning(lanes), **_built(lanes.env)} for _ in range(2))
    alike = {part: found for part, found in first.items() if second.get(part) == found}
    return digest([list(names), alike])


def _beginning(lanes: Lanes) -> str:
    obs = lanes.reset([0, 1])
    running: Bools = np.asarray(np.isfinite(obs).all(-1))
    found = [_rounded(obs)]
    for act in random_actions(lanes.env.action_space, (_STEPS, 2)):
        if not running.any():
            break
        obs, reward, terminated = lanes.step(act, running)
        found += [_rounded(obs), _rounded(reward), terminated]
        running &= ~terminated & np.isfinite(obs).all(-1)
    return digest(found)


def _built(env: Any) -> dict[str, str]:
    bare = env.unwrapped
    spaces = [
        [type(space).__name__, getattr(space, "shape", None), getattr(space, "n", None), getattr(space, "start", None)]
        + [_rounded(getattr(space, bound, ())) for bound in ("low", "high")]
        for space in (env.observation_space, env.action_space)
    ]
    found = {"class": type(bare).__name__, "spaces": digest(spaces)}
    if (model := _compiled(bare)) is not None:
        found["model"] = digest(model)
    if type(bare).__module__.partition(".")[0] == "gymnasium":
        for name, value in vars(bare).items():
            numbers = None if name in _NOT_THE_TASK or name.startswith("_ezpickle") else _numbers(value)
            if numbers is not None:
                found[f"attribute {name}"] = digest(numbers)
    return found


def _compiled(bare: Any) -> Any:
    """MuJoCo's model as it would be saved."""
    mujoco, model = sys.modules.get("mujoco"), getattr(bare, "model", None)
    if mujoco is None or not isinstance(model, mujoco.MjModel):
        return None
    saved = np.zeros(mujoco.mj_sizeModel(model), dtype=np.uint8)
    mujoco.mj_saveModel(model, None, saved)
    return saved


def _numbers(value: Any) -> Any:
    """Numbers, however they are nested, 1 and 1.0 being the same; None where there is anything else."""
    if isinstance(value, (bool, int, float, np.generic, np.ndarray)):
        plain = np.asarray(value)
        return _rounded(plain) if plain.dtype.kind in "biuf" else None
    if isinstance(value, Mapping):
        value = [part for name in sorted(value, key=str) for part in (value[name],)]
    if not isinstance(value, (list, tuple)):
        return None
    parts = [_numbers(part) for part in value]
    return None if any(part is None for part in parts) else parts


def _rounded(values: Any) -> Any:
    with np.errstate(over="ignore"):
        single = np.asarray(values).astype(np.float32)
    # One zero, and one way of not being a number.
    single = single + np.float32(0)
    return np.where(np.isnan(single), np.float32(np.nan), single)
