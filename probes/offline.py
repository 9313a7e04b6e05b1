"""The same measurements on an agent that is not training: a loaded checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.measurement import Measurement
from gradlab.store.records import MeasurementStatus
from probes.probe import Probe, generator_for


@dataclass(frozen=True)
class Result:
    """What one probe gave: a measurement, or why there is none."""

    probe: str
    background: bool
    seconds: float
    measurement: Measurement | None = None
    message: str = ""

    @property
    def status(self) -> MeasurementStatus:
        """``ok``, ``failed`` (it raised) or ``skipped`` (it cannot measure this agent)."""
        if self.measurement is not None:
            return "ok"
        return "failed" if self.seconds else "skipped"


def measure_all(
    agent: Agent,
    probes: Sequence[Probe],
    obs: Tensor,
    *,
    step: int = 0,
    seed: int = 0,
    before: Callable[[Probe], object] = str,
) -> list[Result]:
    """Measure every probe once, each on its own snapshot and with the generator the live run would use.

    Args:
        agent: the agent.
        probes: what to measure.
        obs: observations [B, n]; a probe takes its first ``probe.states``.
        step: training step the agent is from.
        seed: seed of the measurements' own randomness.
        before: called with each probe before it starts, for a progress display.
    """
    results = []
    for probe in probes:
        refusal = probe.refusal(agent)
        if refusal:
            results.append(Result(probe.name, probe.background, 0.0, message=refusal))
            continue
        before(probe)
        started = time.perf_counter()
        at = obs[: probe.states] if probe.needs_observations else torch.empty(0)
        try:
            measurement, message = probe.measure(agent.snapshot(), at, generator_for(seed, probe.name, step)), ""
        except GradlabError as error:
            measurement, message = None, str(error)
        seconds = time.perf_counter() - started
        results.append(Result(probe.name, probe.background, seconds, measurement, message))
    return results
