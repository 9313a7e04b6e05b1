"""A replay buffer that Stable-Baselines3 has saved, read with neither the library nor any code from the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.adapters import pickles
from gradlab.adapters.stable_baselines3_experience import replay_transitions
from gradlab.adapters.stable_baselines3_observations import replay_observations
from gradlab.errors import GradlabError
from gradlab.experience import Transitions

#: What a buffer's pickle must have to be read: names of arrays, and of plain numbers.
_ARRAYS = ("observations", "actions", "rewards", "dones")
_NUMBERS = ("buffer_size", "pos", "full")


class SavedReplay:
    """What ``model.save_replay_buffer()`` wrote, read as a live model's is: the same steps by the same generator.

    Args:
        path: the pickle; objects in it are represented, never made.

    Attributes:
        obs_size: length n of an observation.
        steps: steps it holds.

    Raises:
        GradlabError: there is no such file, or it holds no replay buffer of flat observations.

    Example:
        >>> import pickle, tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = file.write(pickle.dumps(print)), file.flush()
        ...     SavedReplay(file.name)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: replay buffer ...: holds no replay buffer of flat observations; give one that ...
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        where = f"replay buffer {path}"
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise GradlabError(f"{where}: cannot be read ({error.strerror})") from error
        if not pickles.is_pickle(data[:2]):
            raise GradlabError(f"{where}: is no pickle; give one that model.save_replay_buffer() wrote")
        state = getattr(pickles.represented(data, where), "state", None)
        # Of a class with slots, a pair.
        state = state[0] if isinstance(state, tuple) and state else state
        if not isinstance(state, dict) or not _fits(state):
            raise GradlabError(
                f"{where}: holds no replay buffer of flat observations; give one that model.save_replay_buffer() wrote"
            )
        self.replay_buffer: Any = _Buffer(state)
        self.obs_size = int(state["observations"].shape[-1])
        self.steps = int(state["buffer_size"] if state["full"] else state["pos"]) * state["observations"].shape[1]

    def get_vec_normalize_env(self) -> None:
        """None: statistics are in a file of their own, so that what the buffer holds is given as it is."""
        return

    def observations(self, count: int, generator: np.random.Generator) -> Any:
        """``count`` distinct observations [count, n], or None while it holds fewer."""
        return replay_observations(self, count, generator)

    def transitions(self, count: int, generator: np.random.Generator) -> Transitions | None:
        """``count`` distinct steps, or None while it holds fewer."""
        return replay_transitions(self, count, generator)


class _Buffer:
    def __init__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def _cut_off(state: dict[str, Any]) -> tuple[str, ...]:
    return ("timeouts",) if state.get("handle_timeout_termination") else ()


def _fits(state: dict[str, Any]) -> bool:
    if not all(isinstance(state.get(name), np.ndarray) for name in (*_ARRAYS, *_cut_off(state))):
        return False
    if not all(isinstance(state.get(name), bool | int | np.generic) for name in _NUMBERS):
        return False
    stored = state["observations"]
    shared = bool(state.get("optimize_memory_usage", False))
    following = stored if shared else state.get("next_observations")
    rows = stored.shape[:2]
    return bool(
        stored.ndim == 3
        and isinstance(following, np.ndarray)
        and following.shape == stored.shape
        and 0 <= int(state["pos"]) <= len(stored)
        and int(state["buffer_size"]) == len(stored)
        and all(state[name].shape[:2] == rows for name in (*_ARRAYS, *_cut_off(state)))
    )
