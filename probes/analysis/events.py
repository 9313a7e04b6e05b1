"""What an analysis tells whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gradlab.store.records import MeasurementStatus
from probes.analysis.plan import Plan


@dataclass(frozen=True)
class Doing:
    """What goes on at the moment, for a line that is overwritten."""

    text: str


@dataclass(frozen=True)
class Said:
    """Something a person should know, one line, said once."""

    text: str


@dataclass(frozen=True)
class Planned:
    """What will be done.

    Attributes:
        plan: all of it.
        workers: how many tasks at a time; less than 1 where the cluster knows.
    """

    plan: Plan
    workers: int


@dataclass(frozen=True)
class Done:
    """A task is done, and in the store unless it is missing.

    Attributes:
        path: the file, as a person is told of it.
        environment: gymnasium identifier of the task.
        step: training step.
        probe: name of the probe.
        status: what came of it; None where it is missing.
        seconds: what it took, with reading the file and visiting states.
        message: why there is no measurement.
    """

    path: str
    environment: str
    step: int
    probe: str
    status: MeasurementStatus | None
    seconds: float
    message: str = ""


Event = Doing | Said | Planned | Done
Listener = Callable[[Event], object]
