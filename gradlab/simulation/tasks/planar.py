"""Creatures that move in a plane: HalfCheetah, Hopper, Walker2d and Swimmer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.simulation.tasks.base import Bools, Fields, Floats, Task, between, joined, squares


class Runner(Task):
    """Forward velocity less control cost: HalfCheetah-v5, and Swimmer-v5 with two hidden coordinates."""

    hidden = 1

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._forward, self._control = env._forward_reward_weight, env._ctrl_cost_weight
        self._skip = self.hidden if env._exclude_current_positions_from_observation else 0

    def position(self, fields: Fields) -> Floats:
        """The first coordinate, along which it runs."""
        return fields["qpos"][:, :1].copy()

    def outcome(self, fields: Fields, before: Floats, after: Floats, act: Floats) -> tuple[Floats, Floats, Bools]:
        """It never ends."""
        forward = self._forward * ((after[:, 0] - before[:, 0]) / self.dt)
        reward = forward - self._control * squares(act)
        return joined(fields["qpos"][:, self._skip :], fields["qvel"]), reward, np.zeros(len(act), dtype=bool)


class Swimmer(Runner):
    """Swimmer-v5: both coordinates of the head are hidden."""

    hidden = 2


class Walker(Runner):
    """Walker2d-v5: a reward for being healthy, observed velocities clipped to ±10."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._healthy_reward = env._healthy_reward
        self._ends = bool(env._terminate_when_unhealthy)
        self._height, self._angle = env._healthy_z_range, env._healthy_angle_range

    def healthy(self, fields: Fields) -> Bools:
        """Whether height and angle are within their ranges."""
        qpos = fields["qpos"]
        return between(qpos[:, 1], self._height) & between(qpos[:, 2], self._angle)

    def regime(self, fields: Fields) -> NDArray[np.int64] | None:
        """Healthy or not, where that is paid for and does not end the episode."""
        return None if self._ends or not self._healthy_reward else self.healthy(fields).astype(np.int64)

    def outcome(self, fields: Fields, before: Floats, after: Floats, act: Floats) -> tuple[Floats, Floats, Bools]:
        """It ends when it is not healthy, if asked to."""
        healthy = self.healthy(fields)
        forward = self._forward * ((after[:, 0] - before[:, 0]) / self.dt)
        reward = (forward + healthy * self._healthy_reward) - self._control * squares(act)
        obs = joined(fields["qpos"][:, self._skip :], np.clip(fields["qvel"], -10, 10))
        return obs, reward, ~healthy & self._ends


class Hopper(Walker):
    """Hopper-v5: every other coordinate and velocity must be within a range as well."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._state = env._healthy_state_range

    def healthy(self, fields: Fields) -> Bools:
        """Whether height, angle, and all coordinates from the angle on are within their ranges."""
        low, high = self._state
        state = joined(fields["qpos"][:, 2:], fields["qvel"])
        return np.asarray(((low < state) & (state < high)).all(-1) & super().healthy(fields))
