"""The training process's side of the background worker: hand over one job at a time, never wait."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import IO

from probes.frames import pack
from probes.frozen import Frozen, freeze
from probes.line import Line
from probes.worker import Hello, Job, Outcome

log = logging.getLogger("gradlab")

#: A worker that dies so often without finishing a job in between is not started again.
MAX_RESTARTS = 3
#: Seconds a worker is given to start: libraries on a busy network disk take their time.
_START = 300.0
#: Seconds a worker without a job is given to end.
_END = 5.0
#: Bytes at the end of what a worker has printed that are kept as the traceback of its death.
_TRACE = 16_000


@dataclass(frozen=True)
class _Sent:
    """A job on its way."""

    job: Frozen
    token: str
    probe: str
    limit: float


class Background:
    """A worker process and the thread that talks to it.

    Args:
        hello: what the worker must know.

    Attributes:
        gone: why there is no worker any more and will be none; empty while there is.
        restarts: how often the worker has been started again after it died.
    """

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._jobs: queue.SimpleQueue[_Sent] = queue.SimpleQueue()
        self._outcomes: deque[Outcome] = deque()
        self._idle = threading.Event()
        self._busy = False
        self._since = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._closing = False
        self._deaths = 0
        self.gone = ""
        self.restarts = 0
        self._bell, self._ear = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="gradlab-background", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether a job handed over now would be started at once."""
        return self._idle.is_set() and not self.gone

    def submit(self, job: Job) -> None:
        """Hand over one job; call only when idle. Its tensors are copied here, so later changes do not reach it."""
        sent = _Sent(freeze(job), job.token, job.probe.name, job.probe.time_limit)
        self._busy = True
        self._idle.clear()
        self._since = time.perf_counter()
        self._jobs.put(sent)
        self._ring()

    def outcomes(self) -> list[Outcome]:
        """What has come back since the last call."""
        found = []
        while self._outcomes:
            found.append(self._outcomes.popleft())
        return found

    def close(self, wait: float) -> None:
        """Let the job in flight finish for at most ``wait`` seconds, then end the worker."""
        self._closing = True
        self._ring()
        # One that is idle needs a moment to end, one that is still starting is not waited for.
        wait = wait if self._busy else min(wait, _END) if self._idle.is_set() else 0.0
        try:
            self._thread.join(max(wait, 0.0))
        finally:
            self._kill()
            self._thread.join(_END)

    def forget(self) -> None:
        """In a forked child: let go of the parent's worker without a word to it."""
        self._closing = True
        self.gone = "the background process belongs to the process that this one was forked from"
        process = self._process
        for end in (self._bell, self._ear, self._log, *((process.stdin, process.stdout) if process else ())):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.close()

    def _ring(self) -> None:
        # It may have been closed by the thread, which then needs no attention.
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    def _kill(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            # Its own children, too: it is the leader of a session.
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()

    # The thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing and not self.gone:
                with tempfile.TemporaryFile("ab+", buffering=0) as self._log:
                    self._employ()
        except Exception as error:  # noqa: BLE001 - such as no memory for a process; without it training goes on
            self.gone = f"the background process cannot be started: {type(error).__name__}: {error}"
        finally:
            self._idle.clear()
            self._kill()
            self._bell.close()
            self._ear.close()
        if self.gone:
            log.warning("gradlab: %s", self.gone)

    def _employ(self) -> None:
        """Start a worker and hand it jobs until it is gone or the end has come."""
        process = self._process = self._launch()
        job: _Sent | None = None
        reason = ""
        try:
            line = Line(process, self._ear)
            deadline = time.monotonic() + _START
            line.send(pack(self._hello), deadline)
            line.receive(deadline)
            self._idle.set()
            while (job := self._next(line)) is not None:
                deadline = time.monotonic() + job.limit
                line.send(pack(job.job.carried()), deadline)
                outcome = line.receive(deadline)
                job = None
                self._deaths = 0
                self._outcomes.append(replace(outcome, seconds=time.perf_counter() - self._since))
                self._busy = False
                self._idle.set()
        except TimeoutError:
            reason = f"took longer than {job.limit:g} s" if job else f"did not start within {_START:g} s"
            reason += "; the background process has been ended"
            self._ask_where(process)
        except Exception:  # noqa: BLE001 - the end of the pipe, or a reply that is none
            if process.poll() is None and not self._closing:
                # The end of its output comes a moment before the end of the process.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_END)
        finally:
            self._idle.clear()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
            if not reason and job is None and process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_END)
            self._kill()
        if self._closing:
            return
        self._mourn(reason or f"the background process ended ({_how(process.returncode)})", job)

    def _next(self, line: Line) -> _Sent | None:
        """The next job, None when there will be none."""
        while self._jobs.empty():
            if self._closing:
                return None
            line.rest()
        return self._jobs.get()

    def _mourn(self, reason: str, job: _Sent | None) -> None:
        assert self._process is not None
        trace = self._said()
        if (self._process.returncode or 0) > 0 and trace:
            reason += f": {trace.splitlines()[-1]}"
        if job is not None:
            seconds = time.perf_counter() - self._since
            self._outcomes.append(
                Outcome(job.token, job.probe, "failed", reason, trace, written=False, seconds=seconds)
            )
            self._busy = False
        self._deaths += 1
        if self._deaths > MAX_RESTARTS:
            self.gone = f"{reason}; not started again after {MAX_RESTARTS} restarts"
            return
        self.restarts += 1
        log.warning("gradlab: %s; it is started again", reason)

    def _ask_where(self, process: subprocess.Popen[bytes]) -> None:
        """Have a worker that hangs write down where."""
        with contextlib.suppress(OSError):
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.2)

    def _said(self) -> str:
        """The end of what the worker has printed."""
        try:
            assert self._log is not None
            self._log.seek(max(self._log.seek(0, os.SEEK_END) - _TRACE, 0))
            return self._log.read().decode(errors="replace").strip()
        except (OSError, ValueError):
            return ""

    def _launch(self) -> subprocess.Popen[bytes]:
        assert self._log is not None
        # One thread each: the training run needs the cores more.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        return subprocess.Popen(
            # The classes that travel must be those of the importable module, so it is not run as __main__.
            [sys.executable, "-c", "from probes.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.fileno(),
            # What a buffer holds, a forked child would write again.
            bufsize=0,
            env=environment,
            # Ctrl-C in the terminal is for the training process; the worker ends with it.
            start_new_session=True,
        )


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
