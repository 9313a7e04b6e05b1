"""Second derivatives of Q in action and state: exact, or at a stated scale."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError

#: Points at which a critic is probed for being piecewise linear.
_PROBES = 32
#: Rows evaluated at a time; float64 activations of a 256-wide critic then stay near 40 MB.
_ROWS = 8_192


def action_gradient(agent: Agent, obs: Tensor, act: Tensor, critic: int | None) -> Tensor:
    """∇_a Q, detached: obs [N, n], act [N, p] → [N, p]; zero where Q does not depend on the action."""
    # A chunk at a time, so that only its graph is held.
    chunks = zip(obs.split(_ROWS), act.split(_ROWS), strict=True)
    return torch.cat([agent.action_gradient(o, a, critic=critic) for o, a in chunks])


def exact(agent: Agent, obs: Tensor, act: Tensor, critic: int | None) -> tuple[Tensor, Tensor]:
    """∇²_aa Q [B, p, p] and ∇²_as Q [B, p, n] by differentiating twice; states must not depend on each other."""
    with torch.enable_grad():
        s, a = obs.detach().requires_grad_(), act.detach().requires_grad_()
        value = agent.q(s, a, critic=critic)
        if not value.requires_grad:
            return act.new_zeros(*act.shape, act.shape[1]), act.new_zeros(*act.shape, obs.shape[1])
        (gradient,) = torch.autograd.grad(value.sum(), a, create_graph=True, materialize_grads=True)
        rows = [_row(gradient[:, j], a, s) for j in range(act.shape[1])]
    return torch.stack([row[0] for row in rows], 1), torch.stack([row[1] for row in rows], 1)


def _row(component: Tensor, act: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
    if not component.requires_grad:
        return torch.zeros_like(act), torch.zeros_like(obs)
    by_action, by_state = torch.autograd.grad(component.sum(), (act, obs), retain_graph=True, materialize_grads=True)
    return by_action.detach(), by_state.detach()


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


def policy_jacobian(agent: Agent, obs: Tensor) -> Tensor:
    """∂π/∂s of the action without exploration, [B, p, n], exact."""
    with torch.enable_grad():
        s = obs.detach().requires_grad_()
        act = agent.action(s)
        if not act.requires_grad:
            return act.new_zeros(*act.shape, obs.shape[1])
        rows = [
            torch.autograd.grad(act[:, j].sum(), s, retain_graph=True, materialize_grads=True)[0]
            for j in range(act.shape[1])
        ]
    return torch.stack(rows, 1)


def piecewise_linear(agent: Agent, obs: Tensor, critic: int | None) -> bool:
    """Whether Q looks piecewise linear in the action: flat pieces whose slopes differ.

    Probed, not read off class names: at random actions of the box, the second derivative along a random direction
    of (a, s) is exactly zero everywhere while ∇_a Q is not the same everywhere.
    """
    generator = torch.Generator().manual_seed(0)
    states = obs[torch.randint(len(obs), (_PROBES,), generator=generator).to(obs.device)]
    # Actions vary at one state too, or a critic linear in the action alone would look piecewise linear.
    states = torch.cat([states, obs[:1].expand(_PROBES, -1)])
    share = torch.rand(len(states), agent.action_size, generator=generator, dtype=torch.float64).to(obs)
    act = agent.action_low + share * (agent.action_high - agent.action_low)
    weights = torch.randn(act.shape, generator=generator, dtype=torch.float64).to(act)
    with torch.enable_grad():
        s, a = states.detach().requires_grad_(), act.detach().requires_grad_()
        value = agent.q(s, a, critic=critic)
        if not value.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(value.sum(), a, create_graph=True, materialize_grads=True)
        if not bool(torch.isfinite(gradient).all()):
            raise GradlabError("critic: NaN or infinite action gradients; has it diverged?")
        along = (gradient * weights).sum(-1)
        by_action, by_state = _row(along, a, s)
    bent = bool((by_action != 0).any() or (by_state != 0).any())
    slopes = gradient.detach()[_PROBES:]
    spread = (slopes.amax(0) - slopes.amin(0)).max()
    changes = spread > 1e3 * torch.finfo(slopes.dtype).eps * slopes.abs().max()
    return not bent and bool(changes)
