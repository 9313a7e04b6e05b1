"""Second derivatives of Q in action and state, and the actor's Jacobian, by differentiating twice.

One backward pass per action coordinate through the graph of ∇_a Q. Mapping the passes, or forward over reverse by
``torch.func``, gives the same numbers and takes longer on a processor (``benchmarks/bench_curvature.py``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent

#: Bytes that the graph of one chunk of rows may hold, and rows that it is measured with.
_MEMORY, _MEASURED = 2**28, 8


def exact(agent: Agent, obs: Tensor, act: Tensor, critic: int | None, *, by_state: bool = True) -> tuple[Tensor, ...]:
    """∇²_aa Q [B, p, p] and, ``by_state``, ∇²_as Q [B, p, n]; states must not depend on each other."""
    rows = len(obs) if len(obs) <= _MEASURED else _rows(agent, obs, act, critic)
    chunks = zip(obs.split(rows), act.split(rows), strict=True)
    found = [_chunk(agent, o, a, critic, by_state) for o, a in chunks]
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def _chunk(agent: Agent, obs: Tensor, act: Tensor, critic: int | None, by_state: bool) -> list[Tensor]:
    with torch.enable_grad():
        s, a = obs.detach().requires_grad_(by_state), act.detach().requires_grad_()
        by = (a, s) if by_state else (a,)
        value = agent.q(s, a, critic=critic)
        if not value.requires_grad:
            return [act.new_zeros(*act.shape, x.shape[1]) for x in by]
        (gradient,) = torch.autograd.grad(value.sum(), a, create_graph=True, materialize_grads=True)
        rows = [row(gradient[:, j], *by) for j in range(act.shape[1])]
    return [torch.stack(parts, 1) for parts in zip(*rows, strict=True)]


def row(component: Tensor, *by: Tensor) -> tuple[Tensor, ...]:
    """Gradients of one number per state [B] by each of ``by``, detached; zero where there is no graph."""
    if not component.requires_grad:
        return tuple(torch.zeros_like(x) for x in by)
    found = torch.autograd.grad(component.sum(), by, retain_graph=True, materialize_grads=True)
    return tuple(part.detach() for part in found)


def _rows(agent: Agent, obs: Tensor, act: Tensor, critic: int | None) -> int:
    """How many rows fit into the memory, by what the graph of a few of them holds."""
    held = 0

    def count(saved: Tensor) -> Tensor:
        nonlocal held
        # Weights are held once, whatever the number of rows.
        held += saved.numel() * saved.element_size() if saved.shape[:1] == (_MEASURED,) else 0
        return saved

    with torch.autograd.graph.saved_tensors_hooks(count, lambda saved: saved), torch.enable_grad():
        s, a = obs[:_MEASURED].detach().requires_grad_(), act[:_MEASURED].detach().requires_grad_()
        value = agent.q(s, a, critic=critic)
        if value.requires_grad:
            torch.autograd.grad(value.sum(), a, create_graph=True, materialize_grads=True)
    return max(1, _MEMORY * _MEASURED // max(held, 1))


def policy_jacobian(agent: Agent, obs: Tensor) -> Tensor:
    """∂π/∂s of the action without exploration, [B, p, n], exact."""
    with torch.enable_grad():
        s = obs.detach().requires_grad_()
        act = agent.action(s)
        return torch.stack([row(act[:, j], s)[0] for j in range(act.shape[1])], 1)
