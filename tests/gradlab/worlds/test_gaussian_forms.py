"""Expectations of products of quadratic forms against quadrature and known moments."""

import math

import pytest
import torch

from gradlab.quadrature import gauss_hermite
from gradlab.worlds.gaussian_forms import Form, expectation, gradient_moments


def random_forms(count, size=3):
    generator = torch.Generator().manual_seed(0)
    out = []
    for i in range(count):
        matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
        out.append(Form((matrix + matrix.T) / 2, constant=0.3 * i - 0.5))
    return out


def values(form, xi):
    return form.constant + torch.einsum("bi,ij,bj->b", xi, form.matrix, xi)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_against_quadrature(count):
    forms = random_forms(count)
    xi, weight = gauss_hermite(3, count + 1)
    product = torch.stack([values(form, xi) for form in forms]).prod(0)
    assert expectation(forms) == pytest.approx((weight @ product).item(), rel=1e-11)


def test_powers_of_chi_square():
    """E (χ²_k)^r = k (k + 2) … (k + 2r − 2)."""
    for k in (1, 2, 5):
        square = Form(torch.eye(k).double())
        for r in (1, 2, 3, 4, 5):
            assert expectation([square] * r) == pytest.approx(math.prod(k + 2 * i for i in range(r)))


def test_arithmetic():
    a, b = random_forms(2)
    xi, _ = gauss_hermite(3, 2)
    got = (a + b) * 2.0 - b - 0.7
    assert torch.allclose(values(got, xi), 2 * values(a, xi) + values(b, xi) - 0.7)
    left, right = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.0, 1.0, 3.0]).double()
    assert torch.allclose(values(Form.product(left, right), xi), (xi @ left) * (xi @ right))
    linear = torch.stack([left, right])
    matrix = torch.tensor([[1.0, 0.2], [0.2, -3.0]]).double()
    seen = xi @ linear.T
    assert torch.allclose(values(Form.square(linear, matrix), xi), torch.einsum("bi,ij,bj->b", seen, matrix, seen))


def test_moments_of_vectors():
    a, b, c, d = random_forms(4)
    components = [[(a, b), (c, d)], [(b, c)]]
    xi, weight = gauss_hermite(3, 5)
    va, vb, vc, vd = (values(form, xi) for form in (a, b, c, d))
    draws = torch.stack([va * vb + vc * vd, vb * vc], 1)
    mean = weight @ draws
    got = gradient_moments(components, (2,))
    assert torch.allclose(got.mean, mean)
    assert got.variance == pytest.approx((weight @ (draws - mean).square().sum(1)).item(), rel=1e-10)
