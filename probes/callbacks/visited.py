"""What a run has visited of late: its last steps, kept as they are taken."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.adapters.stable_baselines3_experience import entered_share, replay_transitions, transitions
from gradlab.experience import Experience, Transitions

#: Steps that are kept.
_KEPT = 1024
#: Steps of the replay that the visited ones are compared with.
_REFERENCE = 256
#: Of the latest steps it is asked whether they are in the replay.
_LATEST = 256


class Visited:
    """The last steps of a Stable-Baselines3 model that learns off policy, beside what its replay holds.

    A step costs a few microseconds: copies of rows that the library throws away. With a ``VecNormalize`` the run's own
    steps are not kept, as those that it was given were normalised by what the statistics were then.

    Args:
        model: the model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._steps: deque[tuple[NDArray[Any], ...]] = deque(maxlen=_KEPT)

    def stepped(self, seen: dict[str, Any]) -> None:
        """A step has been taken in each environment.

        Args:
            seen: local variables of the library's loop.
        """
        if self._model.get_vec_normalize_env() is not None:
            return
        dones, infos, following = seen["dones"], seen["infos"], np.array(seen["new_obs"])
        ended = np.array(dones, dtype=bool)
        for environment in np.flatnonzero(dones):
            following[environment] = infos[environment]["terminal_observation"]
            ended[environment] = not infos[environment].get("TimeLimit.truncated", False)
        row = (np.array(self._model._last_obs), np.array(seen["buffer_actions"]), np.array(seen["rewards"]))
        self._steps.append((*row, following, ended))

    def forget(self) -> None:
        """Training begins anew."""
        self._steps.clear()

    def __call__(self, count: int, generator: np.random.Generator) -> Experience | None:
        """``count`` or more steps of the replay, and at most ``count`` of the run's; None while there are too few."""
        size = max(count, _REFERENCE)
        replay = replay_transitions(self._model, size, generator)
        if replay is None:
            replay = replay_transitions(self._model, count, generator)
        if replay is None:
            return None
        # The newest step has not been stored yet when the library calls.
        steps = list(self._steps)[:-1]
        if not steps:
            return Experience(replay)
        latest = np.concatenate([step[0] for step in steps[-_LATEST:]])
        return Experience(replay, _evenly(steps, count), entered_share(self._model, latest))


def _evenly(steps: list[tuple[NDArray[Any], ...]], count: int) -> Transitions:
    """About ``count`` of the steps, evenly spaced and in their order."""
    rows = np.unique(np.linspace(0, len(steps) - 1, -(-count // len(steps[0][0]))).round().astype(int))
    chosen = [steps[row] for row in rows]
    return transitions(*(np.concatenate(column)[:count] for column in zip(*chosen, strict=True)))
