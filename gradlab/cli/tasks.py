"""Which environments a command can use, checked before anything slow or lasting is done."""

from __future__ import annotations

import difflib
import warnings
from typing import Any

from gradlab.errors import GradlabError


def require_box_task(environment: str) -> Any:
    """The gymnasium environment of that name, made; it must have flat observations and a bounded box of actions.

    Raises:
        GradlabError: there is no such environment, it cannot be made, or its spaces do not fit.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise GradlabError("gymnasium is not installed; pip install 'gradlab[mujoco]'") from error
    try:
        with warnings.catch_warnings():
            # What gymnasium says of an old version is in the refusal too, or of no concern.
            warnings.simplefilter("ignore", DeprecationWarning)
            env = gymnasium.make(environment)
    except gymnasium.error.UnregisteredEnv as error:
        close = difflib.get_close_matches(environment, list(gymnasium.registry), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see gymnasium.registry for the names"
        raise GradlabError(f"environment {environment!r}: not known to gymnasium; {hint}") from error
    except (gymnasium.error.Error, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise GradlabError(f"environment {environment!r}: cannot be made here: {reason}") from error
    actions, observations = env.action_space, env.observation_space
    if not isinstance(actions, gymnasium.spaces.Box):
        kind = type(actions).__name__.lower()
        raise GradlabError(
            f"environment {environment!r}: its actions are {kind}, but TD3, DDPG and SAC and their "
            "estimators need a box of continuous actions; try Reacher-v5"
        )
    if not isinstance(observations, gymnasium.spaces.Box) or len(observations.shape) != 1:
        raise GradlabError(
            f"environment {environment!r}: its observations are {observations}; gradlab takes flat boxes, "
            "so wrap it in gymnasium.wrappers.FlattenObservation"
        )
    return env
