"""Hutchinson's estimates of a Hessian's trace and Frobenius norm from Hessian–vector products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate

#: Laws of the probing vectors v; both have E vvᵀ = I.
Probes = Literal["rademacher", "gaussian"]
#: Vectors [N, p] → H v, [N, p].
Products = Callable[[Tensor], Tensor]


def hutchinson_trace(
    hessian: Tensor | Products,
    size: int | None = None,
    *,
    probes: int = 64,
    kind: Probes = "rademacher",
    generator: torch.Generator | None = None,
) -> Estimate:
    """The mean over probes v of vᵀHv, which is tr H in expectation.

    The trace says nothing of the largest eigenvalue: diag(1, −5) has trace −4 and is no maximum. H need not be
    symmetric; vᵀHv sees its symmetric part, which has the same trace.
    Source: Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix".

    Args:
        hessian: H, [p, p]; or its products, vectors [N, p] → [N, p], in float64.
        size: p, where products are given.
        probes: number of independent vectors v.
        kind: "rademacher" (signs; never worse) or "gaussian".
        generator: source of the randomness; one of its own, freshly seeded, when None.

    Returns:
        The estimate, with the probes as samples; ``hutchinson_variance`` over ``probes`` is its true variance.

    Raises:
        GradlabError: an argument is none of these, shapes do not fit, or a product is not finite.

    Example:
        >>> H = torch.diag(torch.tensor([1.0, -5.0]))
        >>> print(hutchinson_trace(H, probes=8))  # signs make no error on a diagonal
        -4 ± 0 (n=8)
    """
    vectors, products = _probe(hessian, size, probes, kind, generator)
    return _mean((vectors * products).sum(-1))


def hutchinson_frobenius(
    hessian: Tensor | Products,
    size: int | None = None,
    *,
    probes: int = 64,
    kind: Probes = "rademacher",
    generator: torch.Generator | None = None,
) -> Estimate:
    """The mean over probes v of ‖Hv‖², which is ‖H‖_F² in expectation.

    The probes must be random: one product with the vector of ones, which is what differentiating a *sum* of gradient
    components gives, can be zero for a Hessian that is not ([[1, 0], [−1, 0]] transposed).

    Args:
        hessian: as in ``hutchinson_trace``.
        size: likewise.
        probes: likewise.
        kind: likewise.
        generator: likewise.

    Raises:
        GradlabError: as in ``hutchinson_trace``.

    Example:
        >>> H = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        >>> (torch.ones(2) @ H).square().sum(), hutchinson_frobenius(H, probes=4).value
        (tensor(0.), 2.0)
    """
    _, products = _probe(hessian, size, probes, kind, generator)
    return _mean(products.square().sum(-1))


def hutchinson_variance(hessian: Tensor, kind: Probes = "rademacher") -> float:
    """The variance of one probe's vᵀHv: 2 Σ_{i≠j} S_ij² for signs, 2 ‖S‖_F² for normal vectors, S = (H + Hᵀ)/2.

    Source: Avron & Toledo 2011, "Randomized algorithms for estimating the trace".

    Args:
        hessian: H, [p, p].
        kind: "rademacher" or "gaussian".

    Raises:
        GradlabError: the matrix is not square, or the kind is none of these.

    Example:
        >>> H = torch.tensor([[1.0, 2.0], [2.0, 3.0]])
        >>> hutchinson_variance(H), hutchinson_variance(H, "gaussian")
        (16.0, 36.0)
    """
    _check(kind)
    matrix = _square(hessian)
    symmetric = (matrix + matrix.T) / 2
    total = float(symmetric.square().sum())
    return 2 * (total if kind == "gaussian" else total - float(symmetric.diagonal().square().sum()))


def _probe(
    hessian: Tensor | Products, size: int | None, probes: int, kind: Probes, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Probing vectors and their products with H, both [probes, p], float64."""
    _check(kind)
    if isinstance(hessian, Tensor):
        matrix = _square(hessian)
        return _probe(lambda vectors: vectors @ matrix.T.to(vectors), len(matrix), probes, kind, generator)
    if size is None or size < 1 or probes < 1:
        raise GradlabError(f"hutchinson: size {size}, probes {probes}; give both, at least 1, where H is a function")
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    if kind == "gaussian":
        vectors = torch.randn(probes, size, generator=generator, dtype=torch.float64, device=generator.device)
    else:
        vectors = torch.randint(0, 2, (probes, size), generator=generator, device=generator.device).double() * 2 - 1
    result = hessian(vectors).detach().to(vectors)
    if result.shape != vectors.shape:
        raise GradlabError(
            f"hutchinson: products have shape {tuple(result.shape)}; expected {tuple(vectors.shape)}, one a probe"
        )
    if not bool(torch.isfinite(result).all()):
        bad = int((~torch.isfinite(result)).any(-1).sum())
        raise GradlabError(f"hutchinson: {bad} of {probes} products are NaN or infinite; has the critic diverged?")
    return vectors, result


def _mean(values: Tensor) -> Estimate:
    count = len(values)
    stderr = float(values.std()) / math.sqrt(count) if count > 1 else math.nan
    return Estimate(float(values.mean()), stderr, count)


def _check(kind: str) -> None:
    if kind not in ("rademacher", "gaussian"):
        raise GradlabError(f"hutchinson: kind is {kind!r}; choose 'rademacher' or 'gaussian'")


def _square(matrix: Tensor) -> Tensor:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise GradlabError(f"hutchinson: H has shape {tuple(matrix.shape)}; expected a square matrix")
    return matrix.detach().double()
