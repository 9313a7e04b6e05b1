"""The normal distribution cut off at both ends, without losing digits in its tails.

Φ(β) − Φ(α) and its ratios to the density cancel, underflow or overflow when worked out as written. Here they are
written in what stays of order one: the scaled complementary error function e^{x²} erfc(x) where both ends lie on one
side, a short quadrature where the interval is so narrow that any difference cancels. All is float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)
_ROOT_HALF_PI = math.sqrt(math.pi / 2)
#: Narrow enough that e^{−xt} over the interval is a polynomial of low degree to sixteen digits.
_NARROW = 0.5
_NODES, _MASSES = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(10))


def log_mass(alpha: Tensor, beta: Tensor) -> Tensor:
    """The logarithm log(Φ(β) − Φ(α)) for α < β, float64, with its graph.

    Example:
        >>> far = torch.tensor([40.0, 41.0]).double()
        >>> round(log_mass(far[0], far[1]).item(), 6)
        -804.608442
    """
    return _LogMass.apply(alpha, beta)  # type: ignore[no-any-return, no-untyped-call]


def hazards(alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """φ(α)/(Φ(β) − Φ(α)) and φ(β)/(Φ(β) − Φ(α)) for α < β, float64, with their graph.

    Example:
        >>> at_alpha, at_beta = hazards(torch.tensor(1000.0).double(), torch.tensor(2000.0).double())
        >>> round(at_alpha.item(), 6), at_beta.item()
        (1000.001, 0.0)
    """
    return _Hazards.apply(alpha, beta)  # type: ignore[no-any-return, no-untyped-call]


def quantile(alpha: Tensor, beta: Tensor, noise: Tensor) -> Tensor:
    """The x in [α, β] with Φ(x) = (1 − u) Φ(α) + u Φ(β), u = Φ(ε): float64, with its graph to all three.

    Example:
        >>> x = quantile(*torch.tensor([30.0, 40.0, 0.0]).double())  # the median of a far tail
        >>> round(x.item(), 6)
        30.02307
    """
    return _Quantile.apply(alpha, beta, noise)  # type: ignore[no-any-return, no-untyped-call]


def log_one_minus_exp(x: Tensor) -> Tensor:
    """The logarithm log(1 − eˣ) for x < 0, accurate at both ends, with its graph (Mächler 2012).

    Example:
        >>> log_one_minus_exp(torch.tensor([-1e-12, -40.0]).double())
        tensor([-2.7631e+01, -4.2484e-18], dtype=torch.float64)
    """
    near = x > -math.log(2.0)
    # Both branches are differentiated: each sees arguments that it can take.
    small, large = torch.where(near, x, -1.0), torch.where(near, -1.0, x)
    return torch.where(near, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))


class _LogMass(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(alpha: Tensor, beta: Tensor) -> Tensor:
        near, width = _near_end(alpha, beta)
        return _log_scaled_mass(near, width) - near.square() / 2 - _LOG_ROOT_TWO_PI

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        at_alpha, at_beta = hazards(*ctx.saved_tensors)
        (grad,) = grads
        return -grad * at_alpha, grad * at_beta


class _Hazards(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        near, width = _near_end(alpha, beta)
        log_mass = _log_scaled_mass(near, width)
        at_near, at_far = torch.exp(-log_mass), torch.exp(-width * (near + width / 2) - log_mass)
        mirrored = alpha + beta < 0
        return torch.where(mirrored, at_far, at_near), torch.where(mirrored, at_near, at_far)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        alpha, beta = ctx.saved_tensors
        at_alpha, at_beta = hazards(alpha, beta)
        first, second = grads
        both = at_alpha * at_beta
        by_alpha = first * at_alpha * (at_alpha - alpha) + second * both
        by_beta = -first * both - second * at_beta * (at_beta + beta)
        return by_alpha, by_beta


class _Quantile(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(alpha: Tensor, beta: Tensor, noise: Tensor) -> Tensor:
        log_u, log_rest = torch.special.log_ndtr(noise), torch.special.log_ndtr(-noise)
        lower = torch.logaddexp(torch.special.log_ndtr(alpha) + log_rest, torch.special.log_ndtr(beta) + log_u)
        upper = torch.logaddexp(torch.special.log_ndtr(-alpha) + log_rest, torch.special.log_ndtr(-beta) + log_u)
        # The smaller of the two tails is the one that still has all its digits.
        x = _inverse_log_ndtr(torch.minimum(lower, upper))
        return torch.where(lower <= upper, x, -x).clamp(alpha, beta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], _output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, beta, noise = ctx.saved_tensors
        (grad,) = grads
        x = quantile(alpha, beta, noise)
        # Implicit differentiation of the definition; differences of squares as products keep their digits.
        by_alpha = torch.exp(torch.special.log_ndtr(-noise) + (x - alpha) * (x + alpha) / 2)
        by_beta = torch.exp(torch.special.log_ndtr(noise) + (x - beta) * (x + beta) / 2)
        by_noise = torch.exp((x - noise) * (x + noise) / 2 + log_mass(alpha, beta))
        return grad * by_alpha, grad * by_beta, grad * by_noise


def _near_end(alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """The end nearer to the middle of the normal, and the width, after mirroring so that the mass is to its right."""
    return torch.where(alpha + beta < 0, -beta, alpha), beta - alpha


def _log_scaled_mass(near: Tensor, width: Tensor) -> Tensor:
    """The logarithm of (Φ(β) − Φ(α))/φ(α) for α + β ≥ 0; the ratio is of order min(width, 1/α) where α > 0."""
    root = math.sqrt(0.5)
    right, left = near.clamp_min(0.0), near.clamp_max(0.0)
    beyond = torch.exp(-width * (right + width / 2)) * torch.special.erfcx((right + width) * root)
    tail = (_ROOT_HALF_PI * (torch.special.erfcx(right * root) - beyond)).log()
    across = ((torch.erf((left + width) * root) - torch.erf(left * root)) / 2).log() + left.square() / 2
    nodes, masses = _NODES.to(near), _MASSES.to(near)
    t = width.unsqueeze(-1) * (nodes + 1) / 2
    narrow = (width / 2 * (masses * torch.exp(-t * (near.unsqueeze(-1) + t / 2))).sum(-1)).log()
    wide = torch.where(near >= 0, tail, across + _LOG_ROOT_TWO_PI)
    return torch.where(width * (1 + near.abs() + width) < _NARROW, narrow, wide)


def _inverse_log_ndtr(y: Tensor) -> Tensor:
    """The x with log Φ(x) = y, for y ≤ log ½ or little above: Newton's iteration from the tail's own asymptote."""
    start = torch.where(y > -5.0, torch.special.ndtri(y.exp()), -(-2 * y - (-2 * y + 1.0).log()).clamp_min(0.0).sqrt())
    x = start
    # log Φ is concave, so that from the second step on the iteration is monotone; six steps give all digits.
    for _ in range(6):
        slope = 1 / (_ROOT_HALF_PI * torch.special.erfcx(-x * math.sqrt(0.5)))
        x = x - (torch.special.log_ndtr(x) - y) / slope
    return x
