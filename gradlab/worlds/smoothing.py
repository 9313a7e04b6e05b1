"""Gaussian smoothing of a function of the action, and what it does to its gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradlab.references.quadrature import gauss_hermite


def smoothed_gradient(q: Callable[[Tensor], Tensor], at: Tensor, mu: float, *, nodes: int = 40) -> Tensor:
    """∇_a E_u[q(a + μu)], u ~ N(0, I): what Gaussian zeroth-order estimators are unbiased for.

    Gauss–Hermite quadrature of E_u[∇q(a + μu)] with ``nodes`` points in each coordinate: exact for polynomials
    of degree up to 2·nodes, accurate for smooth q, slow to converge across kinks.

    Args:
        q: actions [N, p] → values [N], differentiable.
        at: the action a, [p].
        mu: radius μ, in action units.
        nodes: points in each coordinate.

    Returns:
        [p], float64.

    Example:
        >>> smoothed_gradient(lambda a: (3 * a).sin().sum(-1), torch.zeros(1), 0.1)  # 3 exp(-9 μ²/2)
        tensor([2.8680], dtype=torch.float64)
    """
    points, weights = gauss_hermite(at.numel(), nodes)
    with torch.enable_grad():
        actions = (at.detach().double() + mu * points).requires_grad_()
        (gradient,) = torch.autograd.grad(q(actions).sum(), actions)
    return weights @ gradient


def smoothing_bias(q: Callable[[Tensor], Tensor], at: Tensor, mu: float, *, nodes: int = 40) -> Tensor:
    """``smoothed_gradient`` less ∇q(a): the bias of Gaussian zeroth-order estimators, O(μ²), [p], float64.

    Example:
        >>> smoothing_bias(lambda a: (a**3).sum(-1), torch.zeros(1), 0.1)  # 3 μ², wherever a is
        tensor([0.0300], dtype=torch.float64)
    """
    with torch.enable_grad():
        action = at.detach().double().unsqueeze(0).requires_grad_()
        (gradient,) = torch.autograd.grad(q(action).sum(), action)
    return smoothed_gradient(q, at, mu, nodes=nodes) - gradient.squeeze(0)
