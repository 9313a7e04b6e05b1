"""Second derivatives of Q at a stated scale, by central differences of its action gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent

#: Rows evaluated at a time; float64 activations of a 256-wide critic then stay near 40 MB.
_ROWS = 8_192


def action_gradient(agent: Agent, obs: Tensor, act: Tensor, critic: int | None) -> Tensor:
    """∇_a Q, detached: obs [N, n], act [N, p] → [N, p]; zero where Q does not depend on the action."""
    # A chunk at a time, so that only its graph is held.
    chunks = zip(obs.split(_ROWS), act.split(_ROWS), strict=True)
    return torch.cat([agent.action_gradient(o, a, critic=critic) for o, a in chunks])


def at_scale(
    agent: Agent, obs: Tensor, act: Tensor, critic: int | None, scale: float, obs_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """∇²_aa Q [B, p, p] and ∇²_as Q [B, p, n] by central differences of ∇_a Q along coordinates.

    H_aa e_j = [∇_a Q(s, a + δe_j) − ∇_a Q(s, a − δe_j)] / 2δ, symmetrised, and the same in the state with steps
    δ·obs_scale_j: second derivatives averaged over a segment of length 2δ, which for a piecewise-linear critic
    count the kinks crossed.

    Args:
        agent: in float64.
        obs: observations [B, n], float64.
        act: actions [B, p], float64.
        critic: as in ``Agent.q``.
        scale: the step δ, in the critic's action units.
        obs_scale: steps in the observation's features relative to δ, [n].
    """
    (states, n), p = obs.shape, act.shape[1]
    eye = torch.eye(p + n, dtype=act.dtype, device=act.device)
    steps = scale * torch.cat([torch.ones_like(act[0]), obs_scale])
    moves = steps[:, None] * eye
    points = torch.cat([act, obs], -1)
    both = torch.stack([points + moves[:, None], points - moves[:, None]])  # [2, p + n, B, p + n]
    rows = both.reshape(-1, p + n)
    gradient = action_gradient(agent, rows[:, p:], rows[:, :p], critic).reshape(2, p + n, states, p)
    slope = ((gradient[0] - gradient[1]) / (2 * steps[:, None, None])).permute(1, 2, 0)  # [B, p, p + n]
    hessian = slope[:, :, :p]
    return (hessian + hessian.mT) / 2, slope[:, :, p:]
