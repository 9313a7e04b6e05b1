"""The same measurements on an agent that is not training: a loaded checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import whole_number
from gradlab.errors import GradlabError
from gradlab.measurement import Measurement
from gradlab.simulation import Simulator
from gradlab.store import Entry
from gradlab.store.records import MeasurementStatus
from probes.attempt import attempt
from probes.defaults import default_probes
from probes.field import Field
from probes.probe import Probe, RolloutProbe, generator_for


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


def offline_probes(environment: str, names: Sequence[str] | None = None, states: int | None = None) -> list[Probe]:
    """The default probes that a checkpoint can be measured with: it keeps no rollout.

    Args:
        environment: gymnasium identifier of the task.
        names: only these, in this order; all when None.
        states: observations each measures at, in place of its own number; the field's pictures keep theirs.

    Raises:
        GradlabError: there is no probe of such a name, or the number is below 1.

    Example:
        >>> [probe.name for probe in offline_probes("Reacher-v5", ["landscape", "gradient"])]
        ['landscape', 'gradient']
        >>> offline_probes("Reacher-v5", ["gradiant"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: probes: 'gradiant' is none of field, gradient, curvature, ...
    """
    known = {probe.name: probe for probe in default_probes(environment) if not isinstance(probe, RolloutProbe)}
    wanted = list(known) if names is None else list(dict.fromkeys(names))
    if unknown := [name for name in wanted if name not in known]:
        raise GradlabError(f"probes: {unknown[0]!r} is none of {', '.join(known)}")
    if not wanted:
        raise GradlabError(f"probes: none given; choose from {', '.join(known)}")
    chosen = [known[name] for name in wanted]
    for probe in chosen:
        if states is not None and probe.name != Field.name:
            probe.states = whole_number("states", states, 1)
    return chosen


def visited_observations(agent: Agent, probes: Sequence[Probe], simulator: Simulator, seed: int) -> Tensor:
    """Observations [B, n] for these probes, of states from fresh episodes of the agent's own policy.

    Raises:
        GradlabError: the agent does not fit the environment, or its actions are not finite.
    """
    most = max(probe.offered for probe in probes)
    return agent.observations(simulator.visit(agent, most, seed=seed).obs)


def entries(results: Sequence[Result]) -> list[Entry]:
    """Results as the store takes them: of measurements that no training run waited for."""
    return [
        Entry(result.probe, result.measurement, result.seconds, "background", result.status, result.message)
        for result in results
    ]


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
        obs: observations [B, n]; a probe takes its first ``probe.offered``, or keeps to those it was first offered.
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
        at = probe.choose(obs[: probe.offered]) if probe.needs_observations else None
        tried = attempt(probe, agent.snapshot(), at, generator_for(seed, probe.name, step))
        results.append(Result(probe.name, tried.status, tried.seconds, tried.measurement, tried.message))
    return results
