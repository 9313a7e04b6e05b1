"""Which of the probes that are wanted can measure a training run."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, get_args

from gradlab.agent import Agent
from gradlab.arguments import shown
from gradlab.errors import GradlabError
from probes.defaults import Preset
from probes.function import Function, FunctionProbe
from probes.probe import Probe, RolloutProbe
from probes.source import Source

log = logging.getLogger("gradlab")

_NO_OBSERVATIONS = (
    "the optimizer calls the monitor, which then has no observations; pass sampler=... with the optimizer"
)


def select(wanted: Iterable[Probe | Function], agent: Agent, source: Source) -> tuple[list[Probe], dict[str, str]]:
    """Those that can, and those that cannot with the reason.

    Raises:
        GradlabError: they are no list, one is no probe, or two have one name.
    """
    if isinstance(wanted, Probe) or not isinstance(wanted, Iterable):
        raise GradlabError(f"probes: {shown(wanted)}; give a list of probes, or one of {', '.join(get_args(Preset))}")
    probes = [_as_probe(one) for one in wanted]
    names = [probe.name for probe in probes]
    if len(set(names)) < len(names):
        raise GradlabError(f"probes: two have one name in {names}; give each its own")
    chosen, left_out = [], {}
    for probe in probes:
        reason = _refusal(probe, agent, source)
        if reason:
            left_out[probe.name] = reason
        else:
            if source.apart:
                probe.stay_apart()
            chosen.append(probe)
    if left_out and not chosen:
        reasons = "; ".join(f"{probe}: {reason}" for probe, reason in left_out.items())
        log.warning("gradlab: none of the probes can measure this agent, so nothing will be measured (%s)", reasons)
    return chosen, left_out


def _as_probe(probe: Any) -> Probe:
    if isinstance(probe, type) and issubclass(probe, Probe):
        raise GradlabError(f"probes: {probe.__name__} is a class; write {probe.__name__}()")
    return probe if isinstance(probe, Probe) else FunctionProbe(probe)


def _refusal(probe: Probe, agent: Agent, source: Source) -> str | None:
    """Why this probe cannot measure this run; None when it can."""
    if probe.needs_observations and source.sample is None and source.optimizer is not None:
        return probe.refusal(agent) or _NO_OBSERVATIONS
    # Without an optimizer to be called by, the loop's own calls of step may bring rollouts.
    if isinstance(probe, RolloutProbe) and source.rollout is None and source.optimizer is not None:
        return probe.refusal(agent) or "the run has no rollouts that gradlab can read"
    if probe.acts and source.apart:
        return source.apart
    return probe.refusal(agent)
