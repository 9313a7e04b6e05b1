"""Why a difference of returns is not the gradient, state by state."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.simulation.differences import Plateau, Stencil
from gradlab.simulation.simulator import Rollouts

NOT_FINITE = "not finite: the simulation diverged"
JUMP = "termination jump: the return jumps here and needs a smoothed reference"
CONSTANT = "locally constant return: it can only change by jumps and needs a smoothed reference"
NO_PLATEAU = "no plateau: the differences disagree at every pair of step sizes"


def closed_because(
    around: Stencil, found: Plateau, values: Tensor, rollouts: Rollouts, *, stochastic: bool
) -> list[str]:
    """A sentence for each state whose gate is closed, an empty string where it is open.

    Args:
        around: the heads the returns were taken at.
        found: the plateau of their differences.
        values: the returns [seeds, heads, B].
        rollouts: where they come from, of the same shape.
        stochastic: whether the policy is; its expectation then also moves with what each noise jumps over.
    """
    centre, pairs = around.split(values)
    length, lengths = around.split(rollouts.length)
    ends, all_ends = around.split(rollouts.terminated)
    finite = torch.isfinite(values).all(0).all(0)
    reasons = []
    for state in range(len(finite)):
        # Only rollouts of the two step sizes that agree: a jump further away does not concern the gradient.
        near = slice(int(found.pair[state]), int(found.pair[state]) + 2)
        differ = lengths[:, near, :, :, state] != length[:, None, None, None, state]
        differ |= all_ends[:, near, :, :, state] != ends[:, None, None, None, state]
        flat = pairs[:, near, :, :, state] == centre[:, None, None, None, state]
        if not finite[state]:
            reasons.append(NOT_FINITE)
        elif bool(differ.any()) or (stochastic and bool(ends[:, state].any())):
            reasons.append(JUMP)
        elif bool(flat.all()):
            reasons.append(CONSTANT)
        else:
            reasons.append("" if found.open[state] else NO_PLATEAU)
    return reasons
