"""Lanes for environments whose state cannot be copied: seeds and actions repeated in worker processes."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import cloudpickle
import numpy as np

import gradlab
from gradlab.errors import GradlabError
from gradlab.simulation.lanes.base import Actions, Bools, Floats, Lanes, drew
from gradlab.simulation.workers import cores

#: The very package that is imported here, before any other that is installed or lies in the working folder.
_PROGRAM = (
    f"import sys; sys.path.insert(0, {str(Path(gradlab.__file__).parents[1])!r}); import gradlab; del sys.path[0]; "
    "from gradlab.simulation.lanes.replay_worker import main; main()"
)
#: Seconds a worker is given to end by itself when its input has been closed.
_PATIENCE = 1.0


@dataclass(frozen=True)
class ReplaySnapshot:
    """How a state is reached again.

    Attributes:
        seed: of the reset the episode began with.
        actions: in environment units, as they were taken since: [t, p], or [t] where they are discrete.
    """

    seed: int
    actions: Actions


class ReplayLanes(Lanes):
    """Any environment at all: each lane is an environment in a worker process, led to its state by its history.

    Loading a state t steps into an episode costs t steps a lane; a step costs a message to each process. It is exact
    if, and only if, the environment is deterministic given the seed of its reset and its actions.

    The processes are started when states are first loaded, end with these lanes or the program, however it ends, and
    are done away with when anything fails or is interrupted; new ones are then started for the next states.

    Args:
        name: name of the environment, for messages.
        env: an instance of it, of which only the spaces are looked at.
        source: its identifier, or a function that makes one; sent to the processes.

    Attributes:
        fresh: whether to make a new environment for every state to be led to, for those whose reset does not clear
            everything.
        processes: how many at most; one for each core.

    Raises:
        GradlabError: the function cannot be sent to another process, or there the environment fails.
    """

    can_draw = True

    def __init__(
        self,
        name: str,
        env: Any,
        source: str | Callable[[], Any],
    ) -> None:
        super().__init__(env)
        self.promise = (
            "repeated from its seed and actions in processes of its own, which is slow, and exact only where seed and "
            "actions decide everything: seen over a few steps when the simulator was opened, promised no further"
        )
        self.fresh = False
        self.processes = cores()
        self._name = name
        try:
            self._hello = (list(sys.path), cloudpickle.dumps(_portable(source)))
        except (TypeError, ValueError, AttributeError, pickle.PicklingError) as error:
            raise GradlabError(
                f"environment {name}: the function that makes it cannot be sent to a worker process "
                f"({_first_line(error)}); let it make everything it needs itself"
            ) from error
        self._crew: list[_Worker] = []
        self._shares: list[slice] = []
        self._seeds: list[int] = []
        self._taken: list[list[Any]] = []
        self._unstable: Bools = np.zeros(0, dtype=bool)

    def load(self, snapshots: Sequence[Any]) -> None:
        """Start from the snapshots' seeds, and repeat their actions."""
        self._begin([kept.seed for kept in snapshots], [list(kept.actions) for kept in snapshots])
        shares = ([(kept.seed, kept.actions) for kept in snapshots[share]] for share in self._shares)
        self._ask("load", ((share, self.fresh) for share in shares))

    def reset(self, seeds: Sequence[int]) -> Floats:
        """Start from seeded resets."""
        self._begin([int(seed) for seed in seeds], [[] for _ in seeds])
        return np.concatenate(self._ask("reset", ((self._seeds[share], self.fresh) for share in self._shares)))

    def capture(self, lane: int) -> ReplaySnapshot:
        """The lane's history."""
        space, taken = self.env.action_space, self._taken[lane]
        empty: Any = np.zeros((0, *space.shape), dtype=np.int64 if space.shape == () else np.float64)
        return ReplaySnapshot(self._seeds[lane], np.stack(taken) if taken else empty)

    def step(self, act: Actions, running: Bools) -> tuple[Floats, Floats, Bools]:
        """One step of the lanes that are ``running`` [N], in all processes at once."""
        obs = np.zeros((self.size, *self.env.observation_space.shape))
        reward, terminated = np.zeros(self.size), np.zeros(self.size, dtype=bool)
        at = np.flatnonzero(running)
        if not len(at):
            return obs, reward, terminated
        mine = [at[(at >= share.start) & (at < share.stop)] for share in self._shares]
        orders = [
            ((lanes - share.start).tolist(), act[lanes]) if len(lanes) else None
            for lanes, share in zip(mine, self._shares, strict=True)
        ]
        for lane in at.tolist():
            self._taken[lane].append(np.array(act[lane]))
        parts = self._ask("step", orders)
        for lanes, part in zip((lanes for lanes in mine if len(lanes)), parts, strict=True):
            obs[lanes], reward[lanes], terminated[lanes], diverged, drawn = part
            self._unstable[lanes] |= diverged
            self.draws |= drawn
            if drawn and self.declared is False:
                raise drew(self._name)
        return obs, reward, terminated

    def unstable(self) -> Bools:
        """Lanes of a MuJoCo task whose physics diverged; other environments cannot tell."""
        return self._unstable.copy()

    def close(self) -> None:
        """End the processes; the next states start others."""
        crew, self._crew = self._crew, []
        for worker in crew:
            worker.end()

    def _begin(self, seeds: list[int], taken: list[list[Any]]) -> None:
        self.size, self._seeds, self._taken = len(seeds), seeds, taken
        self._unstable = np.zeros(self.size, dtype=bool)
        number = max(1, min(self.processes, self.size))
        # Lanes of one state lie together; so do those of one process.
        edges = [self.size * i // number for i in range(number + 1)]
        self._shares = [slice(begin, end) for begin, end in pairwise(edges)]

    def _ask(self, method: str, arguments: Iterable[tuple[Any, ...] | None]) -> list[Any]:
        """The answers of the processes that there are arguments for, all of them at work at once."""
        try:
            while len(self._crew) < len(self._shares):
                self._crew.append(_Worker(self._name, self._hello, self))
            busy = []
            for worker, given in zip(self._crew, arguments, strict=False):
                if given is not None:
                    worker.tell((method, given))
                    busy.append(worker)
            return [worker.answer() for worker in busy]
        except BaseException:
            # Answers may be on their way that nobody waits for: no word of these processes can be trusted any more.
            self.close()
            raise


class _Worker:
    """One process, and the pipes to it."""

    def __init__(self, name: str, hello: Any, owner: object) -> None:
        self._name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # One thread each: there is a process for every core.
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            # Ctrl-C in the terminal is for the caller; the process ends when its input closes.
            start_new_session=True,
        )
        self.end = weakref.finalize(owner, _end, self._process, self._log)
        self.tell(hello)

    def tell(self, message: Any) -> None:
        """Send a message."""
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
        except OSError as error:
            raise self._gone() from error

    def answer(self) -> Any:
        """Wait for the answer to the message sent last."""
        assert self._process.stdout is not None
        try:
            # From a process of our own, over its own pipe.
            good, result = pickle.load(self._process.stdout)  # noqa: S301
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._gone() from error
        if not good:
            raise GradlabError(f"environment {self._name}: failed in a worker process ({result})")
        return result

    def _gone(self) -> GradlabError:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        return GradlabError(f"environment {self._name}: its worker process ended (exit code {code}){last}")


def _end(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """Close the pipes and see the process out; one that is busy or hangs is killed."""
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()


def _portable(source: str | Callable[[], Any]) -> Any:
    """What makes the environment in another process, where the caller's registrations are not known."""
    if not isinstance(source, str):
        return source
    import gymnasium

    spec = gymnasium.spec(source)

    def make() -> Any:
        import gymnasium

        return gymnasium.make(spec)

    return make


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
