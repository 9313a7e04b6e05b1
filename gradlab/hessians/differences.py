"""Second derivatives of Q at a stated scale, by central differences of its action gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor
from gradlab.errors import GradlabError

#: Rows evaluated at a time; float64 activations of a 256-wide critic then stay near 40 MB.
_ROWS = 8_192


def action_gradient(agent: Agent, obs: Tensor, act: Tensor, critic: int | None) -> Tensor:
    """∇_a Q, detached: obs [N, ...], act [N, p] → [N, p]; zero where Q does not depend on the action."""
    # A chunk at a time, so that only its graph is held.
    chunks = zip(obs.split(_ROWS), act.split(_ROWS), strict=True)
    return torch.cat([agent.action_gradient(o, a, critic=critic) for o, a in chunks])


def by_action(agent: Agent, obs: Tensor, act: Tensor, critic: int | None, scale: float) -> Tensor:
    """∇²_aa Q [B, p, p] by central differences of ∇_a Q along the action's coordinates, symmetrised.

    H e_j = [∇_a Q(s, a + δe_j) − ∇_a Q(s, a − δe_j)] / 2δ: second derivatives averaged over a segment of length 2δ,
    which for a piecewise-linear critic count the kinks crossed.

    Args:
        agent: in float64.
        obs: observations [B, ...], float64.
        act: actions [B, p], float64.
        critic: as in ``Agent.q``.
        scale: the step δ, in the critic's action units.
    """
    states, size = act.shape
    moves = scale * torch.eye(size, dtype=act.dtype, device=act.device)[:, None]
    moved = torch.stack([act + moves, act - moves])  # [2, p, B, p]
    where = obs.expand(2, size, *obs.shape).reshape(-1, *obs.shape[1:])
    gradient = action_gradient(agent, where, moved.reshape(-1, size), critic).reshape(2, size, states, size)
    hessian = ((gradient[0] - gradient[1]) / (2 * scale)).permute(1, 2, 0)
    return (hessian + hessian.mT) / 2


def by_state(agent: Agent, obs: Tensor, act: Tensor, critic: int | None, steps: Tensor) -> Tensor:
    """∇²_as Q [B, p, n] by central differences of ∇_a Q along the observation's features.

    Args:
        agent: in float64.
        obs: observations [B, n], float64.
        act: actions [B, p], float64.
        critic: as in ``Agent.q``.
        steps: the step in each feature, [n].
    """
    (states, n), size = obs.shape, act.shape[1]
    moves = torch.diag(steps)[:, None]
    moved = torch.stack([obs + moves, obs - moves])  # [2, n, B, n]
    where = act.expand(2, n, states, size).reshape(-1, size)
    gradient = action_gradient(agent, moved.reshape(-1, n), where, critic).reshape(2, n, states, size)
    return ((gradient[0] - gradient[1]) / (2 * steps[:, None, None])).permute(1, 2, 0)


def at_scale(
    agent: Agent, obs: Tensor, act: Tensor, critic: int | None, scale: float, obs_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """∇²_aa Q [B, p, p] and ∇²_as Q [B, p, n], with steps ``scale`` in the action and ``scale``·``obs_scale`` [n]."""
    return by_action(agent, obs, act, critic, scale), by_state(agent, obs, act, critic, scale * obs_scale)


def feature_scale(obs: Tensor) -> Tensor:
    """Standard deviations [n] of the features, not below a tenth of their median over the features that vary.

    A nearly constant feature would otherwise get a step so short that one kink crossed looks like a huge slope.

    Example:
        >>> feature_scale(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
        tensor([1.4142, 1.4142])
    """
    if len(obs) < 2:
        return torch.ones_like(obs[0])
    spread = obs.std(0)
    varies = spread > 1e-8 * obs.abs().amax(0).clamp_min(1e-8)
    if not bool(varies.any()):
        return torch.ones_like(spread)
    typical = spread[varies].median()
    return torch.where(varies, spread.clamp_min(0.1 * typical), typical)


def relative_steps(obs: Tensor, obs_scale: Any) -> Tensor:
    """Steps in the features relative to that in an action, [n]: those given, or ``feature_scale`` of obs [B, n].

    Raises:
        GradlabError: they are not one positive number a feature.
    """
    relative = feature_scale(obs) if obs_scale is None else real_tensor("obs_scale", obs_scale).detach().to(obs)
    if relative.shape != obs.shape[1:] or not bool(((relative > 0) & torch.isfinite(relative)).all()):
        raise GradlabError(f"obs_scale: expected {obs.shape[1]} positive numbers, one per observation feature")
    return relative
