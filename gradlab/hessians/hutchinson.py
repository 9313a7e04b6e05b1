"""One Hessian's trace and Frobenius norm from its products with random vectors: Hutchinson's estimates and Hutch++."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradlab.arguments import real_tensor, shown, whole
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.hessians.points import own_generator
from gradlab.hessians.probing import Probed, forms, probed, remainder
from gradlab.hessians.products import Product
from gradlab.hessians.rounds import Probes, blocks, check_kind, probing_vectors, wanted

#: Vectors [N, p] → H v, [N, p].
Products = Callable[[Tensor], Tensor]


def hutchinson_trace(
    hessian: Tensor | Products,
    size: int | None = None,
    *,
    probes: int = 64,
    kind: Probes = "rademacher",
    error: float | None = None,
    relative: bool = False,
    most: int = 4096,
    generator: torch.Generator | None = None,
) -> Estimate:
    """The mean over probes v of vᵀHv, which is tr H in expectation.

    The trace says nothing of the largest eigenvalue: diag(1, −5) has trace −4 and is no maximum. H need not be
    symmetric; vᵀHv sees its symmetric part, which has the same trace.
    Source: Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix".

    Args:
        hessian: H, [p, p], a tensor, an array or lists; or its products, vectors [N, p] → [N, p], in float64.
        size: p, where products are given.
        probes: number of independent vectors v; in the first round, where an error is wanted.
        kind: "rademacher" (signs; never worse) or "gaussian".
        error: standard error wanted: rounds, each doubling the number of probes, are drawn until it is reached; None
            to draw ``probes`` and stop. Intervals are then a little short, as ``traces`` says.
        relative: whether the error is relative to the estimate's magnitude.
        most: probes never exceeded; where they do not reach the error, the estimate's ``caveat`` says so.
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
    product, length = _product(hessian, size)
    want, source = wanted(probes, error, relative, most), own_generator(generator)
    return _estimate(probed(forms(product, (1, length), kind, source), want), error)


def hutchinson_frobenius(
    hessian: Tensor | Products,
    size: int | None = None,
    *,
    probes: int = 64,
    kind: Probes = "rademacher",
    error: float | None = None,
    relative: bool = False,
    most: int = 4096,
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
        error: likewise.
        relative: likewise.
        most: likewise.
        generator: likewise.

    Raises:
        GradlabError: as in ``hutchinson_trace``.

    Example:
        >>> H = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        >>> (torch.ones(2) @ H).square().sum(), hutchinson_frobenius(H, probes=4).value
        (tensor(0.), 2.0)
    """
    check_kind(kind)
    product, length = _product(hessian, size)
    want, source = wanted(probes, error, relative, most), own_generator(generator)

    def draw(count: int) -> Tensor:
        vectors = [probing_vectors(kind, (some, 1, length), source) for some in blocks(count, 1, length)]
        return torch.cat([product(some).square().sum(-1) for some in vectors])

    return _estimate(probed(draw, want), error)


def hutchplusplus_trace(
    hessian: Tensor | Products,
    size: int | None = None,
    *,
    probes: int = 96,
    sketch: int | None = None,
    kind: Probes = "rademacher",
    error: float | None = None,
    relative: bool = False,
    most: int = 4096,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Tr H by Hutch++: exactly on the range of a random sketch of H, by Hutchinson's estimator on what is left.

    There is no error where the rank of H is at most ``sketch``; ``traces`` gives the formula. H need not be symmetric.
    Source: Meyer, Musco, Musco & Woodruff 2021, "Hutch++: optimal stochastic trace estimation", algorithm 1.

    Args:
        hessian: as in ``hutchinson_trace``.
        size: likewise.
        probes: products with H, 2·sketch of them for the sketch.
        sketch: number of random directions that H is sketched with; a third of ``probes`` or less, when None.
        kind: as in ``hutchinson_trace``.
        error: likewise.
        relative: likewise.
        most: likewise.
        generator: likewise.

    Returns:
        The estimate, whose samples are the probes of the remainder.

    Raises:
        GradlabError: as in ``hutchinson_trace``, or no probe is left beside the sketch.

    Example:
        >>> u = torch.linspace(-1, 1, 50).double()
        >>> found = hutchplusplus_trace(torch.outer(u, u), probes=12)  # of rank one
        >>> abs(found.value - float(u @ u)) < 1e-9, found.stderr < 1e-9
        (True, True)
    """
    product, length = _product(hessian, size)
    want, source = wanted(probes, error, relative, most), own_generator(generator)
    draw, spent = remainder(product, (1, length), kind, source, want, sketch)
    return _estimate(probed(draw, want, spent), error)


def hutchinson_variance(hessian: Any, kind: Probes = "rademacher") -> float:
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
    check_kind(kind)
    matrix = _square(hessian)
    symmetric = (matrix + matrix.T) / 2
    total = float(symmetric.square().sum())
    return 2 * (total if kind == "gaussian" else total - float(symmetric.diagonal().square().sum()))


def _product(hessian: Tensor | Products, size: int | None) -> tuple[Product, int]:
    """Products with vectors [N, 1, p], float64 and checked, and p."""
    if not callable(hessian):
        matrix = _square(hessian)
        return lambda vectors: vectors.to(matrix) @ matrix.T, len(matrix)
    if not whole(size, 1):
        raise GradlabError(f"hutchinson: size {shown(size)}; give it, at least 1, where H is a function")
    length = int(size or 0)

    def product(vectors: Tensor) -> Tensor:
        image = hessian(vectors[:, 0])
        if not isinstance(image, Tensor):
            raise GradlabError(f"hutchinson: products are {shown(image)}; give a tensor, one row a probe")
        result = image.detach().to(vectors)
        count = len(vectors)
        if result.shape != (count, length):
            raise GradlabError(
                f"hutchinson: products have shape {tuple(result.shape)}; expected {(count, length)}, one a probe"
            )
        if not bool(torch.isfinite(result).all()):
            bad = int((~torch.isfinite(result)).any(-1).sum())
            raise GradlabError(f"hutchinson: {bad} of {count} products are NaN or infinite; has the critic diverged?")
        return result[:, None]

    return product, length


def _estimate(found: Probed, error: float | None) -> Estimate:
    if found.reached is not False:
        return found.mean
    return replace(found.mean, caveat=f"the error wanted, {error:g}, was not reached in {found.products} products")


def _square(given: Any) -> Tensor:
    matrix = real_tensor("hessian", given)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise GradlabError(f"hutchinson: H has shape {tuple(matrix.shape)}; expected a square matrix")
    if not bool(torch.isfinite(matrix).all()):
        raise GradlabError("hutchinson: H has NaN or infinite entries; has the critic diverged?")
    return matrix.detach().double()
