"""Exact expectations of products of quadratic forms of Gaussian noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.worlds.base import GradientMoments


@dataclass(frozen=True)
class Form:
    """The random number c + ξᵀMξ, ξ ~ N(0, I).

    Attributes:
        matrix: M, [d, d], symmetric, float64.
        constant: c.

    Example:
        >>> square = Form.product(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
        >>> expectation([square, square, square])  # E x⁶
        15.0
    """

    matrix: Tensor
    constant: float = 0.0

    @classmethod
    def product(cls, left: Tensor, right: Tensor) -> Form:
        """(leftᵀξ)(rightᵀξ) for vectors [d]."""
        outer = torch.outer(left, right).double()
        return cls((outer + outer.T) / 2)

    @classmethod
    def square(cls, linear: Tensor, matrix: Tensor) -> Form:
        """(Lξ)ᵀ M (Lξ) for L [k, d] and a symmetric M [k, k]."""
        return cls(linear.T @ matrix @ linear)

    def __add__(self, other: Form) -> Form:
        return Form(self.matrix + other.matrix, self.constant + other.constant)

    def __sub__(self, other: Form | float) -> Form:
        if isinstance(other, Form):
            return self + other * -1.0
        return Form(self.matrix, self.constant - other)

    def __mul__(self, factor: float) -> Form:
        return Form(self.matrix * factor, self.constant * factor)


def expectation(forms: Sequence[Form]) -> float:
    """E Π_i (c_i + ξᵀM_iξ), exact.

    The expectation of a product is the sum over partitions of the factors of products of joint cumulants, and quadratic
    forms have κ(M_1) = c_1 + tr M_1 and κ(M_1 … M_k) = 2^{k−1} Σ_σ tr(M_1 M_σ2 ⋯ M_σk) over the (k − 1)! orders of
    the others. Source: Mathai & Provost 1992, *Quadratic forms in random variables*, chapter 3.

    Args:
        forms: a few forms of the same noise; the work grows with the factorial of their number.
    """
    if not forms:
        return 1.0
    first, others = forms[0], forms[1:]
    total = 0.0
    for size in range(len(others) + 1):
        for chosen in itertools.combinations(range(len(others)), size):
            rest = [form for i, form in enumerate(others) if i not in chosen]
            total += _cumulant(first, [others[i] for i in chosen]) * expectation(rest)
    return total


def _cumulant(first: Form, others: Sequence[Form]) -> float:
    if not others:
        return first.constant + float(first.matrix.trace())
    total = 0.0
    for order in itertools.permutations(others):
        product = first.matrix
        for form in order[:-1]:
            product = product @ form.matrix
        total += float((product * order[-1].matrix.T).sum())
    return 2.0 ** len(others) * total


def gradient_moments(components: Sequence[Sequence[tuple[Form, Form]]], shape: tuple[int, ...]) -> GradientMoments:
    """Mean and trace of the covariance of a vector whose components are sums of products of two forms.

    Args:
        components: for each component the pairs (F, U) of Σ F U.
        shape: the shape that the mean is to have.
    """
    means = [sum(expectation(pair) for pair in pairs) for pairs in components]
    variance = 0.0
    for mean, pairs in zip(means, components, strict=True):
        # Twice the sum over pairs of terms, once the squares: the covariance of two terms is symmetric.
        for i, pair in enumerate(pairs):
            variance += expectation([*pair, *pair])
            variance += 2 * sum(expectation([*pair, *other]) for other in pairs[i + 1 :])
        variance -= mean**2
    return GradientMoments(torch.tensor(means, dtype=torch.float64).reshape(shape), variance)
