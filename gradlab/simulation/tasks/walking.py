"""Creatures that move in space: Ant, Humanoid and HumanoidStandup. Their positions before a step lag a substep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.simulation.tasks.base import Bools, Fields, Floats, Task, between, joined, squares


class Ant(Task):
    """Ant-v5: the torso's velocity, a reward for being healthy, control and contact costs."""

    lagging = True

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._forward, self._control = env._forward_reward_weight, env._ctrl_cost_weight
        self._contact, self._range = env._contact_cost_weight, env._contact_force_range
        self._healthy_reward, self._height = env._healthy_reward, env._healthy_z_range
        self._ends = bool(env._terminate_when_unhealthy)
        self._skip = 2 if env._exclude_current_positions_from_observation else 0
        self._sees_forces = bool(env._include_cfrc_ext_in_observation)
        self._body = env.model.body(env._main_body).id
        # Forces that are neither seen nor paid for need not be computed.
        self.contact_forces = self._sees_forces or self._contact != 0
        self.derived = ("xpos", "cfrc_ext") if self.contact_forces else ("xpos",)

    def position(self, fields: Fields) -> Floats:
        """The torso's place in the plane."""
        return fields["xpos"][:, self._body, :2].copy()

    def healthy(self, fields: Fields) -> Bools:
        """Whether its state is finite and its height within range."""
        qpos, qvel = fields["qpos"], fields["qvel"]
        low, high = self._height
        height = qpos[:, 2]
        return np.asarray(np.isfinite(qpos).all(-1) & np.isfinite(qvel).all(-1) & (low <= height) & (height <= high))

    def regime(self, fields: Fields) -> NDArray[np.int64] | None:
        """Healthy or not, where that is paid for and does not end the episode."""
        return None if self._ends or not self._healthy_reward else self.healthy(fields).astype(np.int64)

    def outcome(self, fields: Fields, before: Floats, after: Floats, act: Floats) -> tuple[Floats, Floats, Bools]:
        """It ends when it is not healthy, if asked to."""
        qpos, qvel, healthy = fields["qpos"], fields["qvel"], self.healthy(fields)
        gain = (after[:, 0] - before[:, 0]) / self.dt * self._forward + healthy * self._healthy_reward
        cost = self._control * squares(act)
        seen = [qpos[:, self._skip :], qvel]
        if self.contact_forces:
            forces = np.clip(fields["cfrc_ext"], *self._range)
            cost = cost + self._contact * squares(forces)
            if self._sees_forces:
                seen.append(forces[:, 1:])
        return joined(*seen), gain - cost, ~healthy & self._ends


class Standup(Task):
    """HumanoidStandup-v5: its height over the time step, less control and impact costs; it never ends."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._skip = 2 if env._exclude_current_positions_from_observation else 0
        self._parts = _seen(env)
        self._control = env._ctrl_cost_weight
        self._read(env)
        self.contact_forces = self._contact != 0 or "cfrc_ext" in self._parts
        self.derived = tuple(dict.fromkeys((*self._parts, *self._needs, *(["cfrc_ext"] * self.contact_forces))))

    #: Derived fields the reward needs, contact forces apart.
    _needs: tuple[str, ...] = ()

    def _read(self, env: Any) -> None:
        self._timestep = env.model.opt.timestep
        self._height = env._uph_cost_weight
        self._contact, self._range = env._impact_cost_weight, env._impact_cost_range

    def _observed(self, fields: Fields) -> Floats:
        seen = [fields["qpos"][:, self._skip :], fields["qvel"]]
        # The world's own row, and the free joint's six forces, are left out.
        seen += [fields[name][:, 6 if name == "qfrc_actuator" else 1 :] for name in self._parts]
        return joined(*seen)

    def _contact_cost(self, fields: Fields) -> Floats:
        cost = self._contact * squares(fields["cfrc_ext"]) if self.contact_forces else np.zeros(1)
        return np.asarray(np.clip(cost, *self._range))

    def outcome(self, fields: Fields, before: Floats, after: Floats, act: Floats) -> tuple[Floats, Floats, Bools]:
        """The environment does not use its weight of the height, and so neither does this."""
        height = (fields["qpos"][:, 2] - 0) / self._timestep
        reward = height - self._control * squares(fields["ctrl"]) - self._contact_cost(fields) + 1
        return self._observed(fields), reward, np.zeros(len(act), dtype=bool)


class Humanoid(Standup):
    """Humanoid-v5: the mass centre's velocity, a reward for being healthy, control and contact costs."""

    lagging = True
    _needs = ("xipos",)

    def _read(self, env: Any) -> None:
        self._forward, self._contact = env._forward_reward_weight, env._contact_cost_weight
        self._range = env._contact_cost_range
        self._healthy_reward, self._height = env._healthy_reward, env._healthy_z_range
        self._ends = bool(env._terminate_when_unhealthy)
        self._mass = np.array(env.model.body_mass)
        self._total = env.model.body_mass.sum()

    def position(self, fields: Fields) -> Floats:
        """The mass centre's place in the plane, its bodies added in the environment's order."""
        places = fields["xipos"]
        total = self._mass[0] * places[:, 0, :2]
        for body in range(1, len(self._mass)):
            total = total + self._mass[body] * places[:, body, :2]
        return np.asarray(total / self._total)

    def healthy(self, fields: Fields) -> Bools:
        """Whether its height is within range."""
        return between(fields["qpos"][:, 2], self._height)

    def regime(self, fields: Fields) -> NDArray[np.int64] | None:
        """Healthy or not, where that is paid for and does not end the episode."""
        return None if self._ends or not self._healthy_reward else self.healthy(fields).astype(np.int64)

    def outcome(self, fields: Fields, before: Floats, after: Floats, act: Floats) -> tuple[Floats, Floats, Bools]:
        """It ends when its height is out of range, if asked to."""
        healthy = self.healthy(fields)
        gain = self._forward * ((after[:, 0] - before[:, 0]) / self.dt) + healthy * self._healthy_reward
        cost = self._control * squares(fields["ctrl"]) + self._contact_cost(fields)
        return self._observed(fields), gain - cost, ~healthy & self._ends


def _seen(env: Any) -> tuple[str, ...]:
    """The derived fields in its observation, in their order; the environment asks for True itself."""
    options = {
        "cinert": env._include_cinert_in_observation,
        "cvel": env._include_cvel_in_observation,
        "qfrc_actuator": env._include_qfrc_actuator_in_observation,
        "cfrc_ext": env._include_cfrc_ext_in_observation,
    }
    return tuple(name for name, included in options.items() if included is True)
