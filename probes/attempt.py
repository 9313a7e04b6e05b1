"""One measurement, tried: what came of it, whatever that was."""

from __future__ import annotations

import math
import time
import traceback
from dataclasses import dataclass, replace
from typing import Any

import torch

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.experience import Experience
from gradlab.measurement import Measurement
from gradlab.rollout import Rollout
from gradlab.store.records import MeasurementStatus
from probes.probe import ExperienceProbe, GateClosedError, Probe, RolloutProbe

#: Characters of a traceback that are kept, and names of numbers that a note lists.
_TRACE, _NAMES = 16_000, 8


@dataclass(frozen=True)
class Attempt:
    """What came of a measurement.

    Attributes:
        status: ``ok``; ``skipped`` when a gate was closed, which is an answer; ``failed`` when the probe raised.
        seconds: what it took.
        measurement: what was measured; None unless ``ok``.
        message: why there is no measurement, one line.
        traceback: where it failed, in full; empty unless ``failed``.
    """

    status: MeasurementStatus
    seconds: float
    measurement: Measurement | None = None
    message: str = ""
    traceback: str = ""


def attempt(probe: Probe, agent: Agent, obs: Any, generator: torch.Generator) -> Attempt:
    """Measure once; nothing is raised, but for the user's own interruption.

    A scalar that is no finite number is an answer, too (a ratio to nothing, say); where none is one, the notes say so.

    Args:
        probe: what to measure.
        agent: a snapshot; networks in half precision are measured in float32, which the measurement notes.
        obs: observations [states, n] as the run has them, the ``Rollout`` of a ``RolloutProbe`` or the
            ``Experience`` of an ``ExperienceProbe``; None for a probe that finds its own states.
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
    trace = ""
    try:
        coarse = agent.coarse if isinstance(agent, Agent) else None
        if coarse is not None:
            agent = agent.single()
        if isinstance(probe, RolloutProbe) and isinstance(obs, Rollout):
            measurement = probe.measure_rollout(agent, obs, generator)
        elif isinstance(probe, ExperienceProbe) and isinstance(obs, Experience):
            measurement = probe.measure_experience(agent, obs.to(agent.dtype, agent.device), generator)
        else:
            at = torch.empty(0) if obs is None else _own(agent.observations(obs))
            measurement = probe.measure(agent, at, generator)
        if not isinstance(measurement, Measurement):
            raise GradlabError(f"probe {probe.name}: returned {type(measurement).__name__}; return a Measurement")
        if coarse is not None:
            note = f"networks are in {coarse}; measured with the same weights in float32"
            measurement = replace(measurement, notes=(*measurement.notes, note))
        return Attempt("ok", time.perf_counter() - started, _said(measurement))
    except GateClosedError as error:
        status, message = "skipped", _first_line(error)
    except KeyboardInterrupt:
        raise
    except GradlabError as error:
        status, message, trace = "failed", _first_line(error), _trace(error)
    except BaseException as error:  # noqa: BLE001 - isolation: whatever a probe raises, sys.exit() too, is recorded
        status, message, trace = "failed", f"{type(error).__name__}: {_first_line(error)}", _trace(error)
    return Attempt(status, time.perf_counter() - started, message=message, traceback=trace)


def _said(measurement: Measurement) -> Measurement:
    """The measurement, with a note where none of its scalars is a finite number."""
    odd = [
        f"{name} is {estimate.value}"
        for name, estimate in measurement.scalars.items()
        if isinstance(estimate, Estimate) and not math.isfinite(estimate.value)
    ]
    if len(odd) < max(len(measurement.scalars), 1):
        return measurement
    more = f" and {len(odd) - _NAMES} more" if len(odd) > _NAMES else ""
    return replace(measurement, notes=(*measurement.notes, f"no finite number: {', '.join(odd[:_NAMES])}{more}"))


def _own(obs: torch.Tensor) -> torch.Tensor:
    """A copy: the probe may change it, and a tensor made in inference mode could not be part of a graph."""
    return obs.clone()


def _first_line(error: BaseException) -> str:
    try:
        return next(iter(str(error).splitlines()), "no message")
    except Exception:  # noqa: BLE001 - an exception's own __str__ may be as faulty as the probe
        return "no message that can be printed"


def _trace(error: BaseException) -> str:
    """The traceback; of a very long one the beginning and the end."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - there may be no memory for it
        return ""
    half = _TRACE // 2
    return text if len(text) <= _TRACE else f"{text[:half]}\n  [...]\n{text[-half:]}"
