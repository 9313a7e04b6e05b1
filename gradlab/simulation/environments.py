"""An environment of our own, made from a name, without wrappers that would change the task."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from gradlab.errors import GradlabError
from gradlab.simulation.actions import is_discrete

#: Wrappers that neither change observations, actions nor rewards; the time limit is applied by the simulator.
_HARMLESS = frozenset({"TimeLimit", "OrderEnforcing", "PassiveEnvChecker", "RecordEpisodeStatistics", "Monitor"})


def make(environment: str | Callable[[], Any]) -> tuple[str, Any, int | None]:
    """The bare environment, its name, and its time limit in steps (None: it has none).

    Args:
        environment: a gymnasium identifier, or a function without arguments that makes an environment.

    Raises:
        GradlabError: gymnasium or what the environment needs is not installed, there is no such environment, a
            wrapper changes the task, or observations or actions are not vectors.
    """
    if not isinstance(environment, str) and not callable(environment):
        raise GradlabError(
            f"environment: {type(environment).__name__} given; give its identifier or a function that makes one, "
            "so that the simulator has an environment of its own"
        )
    wrapped = _from_name(environment) if isinstance(environment, str) else environment()
    name = environment if isinstance(environment, str) else _name_of(wrapped)
    layer, limit = wrapped, None
    while layer is not layer.unwrapped:
        wrapper = type(layer).__name__
        if wrapper not in _HARMLESS:
            raise GradlabError(
                f"environment {name}: wrapper {wrapper} changes what the agent sees or earns and cannot be restored "
                "exactly; pass the environment without it"
            )
        if wrapper == "TimeLimit":
            limit = int(layer._max_episode_steps)
        layer = layer.env
    _check_spaces(name, layer)
    return name, layer, limit


def _from_name(name: str) -> Any:
    try:
        import gymnasium
    except ModuleNotFoundError as error:
        raise GradlabError("gymnasium is not installed; run: pip install 'gradlab[mujoco]'") from error
    try:
        return gymnasium.make(name)
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        near = difflib.get_close_matches(name, gymnasium.registry, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else "see gymnasium.registry for those there are"
        raise GradlabError(f"environment {name}: gymnasium knows no such environment; {hint}") from error
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        reason = str(error).splitlines()[0]
        extra = "pip install 'gradlab[mujoco]'" if "mujoco" in reason.lower() else "install what it names"
        raise GradlabError(f"environment {name}: {reason.rstrip('.')} ({extra})") from error
    except gymnasium.error.Error as error:
        raise GradlabError(f"environment {name}: {str(error).splitlines()[0]}") from error


def _name_of(wrapped: Any) -> str:
    spec = getattr(wrapped, "spec", None)
    return str(spec.id) if spec is not None else type(wrapped.unwrapped).__name__


def _check_spaces(name: str, env: Any) -> None:
    for kind, space in (("observations", env.observation_space), ("actions", env.action_space)):
        shape = getattr(space, "shape", None)
        if kind == "actions" and is_discrete(space):
            continue
        if not hasattr(space, "low") or shape is None or len(shape) != 1:
            raise GradlabError(f"environment {name}: {kind} are {space}; the simulator needs a vector (a 1-d Box)")
