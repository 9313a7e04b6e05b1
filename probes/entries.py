"""What a monitor tells a store, as plain data: it can wait, travel between processes and lie in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from gradlab.measurement import Measurement
from gradlab.store.records import MeasurementStatus, RunStatus, Where


def new_token() -> str:
    """A name that no other entry has; drawn from the operating system, not from any random state of the run.

    Example:
        >>> len(new_token())
        32
    """
    return os.urandom(16).hex()


@dataclass(frozen=True, eq=False)
class Record:
    """One measurement, or why there is none.

    Attributes:
        token: its name; the store takes one record under a name.
        run: number of the run in its store.
        time: when it was measured, seconds since 1970.
        step: training step it belongs to.
        probe: name of the probe.
        where: measured ``inline`` or in the ``background``.
        status: ``ok``, ``skipped`` or ``failed``.
        measurement: what was measured; None unless ``ok``.
        message: why there is none, one line.
        traceback: where it failed, in full.
        cost: seconds it took.
    """

    token: str
    run: int
    time: float
    step: int
    probe: str
    where: Where
    status: MeasurementStatus
    measurement: Measurement | None = None
    message: str = ""
    traceback: str = ""
    cost: float = 0.0

    def refused(self, message: str, traceback: str = "") -> Record:
        """The record that stands in for this one, whose numbers no store can take.

        Example:
            >>> Record("a", 1, 0.0, 500, "field", "inline", "ok", Measurement()).refused("no number").status
            'failed'
        """
        return replace(
            self, status="failed", measurement=None, message=f"cannot be stored: {message}", traceback=traceback
        )


@dataclass(frozen=True, eq=False)
class Beat:
    """Training goes on; the next one makes it superfluous."""

    step: int


@dataclass(frozen=True, eq=False)
class End:
    """The run has ended.

    Attributes:
        token: its name.
        run: number of the run in its store.
        time: when, seconds since 1970.
        status: how.
        message: why, in one line.
    """

    token: str
    run: int
    time: float
    status: RunStatus
    message: str


Entry = Record | Beat | End
