"""Smoothing of a function of the action along random directions, and what it does to its gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradlab.estimators.directions import Direction
from gradlab.quadrature import gauss_hermite
from gradlab.worlds.direction_kinds import direction_kind


def smoothed_gradient(
    q: Callable[[Tensor], Tensor],
    at: Tensor,
    mu: float,
    *,
    nodes: int = 40,
    directions: str | Direction = "gaussian",
) -> Tensor:
    """The mean of two-point zeroth-order draws, E[(q(a + μu) − q(a))/μ · u], by quadrature.

    For Gaussian directions this is ∇_a E_u[q(a + μu)] = E_u[∇q(a + μu)] (Stein), which is what is summed: exact for
    polynomials of degree up to 2·nodes, accurate for smooth q, slow to converge across kinks, wrong across jumps. On
    the sphere of radius √p it is the gradient of q averaged over the ball (Flaxman et al. 2005, lemma 2.1). Signs and
    coordinates are enumerated. Clipped noise, whose second moment c is not 1, gives about c ∇q.

    Args:
        q: actions [N, p] → values [N]; differentiable for Gaussian directions.
        at: the action a, [p].
        mu: radius μ, in action units.
        nodes: points in each coordinate; nodes**p in all, nodes**(p − 1) on a sphere.
        directions: as ``ZerothOrder`` takes them.

    Returns:
        [p], float64.

    Raises:
        GradlabError: no quadrature is known for these directions.

    Example:
        >>> smoothed_gradient(lambda a: (3 * a).sin().sum(-1), torch.zeros(1), 0.1)  # 3 exp(-9 μ²/2)
        tensor([2.8680], dtype=torch.float64)
        >>> smoothed_gradient(lambda a: (a**3).sum(-1), torch.zeros(2), 0.1, directions="rademacher")  # μ²
        tensor([0.0100, 0.0100], dtype=torch.float64)
    """
    centre = at.detach().double()
    if directions == "gaussian":
        points, weights = gauss_hermite(centre.numel(), nodes)
        return weights @ _gradient(q, centre + mu * points)
    points, weights = direction_kind(directions).rule(centre.numel(), nodes)
    with torch.no_grad():
        slope = (q(centre + mu * points) - q(centre.unsqueeze(0))) / mu
    return (weights * slope) @ points


def smoothing_bias(
    q: Callable[[Tensor], Tensor],
    at: Tensor,
    mu: float,
    *,
    nodes: int = 40,
    directions: str | Direction = "gaussian",
) -> Tensor:
    """``smoothed_gradient`` less ∇q(a): the bias of two-point zeroth-order estimators, [p], float64.

    It is O(μ²) for directions of identity covariance whose odd moments vanish; O(μ) for forward differences along
    coordinates; for clipped noise it holds the wrong scale, (c − 1) ∇q.

    Example:
        >>> smoothing_bias(lambda a: (a**3).sum(-1), torch.zeros(1), 0.1)  # 3 μ², wherever a is
        tensor([0.0300], dtype=torch.float64)
    """
    centre = at.detach().double()
    smoothed = smoothed_gradient(q, centre, mu, nodes=nodes, directions=directions)
    return smoothed - _gradient(q, centre.unsqueeze(0))[0]


def _gradient(q: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    with torch.enable_grad():
        actions = points.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(q(actions).sum(), actions)
    return gradient
