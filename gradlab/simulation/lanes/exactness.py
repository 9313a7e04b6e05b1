"""Restoring is exact, or the environment is refused."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np

from gradlab.simulation.lanes.agreement import TOLERANCE, departure, random_actions
from gradlab.simulation.lanes.base import Lanes, NotRestorableError
from gradlab.simulation.lanes.batch import BatchLanes
from gradlab.simulation.lanes.copied import CopiedLanes
from gradlab.simulation.lanes.generators import generator_state
from gradlab.simulation.lanes.mujoco import MujocoLanes
from gradlab.simulation.lanes.pendulum import PendulumLanes, is_pendulum
from gradlab.simulation.tasks import task_of

__all__ = ["NotRestorableError", "open_lanes", "verified", "verify"]


def open_lanes(name: str, env: Any) -> tuple[Lanes, bool]:
    """The lanes for an environment, checked; and whether a step draws random numbers.

    gymnasium's own MuJoCo tasks get lanes that are stepped together, once these have been held against ``env.step``;
    any other environment gets lanes that are ``env.step``. What is promised is in ``Lanes.promise``.

    Raises:
        NotRestorableError: a restored copy does not go on exactly as the original does.
    """
    fast, reason = _together(env)
    if fast is not None:
        return fast, False
    try:
        lanes: Lanes = MujocoLanes(env) if _is_mujoco(env) else CopiedLanes(env)
    except (TypeError, ValueError, pickle.PicklingError) as error:
        raise _not_copied(name, error) from error
    lanes.promise += reason
    return lanes, verified(name, lanes)


def verified(name: str, lanes: Lanes) -> bool:
    """Whether a step draws random numbers, of lanes that have been found to restore states exactly.

    Raises:
        NotRestorableError: they do not.
    """
    try:
        draws = verify(lanes)
    except (TypeError, ValueError, pickle.PicklingError) as error:
        raise _not_copied(name, error) from error
    if draws is None:
        raise NotRestorableError(
            f"environment {name}: a restored copy does not go on as the original does, so it keeps state that cannot "
            "be copied; use a MuJoCo task, or an environment whose state is its Python attributes"
        )
    return draws


def _not_copied(name: str, error: Exception) -> NotRestorableError:
    return NotRestorableError(f"environment {name}: its state cannot be copied ({str(error).splitlines()[0]})")


def _together(env: Any) -> tuple[Lanes | None, str]:
    """Lanes that are stepped together, or why there are none: text to put after a promise."""
    lanes: Lanes
    if is_pendulum(env):
        lanes = PendulumLanes(env)
    elif _is_mujoco(env) and (task := task_of(env)) is not None:
        lanes = BatchLanes(env, task)
    else:
        return None, ""
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
    acts = random_actions(env.action_space, (10, 2))
    lanes.reset([0, 1])
    before = generator_state(env)
    for act in acts[:5]:
        lanes.step(act, np.array([True, True]))
    draws = lanes.draws or generator_state(env) != before
    snapshot = lanes.capture(0)
    first, second = np.array([True, False]), np.array([False, True])
    original = [lanes.step(act, first) for act in acts[5:]]
    for _ in range(2):
        lanes.load([snapshot, snapshot])
        for act in acts[:5]:
            lanes.step(act, first)
        for act, (obs, reward, terminated) in zip(acts[5:, ::-1], original, strict=True):
            again = lanes.step(act, second)
            outcome = zip(again, (obs, reward, terminated), strict=True)
            if not all(np.array_equal(ours[1], theirs[0], equal_nan=True) for ours, theirs in outcome):
                return None
    return draws


def _is_mujoco(env: Any) -> bool:
    mujoco = sys.modules.get("mujoco")
    return mujoco is not None and isinstance(getattr(env, "data", None), mujoco.MjData)
