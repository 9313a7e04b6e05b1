"""Restoring is exact, or the environment is refused."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.simulation.actions import is_discrete
from gradlab.simulation.agreement import TOLERANCE, departure
from gradlab.simulation.batch_lanes import BatchLanes
from gradlab.simulation.copied_lanes import CopiedLanes
from gradlab.simulation.lanes import Actions, Lanes
from gradlab.simulation.mujoco_lanes import MujocoLanes
from gradlab.simulation.tasks import task_of


def open_lanes(name: str, env: Any) -> tuple[Lanes, bool]:
    """The lanes for an environment, checked; and whether a step draws random numbers.

    gymnasium's own MuJoCo tasks get lanes that are stepped together, once these have been held against ``env.step``;
    any other environment gets lanes that are ``env.step``. What is promised is in ``Lanes.promise``.

    Raises:
        GradlabError: a restored copy does not go on exactly as the original does.
    """
    fast, reason = _together(env)
    if fast is not None:
        return fast, False
    try:
        lanes: Lanes = MujocoLanes(env) if _is_mujoco(env) else CopiedLanes(env)
        lanes.promise += reason
        random = verify(lanes)
    except (TypeError, pickle.PicklingError) as error:
        raise GradlabError(f"environment {name}: its state cannot be copied ({str(error).splitlines()[0]})") from error
    if random is None:
        raise GradlabError(
            f"environment {name}: a restored copy does not go on as the original does, so it keeps state that cannot "
            "be copied; use a MuJoCo task, or an environment whose state is its Python attributes"
        )
    return lanes, random


def _together(env: Any) -> tuple[Lanes | None, str]:
    """Lanes that are stepped together, or why there are none: text to put after a promise."""
    if not _is_mujoco(env) or (task := task_of(env)) is None:
        return None, ""
    lanes = BatchLanes(env, task)
    try:
        apart = departure(lanes)
    except (ValueError, RuntimeError) as error:
        # An engine that cannot run this model as rows of states, such as one whose bodies may sleep.
        return None, f" (stepping its states together failed: {str(error).splitlines()[0]})"
    if apart > TOLERANCE:
        return None, f" (stepping its states together departs from env.step by {apart:.1e})"
    exactly = "to the last bit" if apart == 0 else f"to {TOLERANCE:g}"
    lanes.promise = f"equal to env.step {exactly}, held against it when the simulator was opened"
    return lanes, ""


def verify(lanes: Lanes) -> bool | None:
    """Whether a step draws random numbers; None when restoring is not exact.

    A state some steps into an episode is captured; the original goes on; two copies are then loaded, one is
    led astray, and the other must repeat the original bit for bit, twice.
    """
    env = lanes.env
    acts = _random_actions(env.action_space, (10, 2))
    lanes.reset([0, 1])
    before = _generator_state(env)
    for act in acts[:5]:
        lanes.step(act, np.array([True, True]))
    random = _generator_state(env) != before
    snapshot = lanes.capture(0)
    first, second = np.array([True, False]), np.array([False, True])
    original = [lanes.step(act, first) for act in acts[5:]]
    for _ in range(2):
        lanes.load([snapshot, snapshot])
        for act in acts[:5]:
            lanes.step(act, first)
        for act, (obs, reward, terminated) in zip(acts[5:, ::-1], original, strict=True):
            again = lanes.step(act, second)
            if not all(np.array_equal(a[1], b[0]) for a, b in zip(again, (obs, reward, terminated), strict=True)):
                return None
    return random


def _random_actions(space: Any, shape: tuple[int, ...]) -> Actions:
    rng = np.random.default_rng(0)
    if is_discrete(space):
        return np.asarray(space.start + rng.integers(space.n, size=shape), dtype=np.int64)
    low, high = (np.nan_to_num(bound, neginf=-1, posinf=1) for bound in (space.low, space.high))
    return rng.uniform(low, high, (*shape, len(low)))


def _generator_state(env: Any) -> bytes:
    generator = getattr(env, "_np_random", None)
    return b"" if generator is None else pickle.dumps(generator.bit_generator.state)


def _is_mujoco(env: Any) -> bool:
    mujoco = sys.modules.get("mujoco")
    return mujoco is not None and isinstance(getattr(env, "data", None), mujoco.MjData)
