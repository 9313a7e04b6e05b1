"""An environment of our own, made from a name or by a function."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradlab.errors import GradlabError, first_line
from gradlab.simulation.actions import is_discrete
from gradlab.simulation.wrappers import Stack, peel


@dataclass(frozen=True)
class Environment:
    """An environment of our own, and how another of its kind is made.

    Attributes:
        name: its name.
        source: the identifier or the function it was made from.
        stack: itself, and what its wrappers do.
    """

    name: str
    source: str | Callable[[], Any]
    stack: Stack

    @property
    def env(self) -> Any:
        """The environment as the agent sees it, without wrappers that change nothing."""
        return self.stack.env

    def another(self) -> Any:
        """Another environment of the same kind, newly made, as the agent sees it."""
        return make(self.source).env

    @property
    def time_limit(self) -> int | None:
        """Steps after which an episode is cut, or None."""
        return self.stack.time_limit


def make(environment: str | Callable[[], Any]) -> Environment:
    """An environment of our own, its wrappers sorted.

    Args:
        environment: a gymnasium identifier, or a function without arguments that makes an environment.

    Raises:
        GradlabError: gymnasium or what the environment needs is not installed, there is no such environment, a
            wrapper goes on changing the task, or observations are not vectors or actions neither vectors nor numbers.

    Example:
        >>> made = make("Reacher-v5")
        >>> made.name, made.time_limit, made.stack.names
        ('Reacher-v5', 50, ())
    """
    if not isinstance(environment, str) and not callable(environment):
        raise GradlabError(
            f"environment: {type(environment).__name__} given; give its identifier or a function that makes one, "
            "so that the simulator has an environment of its own"
        )
    wrapped = _from_name(environment) if isinstance(environment, str) else _from_function(environment)
    name = environment if isinstance(environment, str) else _name_of(wrapped)
    stack = peel(name, wrapped)
    _check_spaces(name, stack.env)
    return Environment(name, environment, stack)


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


def _from_function(environment: Callable[[], Any]) -> Any:
    what = f"environment function {getattr(environment, '__name__', type(environment).__name__)}"
    try:
        made = environment()
    except GradlabError:
        raise
    except Exception as error:
        raise GradlabError(
            f"{what}: failed ({first_line(error)}); give a function that makes the environment without arguments"
        ) from error
    missing = [
        name for name in ("unwrapped", "reset", "step", "observation_space", "action_space") if not hasattr(made, name)
    ]
    if missing:
        raise GradlabError(
            f"{what}: returned {type(made).__name__}, which has no {missing[0]}; return a gymnasium environment"
        )
    return made


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
