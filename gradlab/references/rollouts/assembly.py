"""From a run's rollouts to the reference: means, standard errors, what is valid, and the evidence for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.objective import Objective
from gradlab.references.base import ReferenceCotangent
from gradlab.references.rollouts.allocation import Allocation
from gradlab.references.rollouts.run import RolloutRun
from gradlab.references.rollouts.schemes import Scheme
from gradlab.simulation.states import States

OUT_OF_TIME = "left out: the time allowed was spent"
OUT_OF_ROLLOUTS = "left out: the rollouts allowed were spent"
NOT_CHOSEN = "left out: more states than were to be measured"

#: Parts of the diagnostics that are one number a state.
_PER_STATE = ("disagreement", "step", "value", "value_stderr", "growth", "chain_error")


def assemble(
    run: RolloutRun,
    allocation: Allocation,
    scheme: Scheme,
    pilot: Agent,
    states: States,
    objective: Objective,
    name: str,
) -> ReferenceCotangent:
    """The reference at all states, with NaN at those that are closed or left out.

    Args:
        run: what was rolled out.
        allocation: how it came to be so many rollouts.
        scheme: what they are rollouts of.
        pilot: the agent that acted.
        states: all B states.
        objective: what it is the gradient of.
        name: the reference's name.
    """
    count = len(states)
    size = pilot.policy.head_size(pilot.action_size)
    mean, stderr = (torch.full((count, size), torch.nan, dtype=torch.float64) for _ in range(2))
    found: dict[str, Tensor] = {n: torch.full((count,), torch.nan, dtype=torch.float64) for n in _PER_STATE}
    found |= {n: torch.zeros(count, dtype=torch.int64) for n in ("one_sided", "outside_box")}
    out = OUT_OF_ROLLOUTS if run.out_of_rollouts else OUT_OF_TIME
    wanted = set(allocation.positions)
    reasons = [out if position in wanted else NOT_CHOSEN for position in range(count)]
    for group in run.alike():
        state = run.assess(group)
        noises = run.records.indices(group[0])
        centre, spread = allocation.combined(state.draws, noises)
        mean[group], stderr[group] = centre, (state.error.square() + spread.square()).sqrt()
        found["value"][group], found["value_stderr"][group] = allocation.combined(state.values, noises)
        for part in ("disagreement", "step", "one_sided", "outside_box", "growth", "chain_error"):
            found[part][group] = getattr(state, part).to(found[part])
        for position, reason in zip(group, state.reasons, strict=True):
            reasons[position] = reason
    valid = torch.tensor([not reason for reason in reasons], dtype=torch.bool)
    mean[~valid], stderr[~valid] = torch.nan, torch.nan
    made = torch.tensor([run.records.count(position) for position in range(count)])
    noises_of = torch.tensor([allocation.averaged(number) for number in made.tolist()])
    steps = run.records.steps + run.chain_steps
    if not run.second_way:
        found = {part: value for part, value in found.items() if part not in ("growth", "chain_error")}
    diagnostics: dict[str, Any] = {
        "reason": reasons,
        "left_out": sum(reason in (OUT_OF_TIME, OUT_OF_ROLLOUTS, NOT_CHOSEN) for reason in reasons),
        **found,
        "noise_seeds": noises_of,
        "rollouts": made * scheme.width,
        "steps": steps,
        "seconds": run.seconds,
        "steps_per_second": steps / run.seconds if run.seconds > 0 else torch.nan,
    }
    samples = 0
    if run.stochastic:
        behind = noises_of[valid] if bool(valid.any()) else noises_of[allocation.positions]
        samples = int(behind.min())
    return ReferenceCotangent(mean, stderr, name, objective, valid, samples, diagnostics)
