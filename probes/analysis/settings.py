"""What an analysis is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradlab.adapters.checkpoint import Checkpoint
from gradlab.adapters.facts import Facts
from probes.checkpoints import content
from probes.function import Function, FunctionProbe
from probes.offline import offline_probes
from probes.probe import Probe

#: Where states come from, beside a file of them.
ROLLOUT, BUFFER = "rollout", "buffer"


@dataclass(frozen=True)
class Settings:
    """The arguments of ``probes.analyze`` that decide its numbers, checked.

    Attributes:
        environments: gymnasium identifiers; a checkpoint is measured in the one that it fits. Those that files and
            their surroundings say, where there are none.
        probes: names, or probes and functions; everything where None.
        states: ``rollout``, ``buffer``, or a file of observations.
        state_count: observations each probe measures at, in place of its own number.
        seed: of states and measurements.
        trust: whether code in a file may run.
        facts: what files do not say.
    """

    environments: tuple[str, ...] = ()
    probes: Sequence[str | Probe | Function] | None = None
    states: str | Path = ROLLOUT
    state_count: int | None = None
    seed: int = 0
    trust: bool = False
    facts: Facts = field(default_factory=Facts)

    def choose(self, environment: str) -> list[Probe]:
        """New probes for a task.

        Raises:
            GradlabError: there is no probe of a name that was given.
        """
        if self.probes is None or all(isinstance(one, str) for one in self.probes):
            names: Any = self.probes
            return offline_probes(environment, names, self.state_count)
        chosen: list[Probe] = []
        for one in self.probes:
            if isinstance(one, str):
                chosen += offline_probes(environment, [one], self.state_count)
            else:
                chosen.append(one if isinstance(one, Probe) else FunctionProbe(one))
        return chosen

    def read(self, path: Path, digest: str, facts: Facts) -> Checkpoint:
        """The checkpoint of these very bytes; see ``content.read``."""
        return content.read(path, digest, trust=self.trust, facts=facts)
