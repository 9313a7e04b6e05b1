"""On-policy runs that are looked at at the beginning of an update, while the policy is still the one that acted."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from probes.monitor import Monitor
from probes.source import Source


@dataclass(frozen=True)
class RolloutSource(Source):
    """A run that is to be looked at before the first optimizer step of an update, while the acting policy is there.

    Attributes:
        updates: the optimizer.
    """

    updates: torch.optim.Optimizer | None = None


class UpdateMonitor(Monitor):
    """A monitor that a trainer's on-policy run is looked at by once an update, at its beginning."""

    def begin(self) -> None:
        """Start a run; see ``Monitor``."""
        super().begin()
        self._seen = -1
        updates = getattr(self._source, "updates", None)
        if updates is not None and self._hook is None:
            self._hook = updates.register_step_pre_hook(self._before_step)

    def _before_step(self, *_: object) -> None:
        clock = self._source.clock
        if not self.closed and clock is not None:
            self._guard(lambda: self._look(clock()))

    def _look(self, step: int) -> None:
        # Between two steps of one update nothing is collected.
        if step == self._seen:
            self.alive(step)
        else:
            self._seen = step
            self.step(step)
