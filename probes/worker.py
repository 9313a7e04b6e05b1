"""The background process: measures snapshots and writes the results into the store itself.

Started by its name rather than by multiprocessing, so that a user's script without a
``__main__`` guard is never run a second time, and so that a daemonic process can have one. It ends when its standard
input closes or its parent is gone, in the middle of a measurement if need be, so it cannot outlive the training run.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from probes.frames import pack, receive

if TYPE_CHECKING:
    from gradlab.agent import Agent
    from gradlab.estimate import Estimate
    from gradlab.store.records import MeasurementStatus
    from probes.courier import Courier
    from probes.probe import Probe

#: Scheduling courtesy towards the training process.
_NICE = 10
#: Linux's prctl: the signal to be sent when the thread that started this process ends.
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Hello:
    """What a worker must know before its first job."""

    path: list[str]
    store: str
    identity: str
    run: int
    seed: int
    spool: Path


@dataclass(frozen=True)
class Job:
    """One measurement to make, of the agent as it is when the job is frozen."""

    token: str
    probe: Probe
    agent: Agent
    obs: object
    step: int


@dataclass(frozen=True)
class Outcome:
    """How a job went.

    Attributes:
        token: the job's.
        probe: name of its probe.
        status: what came of it.
        message: why it is not ``ok``.
        traceback: where it failed, in full.
        written: whether the worker has written a record, or tried to; otherwise that is left to the other side.
        stored: whether the store has that record.
        spooled: whether it lies in the spool.
        scalars: what was measured.
        seconds: for how long the process was busy with it.
    """

    token: str
    probe: str
    status: MeasurementStatus = "ok"
    message: str = ""
    traceback: str = ""
    written: bool = True
    stored: bool = False
    spooled: bool = False
    scalars: Mapping[str, Estimate] = field(default_factory=dict)
    seconds: float = 0.0


def perform(job: Job, courier: Courier, run: int, seed: int) -> Outcome:
    """Measure, record, and report; a failure is recorded as one, never raised."""
    from probes.attempt import attempt
    from probes.entries import Record
    from probes.probe import generator_for

    name = job.probe.name
    tried = attempt(job.probe, job.agent, job.obs, generator_for(seed, name, job.step))
    record = Record(
        job.token,
        run,
        time.time(),
        job.step,
        name,
        "background",
        tried.status,
        tried.measurement,
        tried.message,
        tried.traceback,
        tried.seconds,
    )
    delivered = courier.deliver(record)
    return Outcome(
        job.token,
        name,
        delivered.status,
        delivered.message,
        stored=delivered.stored,
        spooled=delivered.spooled,
        scalars={} if tried.measurement is None else tried.measurement.scalars,
    )


def serve(inbox: IO[bytes], replies: IO[bytes]) -> None:
    """Answer jobs until the inbox closes; what a store that is away does not take, goes into the spool."""
    hello: Hello = receive(inbox)
    sys.path.extend(entry for entry in hello.path if entry not in sys.path)
    import torch

    from probes.courier import Courier
    from probes.frozen import thaw
    from probes.sink import Sink
    from probes.spool import Spool

    torch.set_num_threads(1)
    sink = Sink(hello.store, hello.identity, hello.run)
    courier = Courier(sink, Spool(hello.identity, root=hello.spool))
    try:
        replies.write(pack("ready"))
        replies.flush()
        while True:
            outcome = perform(thaw(receive(inbox)), courier, hello.run, hello.seed)
            replies.write(pack(outcome))
            replies.flush()
    finally:
        sink.close()


def main() -> None:
    """Entry point: keep the real standard output for frames and send prints of libraries to standard error."""
    _die_with(os.getppid())
    # What a crash or a hang was in the middle of is then in the log that the other side reads.
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(sys.stdin.buffer, replies)


def _die_with(parent: int) -> None:
    """End when the training process does, however that ends and whatever is being done here."""
    if sys.platform == "linux":
        # Its input may be held open by children that the training process has forked.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="gradlab-parent", daemon=True).start()
