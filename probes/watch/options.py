"""A watch's numbers and switches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probes.offline import offline_probes
from probes.probe import Probe


@dataclass(frozen=True)
class Options:
    """The arguments of ``probes.watch.watch``, of the same names."""

    environment: str | None
    probes: Sequence[str] | None
    pattern: str
    once: bool
    poll: float
    idle_exit: float | None
    states: int | None
    seed: int
    trust: bool
    latest: bool

    def choose(self, environment: str) -> list[Probe]:
        """New probes for a task."""
        return offline_probes(environment, self.probes, self.states)
