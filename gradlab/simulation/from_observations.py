"""Physics out of observations: where a task's observation holds its whole state, that state again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.simulation.states import States

if TYPE_CHECKING:
    from gradlab.simulation.lanes.base import Lanes
    from gradlab.simulation.simulator import Simulator

Floats = NDArray[np.float64]
#: Most that an observation may differ from the one of the state that was made of it, as training keeps float32.
_CLOSE = 1e-3


def positions_and_velocities(env: Any, obs: Any) -> tuple[Floats, Floats]:
    """Generalised positions [B, nq] and velocities [B, nv] of observations [B, n] of a task whose physics they hold.

    gymnasium's MuJoCo tasks say of their observations which positions and velocities are in them; those left out (how
    far a creature has come) are zero here. Reacher, Pusher, InvertedDoublePendulum and Pendulum keep angles as cosines
    and sines, or not in one piece.

    Args:
        env: the bare environment.
        obs: observations as it gives them: a normalised one is not told from another state's.

    Raises:
        GradlabError: the observations are of another length, or do not hold the state.

    Example:
        >>> import gymnasium
        >>> env = gymnasium.make("Reacher-v5").unwrapped
        >>> obs, _ = env.reset(seed=3)
        >>> positions, velocities = positions_and_velocities(env, obs[None])
        >>> bool(abs(positions[0] - env.data.qpos).max() < 1e-12), velocities.shape
        (True, (1, 4))
    """
    given = np.asarray(obs, dtype=np.float64)
    size = int(env.observation_space.shape[0])
    if given.ndim != 2 or given.shape[1] != size:
        raise GradlabError(f"obs: shape {given.shape}; this environment's are [B, {size}]")
    parts = getattr(env, "observation_structure", None)
    if (apart := _by_circle(env)) is not None:
        return apart(given)
    if type(env).__module__ == "gymnasium.envs.classic_control.pendulum":
        return np.arctan2(given[:, 1:2], given[:, 0:1]), given[:, 2:3]
    if not isinstance(parts, dict) or "qpos" not in parts or "qvel" not in parts:
        raise GradlabError(f"environment {type(env).__name__}: does not say where its observation holds the state")
    absent, seen = int(parts.get("skipped_qpos", 0)), int(parts["qpos"])
    if absent + seen != env.model.nq or int(parts["qvel"]) != env.model.nv:
        raise GradlabError(f"environment {type(env).__name__}: its observation does not hold all positions")
    position = np.concatenate([np.zeros((len(given), absent)), given[:, :seen]], 1)
    return position, given[:, seen : seen + env.model.nv]


def states_at(simulator: Simulator, obs: Tensor) -> States:
    """States of a simulator, to roll out from, at observations [B, n] that hold the whole physics.

    What an observation leaves out is as after a reset: the solver's warm start, contact forces, how far a creature has
    come. Returns are the states' own to the rounding of the observations, but for Ant's, whose contacts forget.

    Raises:
        GradlabError: the simulator's environment is wrapped, or its observations do not hold the state: they say other
            than the state made of them does, or a joint that only its cosine and sine are seen of is beyond its stop,
            from one side or the other.

    Example:
        >>> from gradlab.simulation import Simulator
        >>> simulator = Simulator("Pendulum-v1")
        >>> states = states_at(simulator, torch.tensor([[0.0, 1.0, 2.0]]))
        >>> len(states), states.environment
        (1, 'Pendulum-v1')
    """
    given = torch.as_tensor(obs).detach().cpu().double()
    if simulator.honoured:
        raise GradlabError(f"environment {simulator.name}: wrappers change what is seen; the state is not in that")
    env = simulator.spread(1, lambda lanes, _: lanes.env)[0]
    position, velocity = positions_and_velocities(env, given.numpy())
    if _by_circle(env) and _beyond_stops(env.model, position):
        raise GradlabError(f"environment {simulator.name}: a joint is beyond its stop, and nothing says on which side")

    def work(lanes: Lanes, _: slice) -> tuple[Floats, tuple[Any, ...]]:
        rows = iter(range(len(position)))
        again = _reset_to(lanes.env, position, velocity, rows)
        try:
            seen = lanes.reset([0] * len(position))
            return seen, tuple(lanes.capture(lane) for lane in range(len(position)))
        finally:
            again()

    (seen, snapshots) = simulator.spread(1, work)[0]
    held = position.shape[1] + velocity.shape[1]
    off = float(np.abs(seen - given.numpy())[:, :held].max())
    # NaN must fail too.
    if not off <= _CLOSE:
        raise GradlabError(f"environment {simulator.name}: its observation does not hold the state ({off:.2g} off)")
    count = len(snapshots)
    apart, begun = torch.arange(count), torch.zeros(count, dtype=torch.int64)
    return States(given, snapshots, apart, begun, simulator.name, simulator.origin)


def _reset_to(env: Any, position: Floats, velocity: Floats, rows: Any) -> Callable[[], None]:
    """Have each of the environment's resets begin at the next row; what is returned undoes that."""
    if hasattr(env, "set_state") and hasattr(env, "reset_model"):

        def reset_model() -> Any:
            row = next(rows)
            env.set_state(position[row], velocity[row])
            return env._get_obs()

        env.reset_model = reset_model
        return lambda: env.__dict__.pop("reset_model", None) and None
    kind = type(env)
    reset = env.reset

    def reset_to(**options: Any) -> Any:
        _, info = kind.reset(env, **options)
        row = next(rows)
        env.state = np.array([position[row, 0], velocity[row, 0]])
        return env._get_obs(), info

    if not hasattr(env, "state"):
        raise GradlabError(f"environment {kind.__name__}: there is no setting its state")
    env.reset = reset_to
    return lambda: env.__dict__.pop("reset", reset) and None


def _by_circle(env: Any) -> Callable[[Floats], tuple[Floats, Floats]] | None:
    """What takes an observation apart that has cosines and sines in place of angles; None where it has not."""
    return _TAKEN_APART.get(type(env).__module__.rpartition("_v")[0])


def _beyond_stops(model: Any, position: Floats) -> bool:
    """Whether a hinge is outside of its range, where 2π more or less is another state that is seen the same."""
    hinges = [joint for joint in range(model.njnt) if model.jnt_limited[joint] and model.jnt_type[joint] == 3]
    found = position[:, model.jnt_qposadr[hinges]]
    low, high = model.jnt_range[hinges].T
    return bool(((found < low) | (found > high)).any())


def _reacher(obs: Floats) -> tuple[Floats, Floats]:
    # The target does not move; its velocity is not observed.
    angle = np.arctan2(obs[:, 2:4], obs[:, 0:2])
    return np.concatenate([angle, obs[:, 4:6]], 1), np.concatenate([obs[:, 6:8], np.zeros((len(obs), 2))], 1)


def _double_pendulum(obs: Floats) -> tuple[Floats, Floats]:
    return np.concatenate([obs[:, 0:1], np.arctan2(obs[:, 1:3], obs[:, 3:5])], 1), obs[:, 5:8]


_TAKEN_APART: dict[str, Callable[[Floats], tuple[Floats, Floats]]] = {
    "gymnasium.envs.mujoco.reacher": _reacher,
    "gymnasium.envs.mujoco.inverted_double_pendulum": _double_pendulum,
}
