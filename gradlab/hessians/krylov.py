"""The Lanczos iteration at many states at once: a symmetric matrix seen through its products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gradlab.hessians.products import Product

#: Steps before the first look: a start that happens to be poor would otherwise pass for converged.
_LEAST = 8


class Ritz(NamedTuple):
    """Ritz pairs at the two ends of the spectrum, in each of B states.

    Attributes:
        values: θ, lowest and highest, [B, 2].
        vectors: y, of unit length, [B, 2, p].
        residuals: ‖Hy − θy‖, [B, 2].
        steps: products with H before those that verified the residuals.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    steps: int


def lanczos(
    product: Product,
    states: int,
    size: int,
    met: Callable[[Tensor, Tensor], bool],
    most: int,
    generator: torch.Generator,
) -> Ritz:
    """Extreme Ritz pairs of symmetric matrices [p, p], one a state, with full reorthogonalisation in float64.

    From a random start, H Q = Q T + β q eᵀ with orthonormal Q [p, k] and tridiagonal T; a Ritz pair (θ, y = Qx) of T
    has the residual ‖Hy − θy‖ = β |x_k| (C. Paige 1971). Where β vanishes, which is where an invariant subspace is
    complete, a new random direction is taken, so that k = p steps give the whole spectrum. Residuals are looked at
    after 8, 12, 18, … steps, and computed anew with one product more at the end, so that rounding, and products that
    are not quite linear, are in them.

    Args:
        product: vectors [N, B, p] → H v, [N, B, p].
        states: B.
        size: p.
        met: from values [B, 2] and residuals [B, 2], whether to stop.
        most: steps never exceeded.
        generator: of the start.

    Example:
        >>> H = torch.diag(torch.arange(1.0, 101.0)).double()
        >>> found = lanczos(lambda v: v @ H, 1, 100, lambda _, r: bool((r < 1e-9).all()), 100, torch.Generator())
        >>> [round(value, 9) for value in found.values[0].tolist()], found.steps < 100
        ([1.0, 100.0], True)
    """
    limit = min(most, size)
    start = torch.randn(states, size, generator=generator, dtype=torch.float64, device=generator.device)
    first = product((start / start.norm(dim=-1, keepdim=True))[None])
    start = start.to(first)
    basis = start.new_zeros(states, limit, size)
    T = start.new_zeros(states, limit, limit)
    vector, image = start / start.norm(dim=-1, keepdim=True), first[0]
    look = min(_LEAST, limit)
    for k in range(1, limit + 1):
        basis[:, k - 1] = vector
        T[:, k - 1, k - 1] = (vector * image).sum(-1)
        known = basis[:, :k]
        left = _orthogonal(image, known)
        beta = left.norm(dim=-1)
        # Of the matrix's size as far as it is known: below that a remainder is rounding, not a direction.
        tiny = 64 * torch.finfo(beta.dtype).eps * T[:, :k, :k].abs().amax((1, 2)).clamp_min(image.norm(dim=-1))
        beta = torch.where(beta > tiny, beta, 0.0)
        if k in (look, limit):
            values, inner = torch.linalg.eigh(T[:, :k, :k])
            ends = torch.stack([values[:, 0], values[:, -1]], -1)
            last = torch.stack([inner[:, -1, 0], inner[:, -1, -1]], -1)
            if k == limit or met(ends, beta[:, None] * last.abs()):
                vectors = torch.einsum("bkp,bke->bep", known, inner[:, :, [0, -1]])
                return _verified(product, vectors, k)
            look = min(look + look // 2, limit)
        fresh = torch.randn(states, size, generator=generator, dtype=torch.float64, device=generator.device)
        other = _orthogonal(fresh.to(left), known)
        step = torch.where(beta[:, None] > 0, left, other)
        vector = step / step.norm(dim=-1, keepdim=True)
        T[:, k - 1, k] = T[:, k, k - 1] = beta
        image = product(vector[None])[0]
    raise AssertionError("unreachable: the last step returns")


def _orthogonal(vectors: Tensor, basis: Tensor) -> Tensor:
    """What is left of vectors [B, p] beside orthonormal rows [B, k, p]; twice, which is enough (W. Kahan)."""
    for _ in range(2):
        vectors = vectors - torch.einsum("bkp,bk->bp", basis, torch.einsum("bkp,bp->bk", basis, vectors))
    return vectors


def _verified(product: Product, vectors: Tensor, steps: int) -> Ritz:
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    image = product(vectors.transpose(0, 1).contiguous()).transpose(0, 1)
    values = (vectors * image).sum(-1)
    residuals = (image - values[..., None] * vectors).norm(dim=-1)
    return Ritz(values, vectors, residuals, steps)
