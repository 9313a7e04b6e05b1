"""gymnasium's MuJoCo tasks, vectorised: observation, reward and termination of many states at once."""

from __future__ import annotations

from typing import Any

from gradlab.simulation.tasks.balancing import InvertedDoublePendulum, InvertedPendulum
from gradlab.simulation.tasks.base import Task
from gradlab.simulation.tasks.planar import Hopper, Runner, Swimmer, Walker
from gradlab.simulation.tasks.reaching import Pusher, Reacher
from gradlab.simulation.tasks.walking import Ant, Humanoid, Standup

__all__ = ["Task", "task_of"]

#: The environment's class, by its module's and its own name: gymnasium need not be installed.
_TASKS: dict[tuple[str, str], type[Task]] = {
    ("half_cheetah_v5", "HalfCheetahEnv"): Runner,
    ("swimmer_v5", "SwimmerEnv"): Swimmer,
    ("hopper_v5", "HopperEnv"): Hopper,
    ("walker2d_v5", "Walker2dEnv"): Walker,
    ("reacher_v5", "ReacherEnv"): Reacher,
    ("pusher_v5", "PusherEnv"): Pusher,
    ("inverted_pendulum_v5", "InvertedPendulumEnv"): InvertedPendulum,
    ("inverted_double_pendulum_v5", "InvertedDoublePendulumEnv"): InvertedDoublePendulum,
    ("ant_v5", "AntEnv"): Ant,
    ("humanoid_v5", "HumanoidEnv"): Humanoid,
    ("humanoidstandup_v5", "HumanoidStandupEnv"): Standup,
}


def task_of(env: Any) -> Task | None:
    """The vectorised task of a bare environment; None for one that is not gymnasium's own.

    A subclass is not the task it derives from: it may override anything. The model may be the user's own, with bodies
    named as the environment needs them.

    Example:
        >>> import gymnasium
        >>> task_of(gymnasium.make("Ant-v5").unwrapped).derived
        ('xpos', 'cfrc_ext')
        >>> task_of(gymnasium.make("Pendulum-v1").unwrapped) is None
        True
    """
    kind = type(env)
    package, _, module = kind.__module__.rpartition(".")
    task = _TASKS.get((module, kind.__qualname__)) if package == "gymnasium.envs.mujoco" else None
    # An attribute on the instance can replace a method of the class.
    replaced = {"step", "_get_obs", "_get_rew", "do_simulation", "_step_mujoco_simulation"} & vars(env).keys()
    return None if task is None or replaced else task(env)
