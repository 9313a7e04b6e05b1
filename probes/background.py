"""The training process's side of the background worker: hand over one job at a time, never wait."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from typing import IO

from probes.frames import pack, receive
from probes.worker import Hello, Job, Outcome

#: A worker that dies more often than this is not started again.
MAX_RESTARTS = 3


class Background:
    """A worker process and the thread that talks to it.

    Args:
        hello: what the worker must know.

    Attributes:
        restarts: how often the worker has been started again after it died.
    """

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._jobs: queue.SimpleQueue[tuple[bytes, str, int] | None] = queue.SimpleQueue()
        self._outcomes: deque[Outcome] = deque()
        self._idle = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = False
        self.gone = ""
        self.restarts = 0
        self._thread = threading.Thread(target=self._talk, name="gradlab-background", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether a job handed over now would be started at once."""
        return self._idle.is_set() and not self.gone

    def submit(self, job: Job) -> None:
        """Hand over one job; call only when idle. The job is serialised here, so later changes do not reach it."""
        frame = pack(job)
        self._idle.clear()
        self._jobs.put((frame, job.probe.name, job.step))

    def outcomes(self) -> list[Outcome]:
        """What has come back since the last call."""
        found = []
        while self._outcomes:
            found.append(self._outcomes.popleft())
        return found

    def close(self, wait: float) -> None:
        """Let the job in flight finish for at most ``wait`` seconds, then end the worker."""
        self._closing = True
        self._jobs.put(None)
        self._thread.join(max(wait, 0.0))
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(2.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._thread.join(1.0)

    # The thread ---------------------------------------------------------------------------------------------

    def _talk(self) -> None:
        while not self._closing:
            with tempfile.TemporaryFile() as log:
                process = self._launch(log.fileno())
                self._process = process
                job: tuple[bytes, str, int] | None = None
                try:
                    assert process.stdin is not None
                    assert process.stdout is not None
                    process.stdin.write(pack(self._hello))
                    process.stdin.flush()
                    receive(process.stdout)
                    self._idle.set()
                    while (job := self._jobs.get()) is not None:
                        process.stdin.write(job[0])
                        process.stdin.flush()
                        self._outcomes.append(receive(process.stdout))
                        self._idle.set()
                except (EOFError, OSError):
                    self._idle.clear()
                    if self._closing:
                        return
                    reason = f"the background process ended (exit code {process.wait()}){_last_line(log)}"
                    if job is not None:
                        self._outcomes.append(Outcome(job[1], job[2], "failed", reason, recorded=False))
                    if self.restarts >= MAX_RESTARTS:
                        self.gone = f"{reason}; not started again after {MAX_RESTARTS} restarts"
                        return
                    self.restarts += 1
                    continue
                finally:
                    for stream in (process.stdin, process.stdout):
                        with contextlib.suppress(OSError):
                            if stream is not None:
                                stream.close()
                process.wait()
                return

    def _launch(self, log: int) -> subprocess.Popen[bytes]:
        # One thread each: the training run needs the cores more.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        return subprocess.Popen(
            # The classes that travel must be those of the importable module, so it is not run as __main__.
            [sys.executable, "-c", "from probes.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            # Ctrl-C in the terminal is for the training process; the worker ends when its input closes.
            start_new_session=True,
        )


def _last_line(log: IO[bytes]) -> str:
    with contextlib.suppress(OSError, ValueError):
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines()
        if lines:
            return f": {lines[-1]}"
    return ""
