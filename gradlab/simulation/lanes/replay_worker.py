"""A process with environments of its own, led to a state by repeating a seed and the actions taken since.

Started by its name rather than by multiprocessing, so that a user's script without a ``__main__`` guard is never run a
second time. It ends when its standard input closes, so it cannot outlive the process that started it, however that
ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import warnings
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from gradlab.simulation.environments import make
from gradlab.simulation.lanes.base import Actions, Floats
from gradlab.simulation.lanes.divergence import count_warnings
from gradlab.simulation.lanes.generators import Watch


class Replayer:
    """Environments one beside the other, each in a state of its own.

    Args:
        source: what ``gradlab.simulation.environments.make`` takes.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._envs: list[Any] = []
        self._warned: list[int] = []
        self._watches: list[Watch] = []

    def reset(self, seeds: Sequence[int], fresh: bool) -> Floats:
        """Environment i from its reset with ``seeds[i]``; observations [N, n].

        Args:
            seeds: of the resets.
            fresh: make new environments for them, rather than resetting those that were used before.
        """
        if fresh:
            self._envs.clear()
        while len(self._envs) < len(seeds):
            self._envs.append(make(self._source).env)
        pairs = zip(self._envs, seeds, strict=False)
        obs = [np.asarray(env.reset(seed=seed)[0], dtype=np.float64) for env, seed in pairs]
        self._begun()
        return np.stack(obs)

    def load(self, histories: Sequence[tuple[int, Actions]], fresh: bool) -> None:
        """Environment i from its reset with the i-th seed, through the actions that go with it."""
        self.reset([seed for seed, _ in histories], fresh)
        for i, (_, actions) in enumerate(histories):
            env = self._envs[i]
            for act in actions:
                env.step(act)
        self._begun()

    def step(self, at: Sequence[int], act: Actions) -> tuple[Floats, Floats, Any, Any, bool]:
        """One step of some: observations, rewards, terminations, divergence, and whether one drew random numbers."""
        outcomes = [self._envs[i].step(a)[:3] for i, a in zip(at, act, strict=True)]
        obs, reward, terminated = zip(*outcomes, strict=True)
        # Every watch is asked, as each remembers what it saw last.
        drawn = sum(self._watches[i].drew(self._envs[i]) for i in at) > 0
        return (
            np.stack([np.asarray(one, dtype=np.float64) for one in obs]),
            np.array(reward, dtype=np.float64),
            np.array(terminated, dtype=bool),
            np.array([_warnings(self._envs[i]) != self._warned[i] for i in at], dtype=bool),
            drawn,
        )

    def _begun(self) -> None:
        self._warned = [_warnings(env) for env in self._envs]
        self._watches = [Watch(env) for env in self._envs]


def _warnings(env: Any) -> int:
    return count_warnings(getattr(env.unwrapped, "data", None))


def serve(inbox: IO[bytes], replies: IO[bytes]) -> None:
    """Answer messages (method, arguments) until the inbox closes, each with (True, result) or (False, what failed)."""
    path, source = pickle.load(inbox)  # noqa: S301 - from the process that started this one, over its own pipe
    # Modules that the source refers to are found where, and in the order in which, they are found there.
    sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
    replayer: Replayer | None = None
    while True:
        method, arguments = pickle.load(inbox)  # noqa: S301 - likewise
        try:
            # Only now can what the source refers to be imported.
            replayer = replayer or Replayer(pickle.loads(source))  # noqa: S301 - likewise
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer: tuple[bool, Any] = True, getattr(replayer, method)(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever a foreign environment raises is told to the caller
            answer = False, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        pickle.dump(answer, replies, protocol=pickle.HIGHEST_PROTOCOL)
        replies.flush()


def main() -> None:
    """Entry point: keep the real standard output for answers and send what environments print to standard error."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(sys.stdin.buffer, replies)
