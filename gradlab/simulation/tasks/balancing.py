"""Poles on a cart: InvertedPendulum and InvertedDoublePendulum."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.simulation.tasks.base import Bools, Fields, Floats, Task, joined


class InvertedPendulum(Task):
    """InvertedPendulum-v5: one for every step that does not end; it ends beyond an angle of 0.2."""

    def outcome(self, fields: Fields, before: Floats, after: Floats, act: Floats) -> tuple[Floats, Floats, Bools]:
        """The reward is a step function of the state."""
        obs = joined(fields["qpos"], fields["qvel"])
        ended = ~np.isfinite(obs).all(-1) | (np.abs(obs[:, 1]) > 0.2)
        return obs, (~ended).astype(np.float64), ended


class InvertedDoublePendulum(Task):
    """InvertedDoublePendulum-v5: its tip's place, which lags a substep, and the constraint force are looked at."""

    derived = ("site_xpos", "qfrc_constraint")

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._healthy_reward = env._healthy_reward

    def outcome(self, fields: Fields, before: Floats, after: Floats, act: Floats) -> tuple[Floats, Floats, Bools]:
        """It ends when the tip is not above one."""
        qpos, qvel, tip = fields["qpos"], fields["qvel"], fields["site_xpos"][:, 0]
        x, y = tip[:, 0], tip[:, 2]
        ended = y <= 1
        distance = 0.01 * _square(x) + _square(y - 2)
        velocity = 1e-3 * _square(qvel[:, 1]) + 5e-3 * _square(qvel[:, 2])
        reward = self._healthy_reward * (~ended).astype(np.float64) - distance - velocity
        angles = qpos[:, 1:].copy()
        force = np.clip(fields["qfrc_constraint"], -10, 10)[:, :1]
        return joined(qpos[:, :1], np.sin(angles), np.cos(angles), np.clip(qvel, -10, 10), force), reward, ended


def _square(values: Floats) -> Floats:
    # As a single number's ** is computed, by pow; an array's own ** multiplies, which now and then rounds otherwise.
    return np.asarray(np.power(values, np.full_like(values, 2.0)))
