"""Polynomials of several variables, and their exact expectations over random directions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammainc
from torch import Tensor

from gradlab.worlds.base import GradientMoments

#: A variance that is smaller than this share of its terms is rounding.
_ROUNDING = 1e-14

#: E[u^e] of a random direction u for exponents [..., p], as [...].
MonomialMoment = Callable[[NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Polynomial:
    """Σ_k c_k Π_i x_i^{e_ki}, float64.

    Attributes:
        exponents: e, [terms, p], not negative, each row once.
        coefficients: c, [terms].

    Example:
        >>> x, y = Polynomial.variable(0, 2), Polynomial.variable(1, 2)
        >>> (x * x + 3.0 * y)(torch.tensor([[2.0, 1.0]]))
        tensor([7.], dtype=torch.float64)
        >>> (x * x * y).derivative(0)(torch.tensor([2.0, 5.0]))
        tensor(20., dtype=torch.float64)
    """

    exponents: NDArray[np.int64]
    coefficients: NDArray[np.float64]

    @classmethod
    def constant(cls, value: float, size: int) -> Polynomial:
        """The same value everywhere, in ``size`` variables."""
        return cls(np.zeros((1, size), dtype=np.int64), np.array([float(value)]))

    @classmethod
    def variable(cls, index: int, size: int) -> Polynomial:
        """The variable x_index of ``size``."""
        return cls(np.eye(size, dtype=np.int64)[index : index + 1], np.ones(1))

    @classmethod
    def from_forms(cls, forms: Sequence[Tensor]) -> Polynomial:
        """The Taylor polynomial Σ_k (1/k!) T_k[x, …, x] of derivatives T_k, each of shape [p] * k; T_0 is a number.

        Example:
            >>> q = Polynomial.from_forms([torch.tensor(1.0), torch.tensor([2.0]), torch.tensor([[6.0]])])
            >>> q(torch.tensor([2.0]))  # 1 + 2x + 3x²
            tensor(17., dtype=torch.float64)
        """
        size = max(form.shape[0] for form in forms if form.ndim)
        exponents, coefficients = [], []
        for order, form in enumerate(forms):
            where = np.indices(form.shape).reshape(order, form.numel()).T  # [p**k, k]
            exponents.append(np.eye(size, dtype=np.int64)[where].sum(1).reshape(-1, size))
            coefficients.append(form.double().reshape(-1).numpy() / math.factorial(order))
        return _merged(np.concatenate(exponents), np.concatenate(coefficients))

    @property
    def size(self) -> int:
        """Number p of variables."""
        return int(self.exponents.shape[1])

    def __add__(self, other: Polynomial) -> Polynomial:
        exponents = np.concatenate([self.exponents, other.exponents])
        return _merged(exponents, np.concatenate([self.coefficients, other.coefficients]))

    def __mul__(self, other: Polynomial | float) -> Polynomial:
        if not isinstance(other, Polynomial):
            return Polynomial(self.exponents, self.coefficients * other)
        exponents = (self.exponents[:, None] + other.exponents).reshape(-1, self.size)
        return _merged(exponents, np.outer(self.coefficients, other.coefficients).reshape(-1))

    __rmul__ = __mul__

    def __call__(self, at: Tensor) -> Tensor:
        """Values at points [..., p] → [...], float64, differentiable any number of times."""
        powers = torch.from_numpy(self.exponents)
        # A power of 0 must have derivative 0 at 0 too, so that it is a product and not a call of pow.
        highest = int(self.exponents.max(initial=0))
        ladder = [torch.ones_like(at, dtype=torch.float64)]
        for _ in range(highest):
            ladder.append(ladder[-1] * at)
        table = torch.stack(ladder, -1)  # [..., p, highest + 1]
        product = table[..., 0, :][..., powers[:, 0]]
        for i in range(1, self.size):
            product = product * table[..., i, :][..., powers[:, i]]
        return product @ torch.from_numpy(self.coefficients)

    def derivative(self, index: int) -> Polynomial:
        """∂/∂x_index."""
        lowered = self.exponents.copy()
        lowered[:, index] = np.maximum(lowered[:, index] - 1, 0)
        return _merged(lowered, self.coefficients * self.exponents[:, index])

    def stretched(self, factors: float | Tensor) -> Polynomial:
        """The polynomial x ↦ self(factors · x), factors a number or [p]."""
        by = np.broadcast_to(np.asarray(factors, dtype=np.float64), (self.size,))
        return Polynomial(self.exponents, self.coefficients * np.prod(by**self.exponents, axis=-1))

    def odd(self) -> Polynomial:
        """The part (self(x) − self(−x)) / 2."""
        keep = self.exponents.sum(-1) % 2 == 1
        return Polynomial(self.exponents[keep], self.coefficients[keep])

    def mean(self, moment: MonomialMoment) -> float:
        """E[self(u)], exact."""
        return math.fsum(self.coefficients * moment(self.exponents))

    def inner(self, other: Polynomial, moment: MonomialMoment) -> float:
        """E[self(u) other(u)], exact, without forming the product."""
        left, right = _groups(self.exponents, other.exponents, moment)
        total = []
        for group in np.intersect1d(left[left >= 0], right[right >= 0]):
            ours, theirs = left == group, right == group
            moments = moment(self.exponents[ours, None] + other.exponents[theirs])
            terms = self.coefficients[ours, None] * other.coefficients[theirs] * moments
            total.append(math.fsum(terms.reshape(-1)))
        return math.fsum(total)


def _groups(
    left: NDArray[np.int64], right: NDArray[np.int64], moment: MonomialMoment
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels of monomials, such that only products within a group have a moment at all; −1 for none with any.

    Of symmetric laws every odd moment vanishes, so that both factors are odd in the same variables; along a coordinate
    every product of two variables is zero.
    """
    both = np.concatenate([left, right])
    if moment is coordinate_moment:
        labels = np.where((both > 0).sum(-1) > 1, -1, 0)
    else:
        labels = np.unique(both % 2, axis=0, return_inverse=True)[1].reshape(-1)
    return labels[: len(left)], labels[len(left) :]


def _merged(exponents: NDArray[np.int64], coefficients: NDArray[np.float64]) -> Polynomial:
    rows, which = np.unique(exponents, axis=0, return_inverse=True)
    total = np.zeros(len(rows))
    np.add.at(total, which.reshape(-1), coefficients)
    return Polynomial(rows, total)


def vector_moments(draw: Sequence[Polynomial], moment: MonomialMoment) -> GradientMoments:
    """Mean [k] and trace of the covariance of a vector whose k components are polynomials of u.

    Example:
        >>> x = Polynomial.variable(0, 1)
        >>> vector_moments([x, x * x], gaussian_moment)
        GradientMoments(mean=tensor([0., 1.], dtype=torch.float64), variance=3.0)
    """
    means = [component.mean(moment) for component in draw]
    # Centred before it is squared: the difference of two large moments would lose digits.
    centred = [c + Polynomial.constant(-m, c.size) for c, m in zip(draw, means, strict=True)]
    variance = math.fsum(component.inner(component, moment) for component in centred)
    sizes = [Polynomial(c.exponents, np.abs(c.coefficients)) for c in centred]
    # Of a draw that is always the same only rounding is left.
    rounding = _ROUNDING * math.fsum(size.inner(size, moment) for size in sizes)
    return GradientMoments(torch.tensor(means, dtype=torch.float64), variance if variance > rounding else 0.0)


# Moments of random directions ----------------------------------------------------------------------------------


def product_moment(univariate: Callable[[int], float]) -> MonomialMoment:
    """The moments Π_i m_{e_i} of independent coordinates that share the moments m_j."""

    def moment(exponents: NDArray[np.int64]) -> NDArray[np.float64]:
        table = np.array([univariate(order) for order in range(int(exponents.max(initial=0)) + 1)])
        product: NDArray[np.float64] = table[exponents].prod(-1)
        return product

    return moment


def normal_moment(order: int) -> float:
    """E[z^order] for z ~ N(0, 1): (order − 1)!! for even orders.

    Example:
        >>> [normal_moment(order) for order in (0, 1, 2, 4, 6)]
        [1.0, 0.0, 1.0, 3.0, 15.0]
    """
    return 0.0 if order % 2 else float(math.prod(range(1, order, 2)))


def clipped_normal_moment(order: int, std: float, bound: float) -> float:
    """E[clip(σz, −c, c)^order] for z ~ N(0, 1).

    With k = c/σ: σ^order (I_order + 2 k^order Φ(−k)), where I_j = ∫_{−k}^{k} z^j φ is
    (j − 1)!! times the regularised incomplete gamma function at ((j + 1)/2, k²/2).

    Example:
        >>> round(clipped_normal_moment(2, 0.2, 0.5), 4)  # TD3's target noise
        0.0391
    """
    if order % 2:
        return 0.0
    k = bound / std
    inside = normal_moment(order) * gammainc((order + 1) / 2, k**2 / 2)
    return float(std**order * (inside + k**order * math.erfc(k / math.sqrt(2))))


def sphere_moment(exponents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Moments of u uniform on the sphere of radius √p.

    A normal vector is a radius times an independent direction, so for even degree 2k the moment is the normal one
    times p^k / (p (p + 2) ⋯ (p + 2k − 2)) (Folland 2001, "How to integrate a polynomial over a sphere").

    Example:
        >>> sphere_moment(np.array([[2, 0], [2, 2], [4, 0]]))
        array([1. , 0.5, 1.5])
    """
    p, degrees = exponents.shape[-1], exponents.sum(-1)
    ratio = np.array([_sphere_ratio(p, degree) for degree in range(int(degrees.max(initial=0)) + 1)])
    moments: NDArray[np.float64] = gaussian_moment(exponents) * ratio[degrees]
    return moments


def _sphere_ratio(size: int, degree: int) -> float:
    return math.prod(size / (size + 2 * j) for j in range(degree // 2))


def coordinate_moment(exponents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Moments of u = √p e_i, i uniform.

    They are p^{e/2 − 1} where one exponent e alone is positive, 1 where none is, 0 elsewhere. Without a random sign
    odd moments do not vanish.

    Example:
        >>> coordinate_moment(np.array([[0, 0], [2, 0], [0, 4], [1, 1]]))
        array([1., 1., 2., 0.])
    """
    p, degrees, used = exponents.shape[-1], exponents.sum(-1), (exponents > 0).sum(-1)
    alone = float(p) ** (degrees / 2 - 1)
    return np.where(used == 0, 1.0, np.where(used == 1, alone, 0.0))


gaussian_moment: MonomialMoment = product_moment(normal_moment)
rademacher_moment: MonomialMoment = product_moment(lambda order: float(order % 2 == 0))
