"""Lanes for gymnasium's Pendulum-v1, stepped together by numpy."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from gradlab.simulation.lanes.base import Actions, Bools, Floats
from gradlab.simulation.lanes.copied import CopiedLanes


def is_pendulum(env: Any) -> bool:
    """Whether this is gymnasium's own environment, and not one derived from it."""
    kind = type(env)
    return (kind.__module__, kind.__qualname__) == ("gymnasium.envs.classic_control.pendulum", "PendulumEnv")


class PendulumLanes(CopiedLanes):
    """Pendulum-v1: angle θ and velocity ω of N pendulums at once, in the environment's order of operations.

    ω ← clip(ω + (3g/2l · sin θ + 3/(m l²) · u) Δt), θ ← θ + ω Δt, for a reward of −(θ² + 0.1 ω² + 0.001 u²) at the
    state before. Observations are rounded to float32, as the environment's are. Snapshots are those of copied lanes.

    Example:
        >>> import gymnasium
        >>> env = gymnasium.make("Pendulum-v1").unwrapped
        >>> lanes = PendulumLanes(env)
        >>> obs = lanes.reset([0, 1, 2])
        >>> obs, reward, terminated = lanes.step(np.zeros((3, 1)), np.array([True, True, False]))
        >>> bool(reward[1] == (env.reset(seed=1), env.step(np.zeros(1)))[1][1]), float(reward[2])
        (True, 0.0)
    """

    promise = "meant to equal env.step, and not held against it yet"
    can_draw = False

    def another(self) -> PendulumLanes:
        """Lanes around an environment of their own."""
        lanes = PendulumLanes(copy.deepcopy(self.env))
        lanes.promise = self.promise
        return lanes

    def step(self, act: Actions, running: Bools) -> tuple[Floats, Floats, Bools]:
        """One step of the lanes that are ``running``."""
        obs, reward = np.zeros((self.size, 3)), np.zeros(self.size)
        at = np.flatnonzero(running)
        lanes = [self._lanes[lane][0] for lane in at.tolist()]
        if lanes:
            env = self.env
            angle, speed = np.array([lane["state"] for lane in lanes]).T.copy()
            torque = np.clip(np.asarray(act, dtype=np.float64)[at, 0], -env.max_torque, env.max_torque)
            upright = (angle + np.pi) % (2 * np.pi) - np.pi
            reward[at] = -(_square(upright) + 0.1 * _square(speed) + 0.001 * _square(torque))
            pull = 3 * env.g / (2 * env.l) * np.sin(angle) + 3.0 / (env.m * env.l**2) * torque
            speed = np.clip(speed + pull * env.dt, -env.max_speed, env.max_speed)
            angle = angle + speed * env.dt
            obs[at] = np.stack([np.cos(angle), np.sin(angle), speed], -1).astype(np.float32)
            for lane, state, last in zip(lanes, np.stack([angle, speed], -1), torque, strict=True):
                lane["state"], lane["last_u"] = state, last
        return obs, reward, np.zeros(self.size, dtype=bool)


def _square(values: Floats) -> Floats:
    # As a single number's ** is computed, by the C library's pow: an array's own ** multiplies, and its np.power is
    # vectorised on some processors, which both now and then round otherwise.
    return np.array([value**2 for value in values.tolist()])
