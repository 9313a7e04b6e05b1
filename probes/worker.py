"""The background process: measures snapshots and writes the results into the store itself.

Started by its name rather than by multiprocessing, so that a user's script without a
``__main__`` guard is never run a second time. It ends when its standard input closes, so it cannot outlive the
training run, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from probes.frames import pack, receive

if TYPE_CHECKING:
    from gradlab.agent import Agent
    from gradlab.estimate import Estimate
    from gradlab.store import RunWriter
    from gradlab.store.records import MeasurementStatus
    from probes.outbox import Outbox
    from probes.probe import Probe

#: Scheduling courtesy towards the training process.
_NICE = 10
#: Seconds the store is given, when the inbox has closed, to take what waits.
_FLUSH = 15.0


@dataclass(frozen=True)
class Hello:
    """What a worker must know before its first job."""

    path: list[str]
    store: str
    run: int
    seed: int


@dataclass(frozen=True)
class Job:
    """One measurement to make."""

    probe: Probe
    agent: Agent
    obs: object
    step: int


@dataclass(frozen=True)
class Outcome:
    """How a job went and what was measured; ``recorded`` when the worker has written it into the store itself."""

    probe: str
    step: int
    status: MeasurementStatus = "ok"
    message: str = ""
    recorded: bool = True
    scalars: Mapping[str, Estimate] = field(default_factory=dict)


def perform(job: Job, run: RunWriter, outbox: Outbox, seed: int) -> Outcome:
    """Measure, record, and report; a failure is recorded as one, never raised."""
    from probes.attempt import attempt
    from probes.probe import generator_for

    name = job.probe.name
    tried = attempt(job.probe, job.agent, job.obs, generator_for(seed, name, job.step))
    outbox.put(
        lambda: run.record(
            job.step,
            name,
            tried.measurement,
            cost=tried.seconds,
            where="background",
            status=tried.status,
            message=tried.message,
        )
    )
    scalars = {} if tried.measurement is None else tried.measurement.scalars
    return Outcome(name, job.step, tried.status, tried.message, scalars=scalars)


def serve(inbox: IO[bytes], replies: IO[bytes]) -> None:
    """Answer jobs until the inbox closes; what a store that is away does not take, waits."""
    hello: Hello = receive(inbox)
    sys.path.extend(entry for entry in hello.path if entry not in sys.path)
    import torch

    from gradlab.store import open_store
    from probes.outbox import Outbox

    torch.set_num_threads(1)
    # It is the training process that makes a store; one that has been deleted is not for us to make again.
    open_store(hello.store, readonly=True).close()
    with open_store(hello.store) as store:
        run = store.attach_run(hello.run)
        outbox = Outbox()
        try:
            replies.write(pack("ready"))
            replies.flush()
            while True:
                outcome = perform(receive(inbox), run, outbox, hello.seed)
                replies.write(pack(outcome))
                replies.flush()
        finally:
            outbox.close(_FLUSH)


def main() -> None:
    """Entry point: keep the real standard output for frames and send prints of libraries to standard error."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(sys.stdin.buffer, replies)
