"""How ∇Q changes along given directions at many states: by differentiating, or by differences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from gradlab.hessians.points import Points


def exact_along(at: Points, vectors: Tensor, in_state: bool, by_state: bool) -> Tensor:
    """The derivative of ∇Q along vectors [N, B, ·] at each state, forward over reverse: [N, B, ·].

    Args:
        at: where.
        vectors: directions, of the state where ``in_state`` and of the action otherwise.
        in_state: whether it is the state that moves.
        by_state: whether it is ∇_s Q, and not ∇_a Q, whose change is asked for.
    """

    def moved(x: Tensor) -> Tensor:
        return _gradient(at, x if in_state else at.obs, at.act if in_state else x, by_state)

    def along(vector: Tensor) -> Tensor:
        found: Tensor = jvp(moved, (at.obs if in_state else at.act,), (vector,))[1]
        return found

    try:
        # One evaluation of Q for all vectors; without it the graph to the critic's parameters would be kept.
        with torch.no_grad():
            products: Tensor = vmap(along)(vectors)
            return products.detach()
    except (RuntimeError, NotImplementedError):
        return _exact_by_reverse(at, vectors, in_state, by_state)


@torch.enable_grad()
def _exact_by_reverse(at: Points, vectors: Tensor, in_state: bool, by_state: bool) -> Tensor:
    """The same with backward passes alone, for a critic whose operations ``torch.func`` cannot follow.

    ∇²_xy Q v = ∇_x (∇_y Q · v), with a row for each vector and state.
    """
    count = len(vectors)
    s, a = (x.repeat(count, 1).requires_grad_() for x in (at.obs, at.act))
    value = at.agent.q(s, a, critic=at.critic)
    of = s if by_state else a
    if not value.requires_grad:
        return torch.zeros_like(of).reshape(count, len(at.obs), -1)
    (gradient,) = torch.autograd.grad(value.sum(), s if in_state else a, create_graph=True, materialize_grads=True)
    along = (gradient * vectors.reshape(len(s), -1)).sum()
    if not along.requires_grad:
        return torch.zeros_like(of).reshape(count, len(at.obs), -1)
    (found,) = torch.autograd.grad(along, of, materialize_grads=True)
    return found.detach().reshape(count, len(at.obs), -1)


def difference_along(at: Points, vectors: Tensor, in_state: bool, by_state: bool, scale: float) -> Tensor:
    """The same by central differences with steps of length ``scale``, in units of ``obs_scale`` where in the state."""
    count, states = vectors.shape[:2]
    units = at.obs_scale if in_state else torch.ones_like(at.act[0])
    length: Tensor = (vectors / units).norm(dim=-1, keepdim=True)
    # The zero vector has no direction, and the product zero.
    move = scale * vectors / torch.where(length > 0, length, 1.0)
    sides = torch.stack([move, -move])
    still = torch.zeros_like(sides[..., :1])
    s = (at.obs + (sides if in_state else still)).reshape(-1, at.obs.shape[1])
    a = (at.act + (still if in_state else sides)).reshape(-1, at.act.shape[1])
    found = first_derivative(at, s, a, by_state).reshape(2, count, states, -1)
    return (found[0] - found[1]) * length / (2 * scale)


@torch.enable_grad()
def first_derivative(at: Points, obs: Tensor, act: Tensor, by_state: bool = False) -> Tensor:
    """∇_a Q, or ∇_s Q, at rows [N, n] and [N, p] → [N, p] or [N, n], detached; zero where Q does not depend on it."""
    s, a = obs.detach().requires_grad_(), act.detach().requires_grad_()
    value = at.agent.q(s, a, critic=at.critic)
    of = s if by_state else a
    if not value.requires_grad:
        return torch.zeros_like(of)
    (found,) = torch.autograd.grad(value.sum(), of, materialize_grads=True)
    return found.detach()


def _gradient(at: Points, obs: Tensor, act: Tensor, by_state: bool) -> Tensor:
    """∇_s Q or ∇_a Q, as a function that ``torch.func`` can differentiate once more."""

    def total(s: Tensor, a: Tensor) -> Tensor:
        return at.agent.q(s, a, critic=at.critic).sum()

    found: Tensor = grad(total, argnums=0 if by_state else 1)(obs, act)
    return found
