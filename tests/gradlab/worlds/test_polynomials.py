"""Polynomials against direct evaluation, and moments of directions against enumeration, integration and sampling."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from gradlab.errors import GradlabError
from gradlab.estimators.directions import DIRECTIONS, ClippedGaussian
from gradlab.worlds import Polynomial
from gradlab.worlds.direction_kinds import KINDS, direction_kind
from gradlab.worlds.polynomials import clipped_normal_moment, vector_moments


def symmetric(order, size, generator):
    form = torch.randn([size] * order, generator=generator, dtype=torch.float64)
    orders = list(itertools.permutations(range(order)))
    return sum(form.permute(p) for p in orders) / len(orders) if order else form


def contract(form, x):
    while form.ndim:
        form = form @ x
    return form


@pytest.mark.parametrize("size", [1, 2, 4])
def test_taylor_polynomial(size):
    generator = torch.Generator().manual_seed(size)
    forms = [symmetric(order, size, generator) for order in range(5)]
    q = Polynomial.from_forms(forms)
    for x in torch.randn(5, size, generator=generator, dtype=torch.float64):
        direct = sum(contract(form, x) / math.factorial(k) for k, form in enumerate(forms))
        assert q(x).item() == pytest.approx(direct.item(), rel=1e-12)
        assert (q * q + q)(x).item() == pytest.approx(direct.item() ** 2 + direct.item(), rel=1e-11)
        odd = sum(contract(form, x) / math.factorial(k) for k, form in enumerate(forms) if k % 2)
        assert q.odd()(x).item() == pytest.approx(odd.item(), rel=1e-11)
        factors = torch.linspace(0.5, 2, size).double()
        assert q.stretched(factors)(x).item() == pytest.approx(q(factors * x).item(), rel=1e-12)
        gradient = torch.autograd.functional.jacobian(q, x)
        assert torch.allclose(gradient, torch.stack([q.derivative(i)(x) for i in range(size)]))


def test_derivatives_at_zero_are_finite():
    """A power written as x**0 would give 0·x⁻¹ there."""
    x = torch.zeros(2, dtype=torch.float64)
    q = Polynomial.from_forms([torch.tensor(1.0), torch.tensor([2.0, 3.0]), 2 * torch.eye(2)])
    assert torch.autograd.functional.jacobian(q, x).tolist() == [2.0, 3.0]
    assert torch.autograd.functional.hessian(q, x).tolist() == [[2.0, 0.0], [0.0, 2.0]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_moments_against_the_quadrature_rule(kind, size):
    """Two ways that share nothing: algebra of moments, and weighted points."""
    exponents = np.array([e for e in itertools.product(range(7), repeat=size) if sum(e) <= 8])
    # The clipped normal's density is not a polynomial, so that its rule is accurate rather than exact.
    points, weights = direction_kind(kind).rule(size, 6 if kind != "clipped" else 20)
    direct = [float(weights @ (points ** torch.from_numpy(e)).prod(-1)) for e in exponents]
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-13)
    assert direct == pytest.approx(KINDS[kind].moment(exponents).tolist(), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_moments_against_the_directions_that_are_drawn(kind):
    size, n = 3, 400_000
    u = DIRECTIONS[kind].draw((n, 1, size), torch.Generator().manual_seed(5), torch.zeros(0).double())[:, 0]
    exponents = np.array([e for e in itertools.product(range(5), repeat=size) if 0 < sum(e) <= 4])
    values = (u.unsqueeze(1) ** torch.from_numpy(exponents)).prod(-1)
    error = values.mean(0) - torch.from_numpy(KINDS[kind].moment(exponents))
    assert (error.abs() <= 4.5 * values.std(0) / math.sqrt(n) + 1e-12).all()


@pytest.mark.parametrize(("std", "bound"), [(0.2, 0.5), (1.0, 0.3), (0.5, 3.0)])
@pytest.mark.parametrize("order", [0, 1, 2, 4, 6, 8])
def test_clipped_normal_moments(std, bound, order):
    density = norm(0, std).pdf
    inside = quad(lambda x: x**order * density(x), -bound, bound, epsabs=1e-14, epsrel=1e-13)[0]
    atoms = (bound**order + (-bound) ** order) * norm.sf(bound / std)
    assert clipped_normal_moment(order, std, bound) == pytest.approx(inside + atoms, rel=1e-10, abs=1e-15)


def test_the_clipped_second_moment_is_the_directions_own():
    law = ClippedGaussian(0.3, 0.4)
    assert clipped_normal_moment(2, 0.3, 0.4) == pytest.approx(law.second_moment, rel=1e-12)
    assert direction_kind(law).moment(np.array([[2]]))[0] == pytest.approx(law.second_moment, rel=1e-12)
    assert clipped_normal_moment(2, 0.2, 0.5) == pytest.approx(0.0391, abs=5e-5)


def test_vector_moments_keep_their_digits():
    """A large constant must not cost the variance its digits."""
    x = Polynomial.variable(0, 1)
    mean, variance = vector_moments([x + Polynomial.constant(1e8, 1)], KINDS["gaussian"].moment)
    assert mean.item() == 1e8
    assert variance == pytest.approx(1.0, rel=1e-12)


def test_averaging():
    coordinate, gaussian = KINDS["coordinate"], KINDS["gaussian"]
    assert [gaussian.averaging(k, 5) for k in (1, 4)] == [1.0, 0.25]
    assert [coordinate.averaging(k, 5) for k in (1, 5)] == [1.0, 0.0]
    with pytest.raises(GradlabError, match="count"):
        coordinate.averaging(6, 5)
    with pytest.raises(GradlabError, match="not known"):
        direction_kind("diagonal")
