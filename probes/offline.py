"""The same measurements on an agent that is not training: a loaded checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from gradlab.agent import Agent
from gradlab.measurement import Measurement
from gradlab.store.records import MeasurementStatus
from probes.attempt import attempt
from probes.probe import Probe, generator_for


@dataclass(frozen=True)
class Result:
    """What one probe gave: a measurement, or why there is none.

    Attributes:
        probe: its name.
        status: ``ok``, ``failed`` (it raised) or ``skipped`` (it cannot measure this agent, or its gate is closed).
        seconds: what it took.
        measurement: None unless ``ok``.
        message: why there is none, one line.
    """

    probe: str
    status: MeasurementStatus
    seconds: float = 0.0
    measurement: Measurement | None = None
    message: str = ""


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
            results.append(Result(probe.name, "skipped", message=refusal))
            continue
        before(probe)
        at = obs[: probe.states] if probe.needs_observations else None
        tried = attempt(probe, agent.snapshot(), at, generator_for(seed, probe.name, step))
        results.append(Result(probe.name, tried.status, tried.seconds, tried.measurement, tried.message))
    return results
