"""What a monitor has done so far."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Status:
    """What a monitor has done so far.

    Attributes:
        step: the last training step it was told of.
        measured: measurements taken, by probe.
        skipped: measurements that fell due and were not taken, or whose gate was closed, by probe.
        failed: measurements that raised, by probe.
        cost: share of wall time spent in the training process.
        stopped: probes that were stopped, with the reason.
        left_out: probes that cannot measure this agent, with the reason.
        lost: records the store did not take.
    """

    step: int
    measured: dict[str, int]
    skipped: dict[str, int]
    failed: dict[str, int]
    cost: float
    stopped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    lost: int = 0
