"""The background process: measures snapshots and writes the results into the store itself.

Started as ``python -m probes.worker`` rather than by multiprocessing, so that a user's script without a
``__main__`` guard is never run a second time. It ends when its standard input closes, so it cannot outlive the
training run, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from probes.frames import pack, receive

if TYPE_CHECKING:
    from gradlab.agent import Agent
    from gradlab.store import RunWriter
    from probes.probe import Probe

#: Scheduling courtesy towards the training process.
_NICE = 10


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
    """How a job went; ``recorded`` when the worker has written it into the store itself."""

    probe: str
    step: int
    error: str = ""
    recorded: bool = True


def perform(job: Job, run: RunWriter, seed: int) -> Outcome:
    """Measure, record, and report; a failure is recorded as one, never raised."""
    import torch

    from probes.probe import generator_for

    started = time.perf_counter()
    name = job.probe.name
    try:
        obs = torch.empty(0) if job.obs is None else job.agent.observations(job.obs)
        measurement = job.probe.measure(job.agent, obs, generator_for(seed, name, job.step))
    except Exception as error:  # noqa: BLE001 - whatever a probe raises must be recorded, not end the worker
        seconds = time.perf_counter() - started
        message = f"{type(error).__name__}: {error}"
        run.record(job.step, name, cost=seconds, where="background", status="failed", message=message)
        return Outcome(name, job.step, message)
    seconds = time.perf_counter() - started
    run.record(job.step, name, measurement, cost=seconds, where="background")
    return Outcome(name, job.step)


def serve(inbox: IO[bytes], outbox: IO[bytes]) -> None:
    """Answer jobs until the inbox closes."""
    hello: Hello = receive(inbox)
    sys.path.extend(entry for entry in hello.path if entry not in sys.path)
    import torch

    from gradlab.store import open_store

    torch.set_num_threads(1)
    with open_store(hello.store) as store:
        run = store.attach_run(hello.run)
        outbox.write(pack("ready"))
        outbox.flush()
        while True:
            outcome = perform(receive(inbox), run, hello.seed)
            outbox.write(pack(outcome))
            outbox.flush()


def main() -> None:
    """Entry point: keep the real standard output for frames and send prints of libraries to standard error."""
    outbox = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(sys.stdin.buffer, outbox)


if __name__ == "__main__":
    # The classes that travel must be those of the importable module, not of __main__.
    from probes import worker

    worker.main()
