"""A watch's numbers and switches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradlab.adapters.checkpoint import Checkpoint
from gradlab.adapters.facts import Facts
from probes.checkpoints import content
from probes.offline import offline_probes
from probes.probe import Probe


@dataclass(frozen=True)
class Options:
    """The arguments of ``probes.watch.watch``, of the same names; ``facts`` are those of ``gradlab.load``."""

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
    facts: Facts

    def choose(self, environment: str) -> list[Probe]:
        """New probes for a task."""
        return offline_probes(environment, self.probes, self.states)

    def read(self, path: Path, digest: str) -> Checkpoint:
        """The checkpoint of these very bytes; see ``content.read``."""
        return content.read(path, digest, trust=self.trust, facts=self.facts)
