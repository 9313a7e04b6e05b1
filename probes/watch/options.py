"""A watch's numbers and switches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradlab.adapters.checkpoint import Checkpoint
from gradlab.adapters.facts import Facts
from probes.offline import offline_probes
from probes.probe import Probe
from probes.watch import content


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

    @property
    def said(self) -> dict[str, object]:
        """The facts that were given, as the store keeps them.

        Example:
            >>> facts = Facts(action_low=[-2.0], discount=0.99)
            >>> Options(None, None, "*.pt", False, 2.0, None, None, 0, False, False, facts).said
            {'action_low': [-2.0], 'discount': 0.99}
        """
        box = {"action_low": self.facts.action_low, "action_high": self.facts.action_high}
        numbers = {name: np.asarray(value, dtype=float).tolist() for name, value in box.items() if value is not None}
        activation = self.facts.activation
        rest = {
            "discount": self.facts.discount,
            "activation": activation.__name__ if isinstance(activation, type) else activation,
            "entropy": self.facts.entropy,
        }
        return {**numbers, **{name: value for name, value in rest.items() if value is not None}}
