"""Probe: mixed partials, action curvature, their ratio, which bounds the policy's sensitivity, and PAVE's terms."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number
from gradlab.curvature import Sensitivity, field_regularity, sensitivity
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.evaluation_mode import in_evaluation
from gradlab.hessians import piecewise_linear
from gradlab.measurement import Measurement
from gradlab.statistics.medians import median
from probes.probe import Probe
from probes.schedule import Every

#: Disturbances of each state that the mixed regulariser is a mean of.
_DRAWS = 8
#: Eigenvalues that are stored, less one.
_RANKS = 7
_EXACT = ("mixed_partial", "curvature", "ratio")


class Curvature(Probe):
    """M, μ and M/μ of the critic at the actor's actions, at a stated scale, and PAVE's terms (arXiv 2601.22970).

    Of a smooth critic the exact numbers are given beside those at a scale: ``exact_mixed_partial``,
    ``exact_curvature`` and ``exact_ratio``; a piecewise-linear one has none. ``mixed_regulariser`` and ``hinge`` are
    what PAVE adds to a critic's loss, with its σ = 0.01 in observation units and δ = 1; see
    ``gradlab.curvature.field_regularity``. Where there is no derivative by the state, what needs one is left out, and
    a note says why. The supremum of M in PAVE's bound is not given: the largest of these states is a lower bound that
    grows with their number, and a series of such would be read as an estimate.

    ``eigenvalue/k`` are medians of the spectrum of ∂²Q/∂a², which cost nothing beyond μ, the highest's negative.

    Args:
        every: training steps between two measurements.
        states: number of states.
        scale: length over which second derivatives are taken; a piecewise-linear critic has no others.

    Raises:
        GradlabError: a number is out of range.

    Example:
        >>> class Bowl(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return -(act - 3 * obs).square().sum(-1)
        >>> agent = Agent(torch.nn.Linear(1, 1), [Bowl()], [-9.0], [9.0])
        >>> found = Curvature(states=8).measure(agent, torch.zeros(8, 1), torch.Generator()).scalars
        >>> [round(found[name].value, 6) for name in ("ratio", "exact_ratio", "hinge")]
        [3.0, 3.0, 0.0]
    """

    name = "curvature"

    def __init__(self, *, every: Every = 1000, states: int = 64, scale: float = 0.1) -> None:
        super().__init__(every=every, states=states)
        self.scale = real_number("probe curvature: scale", scale, above=0.0)

    def refusal(self, agent: Agent) -> str | None:
        """Needs a critic and continuous actions."""
        if not agent.policy.continuous:
            return "the agent's actions are discrete; there is no action curvature"
        return super().refusal(agent)

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Medians over states, shares of states, and means of PAVE's terms."""
        agent = in_evaluation(agent)
        found = sensitivity(agent, obs, self.scale)
        scalars, notes = found.summary(), []
        if found.refused:
            notes.append(f"M, M/μ and the mixed regulariser are left out: {found.refused}")
        else:
            scalars |= self._regularity(agent, obs, found, generator)
        exact, note = _exact(agent, obs, refused=bool(found.refused))
        scalars |= exact
        notes += [note] if note else []
        scalars |= spectrum(found)
        objective = str(agent.objective)
        scalars = {name: replace(each, objective=objective) for name, each in scalars.items()}
        return Measurement(scalars, notes=tuple(notes))

    def _regularity(
        self, agent: Agent, obs: Tensor, found: Sensitivity, generator: torch.Generator
    ) -> dict[str, Estimate]:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        means = field_regularity(agent, obs, geometry=found, draws=_DRAWS, seed=seed).means()
        return {"mixed_regulariser": means["mixed_partial"], "hinge": means["curvature_hinge"]}


def spectrum(found: Sensitivity) -> dict[str, Estimate]:
    """Medians over states of the eigenvalues of ∇²_aa Q, ``eigenvalue/1`` the highest; of many, at most eight of them.

    Those are evenly spread by rank, the highest and the lowest among them. Of so many actions that no matrices are
    formed the highest and the lowest alone are known.
    """
    descending = found.eigenvalues.flip(-1)
    known = descending.shape[-1]
    size = found.actions.shape[-1]
    ranks = [1, size] if known < size else sorted({round(1 + i * (size - 1) / _RANKS) for i in range(_RANKS + 1)})
    places = [0, known - 1] if known < size else [rank - 1 for rank in ranks]
    return {f"eigenvalue/{rank}": median(descending[:, at]) for rank, at in zip(ranks, places, strict=True)}


def _exact(agent: Agent, obs: Tensor, *, refused: bool) -> tuple[dict[str, Estimate], str]:
    """The exact numbers of a smooth critic, and what a person should know of those that are missing."""
    if piecewise_linear(agent, obs, None):
        return {}, ""
    try:
        found = sensitivity(agent, obs)
    except GradlabError as error:
        return {}, f"exact curvature is left out: {error}"
    summary = found.summary()
    note = f"exact M and M/μ are left out: {found.refused}" if found.refused and not refused else ""
    return {f"exact_{name}": summary[name] for name in _EXACT if name in summary}, note
