"""Hutchinson's estimates against enumeration, moments of normal vectors, and the traps they are mistaken for."""

import itertools
import math

import pytest
import torch

from gradlab.curvature import hutchinson_frobenius, hutchinson_trace, hutchinson_variance, sensitivity
from gradlab.errors import GradlabError
from gradlab.quadrature import gauss_hermite
from gradlab.worlds import QuadraticBandit

MATRICES = {
    "symmetric": torch.tensor([[1.0, 2.0, -0.5], [2.0, -3.0, 0.7], [-0.5, 0.7, 0.2]]).double(),
    "not symmetric": torch.tensor([[1.0, 4.0, 0.0], [-2.0, -3.0, 1.0], [0.5, 0.0, 2.0]]).double(),
    "diagonal": torch.diag(torch.tensor([1.0, -5.0, 2.0])).double(),
}


@pytest.mark.parametrize("name", MATRICES)
def test_variances_by_enumeration_and_quadrature(name):
    """All signs, and Gauss–Hermite that is exact for the fourth degree."""
    H = MATRICES[name]
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3))).double()
    for kind, (v, weights) in {
        "rademacher": (signs, torch.full((8,), 1 / 8).double()),
        "gaussian": gauss_hermite(3, 4),
    }.items():
        forms = torch.einsum("ni,ij,nj->n", v, H, v)
        mean = weights @ forms
        assert mean.item() == pytest.approx(H.trace().item())
        assert hutchinson_variance(H, kind) == pytest.approx((weights @ (forms - mean) ** 2).item(), abs=1e-12)
        assert (weights @ (v @ H.T).square().sum(-1)).item() == pytest.approx(H.square().sum().item())


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
@pytest.mark.parametrize("name", MATRICES)
def test_estimates(name, kind):
    H, n = MATRICES[name], 200_000
    trace = hutchinson_trace(H, probes=n, kind=kind, generator=torch.Generator().manual_seed(1))
    frobenius = hutchinson_frobenius(H, probes=n, kind=kind, generator=torch.Generator().manual_seed(2))
    assert abs(trace.value - H.trace().item()) <= 4 * trace.stderr + 1e-12
    assert abs(frobenius.value - H.square().sum().item()) <= 4 * frobenius.stderr + 1e-9
    # Relative error of a variance √((κ − 1)/n) is below 2 % here.
    assert trace.stderr**2 * n == pytest.approx(hutchinson_variance(H, kind), rel=0.05, abs=1e-20)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_intervals_hold_the_trace(kind):
    H, held = MATRICES["symmetric"], 0
    for seed in range(400):
        low, high = hutchinson_trace(H, probes=64, kind=kind, generator=torch.Generator().manual_seed(seed)).interval()
        held += low <= H.trace().item() <= high
    assert 0.90 <= held / 400 <= 0.98


def test_signs_are_never_worse():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        H = torch.randn(5, 5, generator=generator, dtype=torch.float64)
        assert hutchinson_variance(H) <= hutchinson_variance(H, "gaussian")


def test_products_of_a_critic():
    """Hessian–vector products by differentiating twice, as for a network too wide for its whole Hessian."""
    H = MATRICES["symmetric"]
    world = QuadraticBandit([1.0, -2.0, 0.5], H)

    def products(vectors):
        at = world.a0.expand(len(vectors), -1).clone().requires_grad_()
        (gradient,) = torch.autograd.grad(world.q(at).sum(), at, create_graph=True)
        return torch.autograd.grad((gradient * vectors).sum(), at)[0]

    by_products = hutchinson_trace(products, 3, probes=50, generator=torch.Generator().manual_seed(4))
    by_matrix = hutchinson_trace(H, probes=50, generator=torch.Generator().manual_seed(4))
    assert by_products.value == pytest.approx(by_matrix.value, rel=1e-12)
    assert by_products.stderr == pytest.approx(by_matrix.stderr, rel=1e-12)


def test_a_negative_trace_is_no_maximum():
    """The trap: diag(1, −5) has trace −4, but λ_max = 1; what bounds the policy's sensitivity is λ_max."""
    H = torch.diag(torch.tensor([1.0, -5.0]))
    trace = hutchinson_trace(H, probes=4)
    assert trace.value == -4.0
    assert trace.resolved
    found = sensitivity(QuadraticBandit([0.0, 0.0], H).agent(), torch.zeros(1, 1))
    assert found.curvature.item() == pytest.approx(-1.0)  # μ = −λ_max
    assert not found.valid.any()


def test_the_vector_of_ones_is_no_probe():
    """The trap: ∇ of the sum of gradient components, ‖1ᵀH‖², is 0 where ‖H‖_F² is 2."""
    H = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert (torch.ones(2) @ H).square().sum() == 0
    assert hutchinson_frobenius(H.T, probes=400, generator=torch.Generator().manual_seed(0)).value == pytest.approx(
        2, abs=0.4
    )
    assert hutchinson_frobenius(H, probes=4).value == 2.0


def test_one_probe_has_no_interval():
    one = hutchinson_trace(MATRICES["symmetric"], probes=1)
    assert math.isnan(one.stderr)
    assert math.isnan(one.interval()[0])


def test_global_random_state_is_untouched():
    before = torch.get_rng_state()
    hutchinson_trace(MATRICES["symmetric"])
    assert torch.equal(before, torch.get_rng_state())


def test_wrong_input():
    H = MATRICES["symmetric"]
    with pytest.raises(GradlabError, match="kind"):
        hutchinson_trace(H, kind="sphere")
    with pytest.raises(GradlabError, match="kind"):
        hutchinson_variance(H, "sphere")
    with pytest.raises(GradlabError, match="square"):
        hutchinson_trace(H[:2])
    with pytest.raises(GradlabError, match="size None"):
        hutchinson_trace(lambda v: v)
    with pytest.raises(GradlabError, match="shape"):
        hutchinson_trace(lambda v: v.sum(-1), 3)
    with pytest.raises(GradlabError, match="2 of 2 products are NaN"):
        hutchinson_trace(lambda v: v * math.nan, 3, probes=2)
