"""Extreme eigenvalues of ∇²_aa Q and the spectral norm of ∇²_as Q, without forming either."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.arguments import real_number, switch, whole_number
from gradlab.errors import GradlabError
from gradlab.hessians.krylov import Ritz, lanczos
from gradlab.hessians.points import own_generator
from gradlab.hessians.products import HessianProducts, Product, checked_products

#: Numbers that the basis of a chunk of states may hold (128 MB in float64).
_NUMBERS = 2**24


@dataclass(frozen=True)
class ExtremeEigenvalues:
    """The lowest and the highest eigenvalue of ∇²_aa Q in each state, each with a bound on its error.

    The bound is deterministic, not statistical: *some* eigenvalue lies within it of the value, and the highest is never
    below ``highest`` nor the lowest above ``lowest`` (rounding apart). That it is the extreme eigenvalue itself is not
    proved by products, but holds for all but a vanishing share of random starts.

    Attributes:
        lowest: [B], float64.
        highest: [B].
        lowest_error: the bound of ``lowest``, [B].
        highest_error: the bound of ``highest``, [B].
        direction: unit eigenvector of the highest, [B, p]: the direction in which Q is bent down least.
        steps: products with the matrix.
        reached: whether every bound is as small as wanted.
    """

    lowest: Tensor
    highest: Tensor
    lowest_error: Tensor
    highest_error: Tensor
    direction: Tensor
    steps: int
    reached: bool

    @property
    def curvature(self) -> Tensor:
        """μ = −λ_max, [B]; the truth is at most this, and at least this less ``highest_error``."""
        return -self.highest


@dataclass(frozen=True)
class SpectralNorms:
    """M = ‖∇²_as Q‖₂ in each state, with a bound on its error, deterministic as in ``ExtremeEigenvalues``.

    Attributes:
        value: [B], float64; never above the truth (rounding apart).
        error: *some* singular value lies within this of ``value``, [B].
        steps: products with the matrix, and as many with its transpose.
        reached: whether every bound is as small as wanted.
    """

    value: Tensor
    error: Tensor
    steps: int
    reached: bool


def extreme_eigenvalues(
    products: HessianProducts,
    *,
    error: float = 1e-8,
    relative: bool = True,
    most: int = 300,
    generator: torch.Generator | None = None,
) -> ExtremeEigenvalues:
    """λ_min and λ_max of ∇²_aa Q at each state by Lanczos, for actions too many for a matrix (p > 64, say).

    The bound of a Ritz pair (θ, y) is its residual ‖Hy − θy‖, for a symmetric H has an eigenvalue that near to θ
    (B. Parlett 1980, *The symmetric eigenvalue problem*, theorem 4.5.1); it is found with one product more, so that
    rounding and, at a scale, products that are not quite linear are in it. At a scale it is a bound about the
    differences, not about the derivatives that they approximate. p steps are always enough.

    Args:
        products: of ``hessian_products``.
        error: the bound wanted, in every state.
        relative: whether it is relative to the larger of |λ_min| and |λ_max|.
        most: steps never exceeded.
        generator: of the random start; one of its own, freshly seeded, when None.

    Raises:
        GradlabError: an argument is none of these, or the products are not linear.

    Example:
        >>> from gradlab.hessians.products import matrix_products
        >>> found = extreme_eigenvalues(matrix_products(torch.diag(torch.tensor([1.0, -5.0]))[None]))
        >>> round(found.lowest.item(), 9), round(found.highest.item(), 9)
        (-5.0, 1.0)
    """
    want, limit, source = _checked(products, error, relative, most, generator)

    def met(values: Tensor, residuals: Tensor) -> bool:
        size = values.abs().amax(-1, keepdim=True) if relative else torch.ones_like(values[:, :1])
        return bool((residuals <= want * size).all())

    size = products.action_size
    found = _in_chunks(products, size, lambda some: some.action, met, limit, source)
    return ExtremeEigenvalues(
        lowest=found.values[:, 0],
        highest=found.values[:, 1],
        lowest_error=found.residuals[:, 0],
        highest_error=found.residuals[:, 1],
        direction=found.vectors[:, 1],
        steps=found.steps,
        reached=met(found.values, found.residuals),
    )


def spectral_norms(
    products: HessianProducts,
    *,
    error: float = 1e-8,
    relative: bool = True,
    most: int = 300,
    generator: torch.Generator | None = None,
) -> SpectralNorms:
    """M = ‖∇²_as Q‖₂ at each state by Lanczos on the smaller of ∇²_as Q ∇²_sa Q and ∇²_sa Q ∇²_as Q.

    Where θ is the highest Ritz value and r its residual, a singular value σ has |σ² − θ| ≤ r, hence
    |σ − √θ| ≤ min(r/√θ, √r), which is the bound given.

    Args:
        products: of ``hessian_products``.
        error: the bound wanted, in every state.
        relative: whether it is relative to M.
        most: steps never exceeded.
        generator: of the random start; one of its own, freshly seeded, when None.

    Raises:
        GradlabError: as in ``extreme_eigenvalues``.

    Example:
        >>> from gradlab.hessians.products import matrix_products
        >>> H = matrix_products(torch.zeros(1, 2, 2), torch.tensor([[[3.0, 0.0, 4.0], [0.0, 1.0, 0.0]]]))
        >>> round(spectral_norms(H).value.item(), 9)
        5.0
    """
    want, limit, source = _checked(products, error, relative, most, generator)

    def bound(values: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
        root = values[:, -1].clamp_min(0).sqrt()
        residual = residuals[:, -1]
        # Where θ vanishes the first bound has nothing to say.
        return root, torch.minimum(residual / root.clamp_min(math.sqrt(torch.finfo(root.dtype).tiny)), residual.sqrt())

    def met(values: Tensor, residuals: Tensor) -> bool:
        root, within = bound(values, residuals)
        return bool((within <= want * (root if relative else torch.ones_like(root))).all())

    def gram(some: HessianProducts) -> Product:
        if some.action_size <= some.obs_size:
            return lambda vectors: some.mixed(some.mixed_transposed(vectors))
        return lambda vectors: some.mixed_transposed(some.mixed(vectors))

    size = min(products.action_size, products.obs_size)
    if size == 0:
        raise GradlabError("products: they have no ∇²_as Q; give it to matrix_products")
    found = _in_chunks(products, size, gram, met, limit, source)
    value, within = bound(found.values, found.residuals)
    return SpectralNorms(value, within, found.steps, met(found.values, found.residuals))


def _checked(
    products: HessianProducts, error: float, relative: bool, most: int, generator: torch.Generator | None
) -> tuple[float, int, torch.Generator]:
    if not checked_products(products).linear:
        raise GradlabError(
            "lanczos: products at a scale on a piecewise-linear critic are not linear; take the eigenvalues of "
            f"second_derivatives(..., scale={products.scale:g})"
        )
    switch("relative", relative)
    return real_number("error", error, above=0.0), whole_number("most", most, 1), own_generator(generator)


def _in_chunks(
    products: HessianProducts,
    size: int,
    product: Callable[[HessianProducts], Product],
    met: Callable[[Tensor, Tensor], bool],
    most: int,
    source: torch.Generator,
) -> Ritz:
    """Lanczos a chunk of states at a time, so that the bases stay near 128 MB."""
    steps = min(most, size)
    width = max(1, _NUMBERS // (steps * (size + steps)))
    parts = []
    for start in range(0, products.states, width):
        some = products.at(slice(start, start + width))
        parts.append(lanczos(product(some), some.states, size, met, most, source))
    return Ritz(
        torch.cat([part.values for part in parts]),
        torch.cat([part.vectors for part in parts]),
        torch.cat([part.residuals for part in parts]),
        max(part.steps for part in parts),
    )
