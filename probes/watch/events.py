"""What a watch tells whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from probes.offline import Result


@dataclass(frozen=True)
class Doing:
    """What goes on at the moment, for a line that is overwritten."""

    text: str


@dataclass(frozen=True)
class Said:
    """Something a person should know, one line, said once."""

    text: str


@dataclass(frozen=True)
class Measured:
    """A checkpoint was measured and is in the store.

    Attributes:
        path: the file, relative to the directory that is watched.
        algorithm: name of the algorithm.
        environment: gymnasium identifier of the task.
        step: training step of the record.
        results: one of each probe.
        seconds: what it took, from reading the file to the record.
        waiting: checkpoints that still wait.
    """

    path: str
    algorithm: str
    environment: str
    step: int
    results: Sequence[Result] = field(repr=False)
    seconds: float
    waiting: int


Event = Doing | Said | Measured
Listener = Callable[[Event], object]
