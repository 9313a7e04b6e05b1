"""Second derivatives of Q in action and state, and the actor's Jacobian, by differentiating."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent


def exact(agent: Agent, obs: Tensor, act: Tensor, critic: int | None) -> tuple[Tensor, Tensor]:
    """∇²_aa Q [B, p, p] and ∇²_as Q [B, p, n] by differentiating twice; states must not depend on each other."""
    with torch.enable_grad():
        s, a = obs.detach().requires_grad_(), act.detach().requires_grad_()
        value = agent.q(s, a, critic=critic)
        if not value.requires_grad:
            return act.new_zeros(*act.shape, act.shape[1]), act.new_zeros(*act.shape, obs.shape[1])
        (gradient,) = torch.autograd.grad(value.sum(), a, create_graph=True, materialize_grads=True)
        rows = [row(gradient[:, j], a, s) for j in range(act.shape[1])]
    return torch.stack([row[0] for row in rows], 1), torch.stack([row[1] for row in rows], 1)


def row(component: Tensor, act: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of one number per state [B] by actions and by observations, detached, zero where there is no graph."""
    if not component.requires_grad:
        return torch.zeros_like(act), torch.zeros_like(obs)
    by_action, by_state = torch.autograd.grad(component.sum(), (act, obs), retain_graph=True, materialize_grads=True)
    return by_action.detach(), by_state.detach()


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
