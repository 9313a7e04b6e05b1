"""Arms: Reacher and Pusher. What they see of bodies lags a substep behind the joints, as in the environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.simulation.tasks.base import Bools, Fields, Floats, Task, joined, norms, squares


class Reacher(Task):
    """Reacher-v5: minus the fingertip's distance from the target, minus a control cost."""

    derived = ("xpos",)

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._distance, self._control = env._reward_dist_weight, env._reward_control_weight
        self._tip, self._target = (env.model.body(name).id for name in ("fingertip", "target"))

    def outcome(self, fields: Fields, before: Floats, after: Floats, act: Floats) -> tuple[Floats, Floats, Bools]:
        """It never ends."""
        xpos, qpos = fields["xpos"], fields["qpos"]
        apart = xpos[:, self._tip] - xpos[:, self._target]
        reward = -norms(apart) * self._distance + -squares(act) * self._control
        angles = qpos[:, :2].copy()
        obs = joined(np.cos(angles), np.sin(angles), qpos[:, 2:], fields["qvel"][:, :2], apart[:, :2])
        return obs, reward, np.zeros(len(act), dtype=bool)


class Pusher(Task):
    """Pusher-v5: minus the object's distances from the goal and from the arm's tip, minus a control cost."""

    derived = ("xpos",)

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._near, self._distance = env._reward_near_weight, env._reward_dist_weight
        self._control = env._reward_control_weight
        self._tip, self._object, self._goal = (env.model.body(name).id for name in ("tips_arm", "object", "goal"))

    def outcome(self, fields: Fields, before: Floats, after: Floats, act: Floats) -> tuple[Floats, Floats, Bools]:
        """It never ends."""
        xpos = fields["xpos"]
        tip, thing, goal = xpos[:, self._tip], xpos[:, self._object], xpos[:, self._goal]
        near = -norms(thing - tip) * self._near
        far = -norms(thing - goal) * self._distance
        reward = far + -squares(act) * self._control + near
        obs = joined(fields["qpos"][:, :7], fields["qvel"][:, :7], tip, thing, goal)
        return obs, reward, np.zeros(len(act), dtype=bool)
