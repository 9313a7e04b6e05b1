"""One measurement, tried: what came of it, whatever that was."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.measurement import Measurement
from gradlab.rollout import Rollout
from gradlab.store.records import MeasurementStatus
from probes.probe import GateClosedError, Probe, RolloutProbe


@dataclass(frozen=True)
class Attempt:
    """What came of a measurement.

    Attributes:
        status: ``ok``; ``skipped`` when a gate was closed, which is an answer; ``failed`` when the probe raised.
        seconds: what it took.
        measurement: what was measured; None unless ``ok``.
        message: why there is no measurement, one line.
    """

    status: MeasurementStatus
    seconds: float
    measurement: Measurement | None = None
    message: str = ""


def attempt(probe: Probe, agent: Agent, obs: Any, generator: torch.Generator) -> Attempt:
    """Measure once; nothing is raised.

    Args:
        probe: what to measure.
        agent: a snapshot; networks in half precision are measured in float32, which the measurement notes.
        obs: observations [states, n] as the run has them, or the ``Rollout`` of a ``RolloutProbe``; None for a probe
            that finds its own states.
        generator: the probe's only source of randomness.

    Example:
        >>> class Shy(Probe):
        ...     name = "shy"
        ...     def measure(self, agent, obs, generator):
        ...         raise GateClosedError("no state passed the gate")
        >>> tried = attempt(Shy(every=1, states=1), None, None, torch.Generator())
        >>> tried.status, tried.message
        ('skipped', 'no state passed the gate')
    """
    started = time.perf_counter()
    status: MeasurementStatus
    try:
        coarse = agent.coarse if isinstance(agent, Agent) else None
        if coarse is not None:
            agent = agent.single()
        if isinstance(probe, RolloutProbe) and isinstance(obs, Rollout):
            measurement = probe.measure_rollout(agent, obs, generator)
        else:
            at = torch.empty(0) if obs is None else _own(agent.observations(obs))
            measurement = probe.measure(agent, at, generator)
    except GateClosedError as error:
        status, message = "skipped", _first_line(error)
    except GradlabError as error:
        status, message = "failed", _first_line(error)
    except Exception as error:  # noqa: BLE001 - isolation: whatever a probe raises is recorded, not passed on
        status, message = "failed", f"{type(error).__name__}: {_first_line(error)}"
    else:
        if coarse is not None:
            note = f"networks are in {coarse}; measured with the same weights in float32"
            measurement = replace(measurement, notes=(*measurement.notes, note))
        return Attempt("ok", time.perf_counter() - started, measurement)
    return Attempt(status, time.perf_counter() - started, message=message)


def _own(obs: torch.Tensor) -> torch.Tensor:
    """A copy: the probe may change it, and a tensor made in inference mode could not be part of a graph."""
    return obs.clone()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no message")
