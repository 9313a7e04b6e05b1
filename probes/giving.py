"""What a probe is handed to measure at: the same from a run that goes on and from what it has saved."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.rollout import Rollout
from probes.probe import ExperienceProbe, Probe, RolloutProbe
from probes.source import Source

_TOO_FEW = "too few observations yet"
_NO_ROLLOUT = "no whole rollout yet"


def given(
    probe: Probe, source: Source, random: np.random.Generator, obs: Any = None, rollout: Rollout | None = None
) -> tuple[Any, str]:
    """What the probe is handed, and what it waits for where that is not there.

    Args:
        probe: the probe, which may keep to the observations of its first measurement.
        source: the run.
        random: chooses among what the run has stored.
        obs: observations [B, n] that the caller brought, in place of stored ones.
        rollout: a rollout that the caller brought, likewise.
    """
    if isinstance(probe, RolloutProbe):
        if rollout is None and source.rollout is not None:
            rollout = source.rollout()
        return rollout, _NO_ROLLOUT if rollout is None else ""
    if not probe.needs_observations:
        return _welcome(probe, source, random), ""
    if isinstance(probe, ExperienceProbe) and source.experience is not None and obs is None:
        experience = source.experience(probe.states, random)
        return experience, _TOO_FEW if experience is None else ""
    batch = _observations(probe, source, random, obs)
    return batch, _TOO_FEW if batch is None else ""


def _observations(probe: Probe, source: Source, random: np.random.Generator, obs: Any) -> Any:
    if obs is not None:
        return probe.choose(obs if len(obs) <= probe.offered else obs[: probe.offered])
    if source.sample is None:
        return None
    sampled = source.sample(probe.offered, random)
    if sampled is None and probe.offered > probe.states:
        sampled = source.sample(probe.states, random)
    return None if sampled is None else probe.choose(sampled)


def _welcome(probe: Probe, source: Source, random: np.random.Generator) -> Any:
    """Observations for a probe that can do without; None while there are too few, or nothing gives any."""
    if not probe.welcome_observations or source.sample is None:
        return None
    return source.sample(probe.welcome_observations, random)
