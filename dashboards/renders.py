"""Pictures of states, rendered by a process of its own that comes when one is asked for and goes when none is."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Pictures that are kept, some 30 kB each.
_KEPT = 64
#: Seconds that one picture may take, the process's start included, and that the process waits for the next.
_PATIENCE = 60.0
_IDLE = 60.0
_SIZE = {"width": 480, "height": 360}
_COMMAND = (sys.executable, "-m", "gradlab.simulation.rendering")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture, or why there is none.

    Attributes:
        png: in base64; empty without one.
        why: why there is none.
    """

    png: str = ""
    why: str = ""


class Renders:
    """Renders states without making anybody wait.

    Args:
        command: starts the process; ``gradlab.simulation.rendering`` when None.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = list(_COMMAND if command is None else command)
        self._lock = threading.Lock()
        self._done: OrderedDict[str, Rendered] = OrderedDict()
        self._asked: queue.Queue[tuple[str, str, list[float]]] = queue.Queue()
        self._waiting: set[str] = set()
        self._thread: threading.Thread | None = None
        self._cannot = ""

    def of(self, environment: str, obs: NDArray[Any]) -> Rendered | None:
        """The picture of a state; None while it is being made: ask again.

        Args:
            environment: gymnasium identifier of the task.
            obs: the observation [n] of the state.
        """
        numbers = np.asarray(obs, dtype=np.float64).tolist()
        key = blake2b(json.dumps([environment, numbers]).encode(), digest_size=12).hexdigest()
        with self._lock:
            if key in self._done:
                self._done.move_to_end(key)
                return self._done[key]
            if self._cannot:
                return Rendered(why=self._cannot)
            if key not in self._waiting:
                self._waiting.add(key)
                self._asked.put((key, environment, numbers))
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="gradlab-render", daemon=True)
                    self._thread.start()
        return None

    def _work(self) -> None:
        process: subprocess.Popen[bytes] | None = None
        while True:
            try:
                key, environment, numbers = self._asked.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._asked.empty():
                        self._thread = None
                        break
                continue
            if process is None:
                process = self._started()
            found = Rendered(why=self._cannot)
            if process is not None:
                found = _exchange(process, {"environment": environment, "obs": numbers, **_SIZE})
                if process.poll() is not None:
                    process = None
            with self._lock:
                self._waiting.discard(key)
                self._done[key] = found
                while len(self._done) > _KEPT:
                    self._done.popitem(last=False)
        if process is not None:
            _end(process)

    def _started(self) -> subprocess.Popen[bytes] | None:
        """The process, by the first library that can render; None, and why from then on, where none can."""
        given = os.environ.get("MUJOCO_GL")
        libraries = [given] if given or not sys.platform.startswith("linux") else ["egl", "osmesa"]
        reasons = []
        for library in libraries:
            try:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, **({"MUJOCO_GL": library} if library else {})},
                )
            except OSError as error:
                reasons.append(str(error.strerror))
                continue
            why = _exchange(process, None).why
            if not why:
                return process
            _end(process)
            reasons.append(f"{library}: {why}" if library else why)
        with self._lock:
            self._cannot = f"MuJoCo cannot render here ({'; '.join(reasons)})"
        return None


def _exchange(process: subprocess.Popen[bytes], question: dict[str, Any] | None) -> Rendered:
    """One answer of the process, which is ended where it takes too long."""
    clock = threading.Timer(_PATIENCE, process.kill)
    clock.start()
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        if question is not None:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
        said = json.loads(process.stdout.readline())
        return Rendered(str(said.get("png", "")), str(said.get("why", "")))
    except (OSError, ValueError):
        _end(process)
        return Rendered(why="the process that renders ended without a word")
    finally:
        clock.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()
