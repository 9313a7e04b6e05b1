"""Smoothing bias and variances of polynomial critics, by three ways: tensors, moments of monomials, and quadrature."""

import itertools
import math

import numpy as np
import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.estimators.directions import ClippedGaussian
from gradlab.references import CriticReference
from gradlab.worlds import CubicBandit, PolynomialBandit, QuadraticBandit, smoothed_gradient, smoothing_bias
from gradlab.worlds.direction_kinds import KINDS, direction_kind


def symmetric(order, size, seed):
    form = torch.randn([size] * order, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    orders = list(itertools.permutations(range(order)))
    return sum(form.permute(p) for p in orders) / len(orders)


def cubic(size, seed=0, **more):
    g, H, T = (symmetric(order, size, seed + order) for order in (1, 2, 3))
    return CubicBandit(g, H, T, q0=1.7, action=torch.linspace(-0.5, 0.5, size), **more)


def by_quadrature(world, mu, points, kind, nodes):
    """Mean and trace of the covariance from weighted directions: no algebra of moments."""
    u, weights = direction_kind(kind).rule(len(world.a0), nodes)
    plus, centre, minus = (world.q(world.a0 + sign * mu * u) for sign in (1, 0, -1))
    slope = {1: plus / mu, 2: (plus - centre) / mu, "antithetic": (plus - minus) / (2 * mu)}[points]
    draws = slope.unsqueeze(-1) * u
    mean = weights @ draws
    return mean, (weights @ (draws - mean).square().sum(-1)).item()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("points", [1, 2, "antithetic"])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("mu", [0.1, 0.9])
def test_moments_against_quadrature(kind, points, size, mu):
    world = cubic(size)
    mean, variance = world.zeroth_order_vector(mu, points, kind)
    expected, spread = by_quadrature(world, mu, points, kind, 20 if kind == "clipped" else 6)
    assert torch.allclose(mean, expected, atol=1e-10)
    assert variance == pytest.approx(spread, rel=1e-8, abs=1e-10)
    moments = world.zeroth_order(mu, points, kind)
    assert moments.mean == pytest.approx(expected.norm().item())


@pytest.mark.parametrize("kind", [*KINDS, ClippedGaussian(0.4, 0.3)], ids=str)
@pytest.mark.parametrize("points", [1, 2, "antithetic"])
@pytest.mark.parametrize("size", [1, 2, 6])
def test_a_quadratics_table_against_moments(kind, points, size):
    """The formulas of fourth and sixth moments, and the sum over monomials that any polynomial takes."""
    g, H = symmetric(1, size, 7), symmetric(2, size, 8)
    world = QuadraticBandit(g, H, q0=3.0)
    for count in (1, size):
        table = world.zeroth_order_vector(0.3, points, kind, count)
        general = PolynomialBandit(world.polynomial).zeroth_order_vector(0.3, points, kind, count)
        assert torch.allclose(table.mean, general.mean, atol=1e-12)
        assert table.variance == pytest.approx(general.variance, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_bias_formulas(size):
    """The formulas of the docstring, in tensors."""
    world, mu = cubic(size), 0.3
    t, own = torch.einsum("iij->j", world.T), torch.einsum("jjj->j", world.T)
    m2, m4 = (KINDS["clipped"].moment(torch.tensor([[k]]).numpy())[0] for k in (2, 4))
    biases = {
        "gaussian": mu**2 / 2 * t,
        "sphere": mu**2 / 2 * size / (size + 2) * t,
        "rademacher": mu**2 / 6 * (3 * t - 2 * own),
        "clipped": (m2 - 1) * world.g + mu**2 / 6 * (3 * m2**2 * t + (m4 - 3 * m2**2) * own),
        "coordinate": mu**2 / 6 * size * own,
    }
    for kind, bias in biases.items():
        mean = world.zeroth_order_vector(mu, "antithetic", kind).mean
        assert torch.allclose(mean - world.g, bias, atol=1e-12), kind
    assert torch.allclose(world.smoothing_bias(mu), biases["gaussian"])


def test_forward_differences_along_coordinates_are_biased_by_the_curvature():
    """Without a random sign the odd moments do not vanish: ½ μ √p H_ii, and q₀/(μ√p) with one point."""
    world, mu = QuadraticBandit([1.0, -2.0], [[-1.0, 0.3], [0.3, 4.0]], q0=3.0), 0.2
    forward = world.zeroth_order_vector(mu, 2, "coordinate").mean
    bias = mu * math.sqrt(2) / 2 * world.H.diagonal()
    assert torch.allclose(forward, world.g + bias)
    assert torch.allclose(world.zeroth_order_vector(mu, 1, "coordinate").mean, forward + 3.0 / (mu * math.sqrt(2)))
    assert torch.allclose(world.zeroth_order_vector(mu, "antithetic", "coordinate").mean, world.g)


@pytest.mark.parametrize("kind", KINDS)
def test_smoothed_gradient_is_the_mean_of_two_points(kind):
    world = cubic(2)
    smoothed = smoothed_gradient(world.q, world.a0, 0.4, nodes=12, directions=kind)
    assert torch.allclose(smoothed, world.zeroth_order_vector(0.4, 2, kind).mean, atol=1e-9)
    bias = smoothing_bias(world.q, world.a0, 0.4, nodes=12, directions=kind)
    assert torch.allclose(bias, smoothed - world.g, atol=1e-12)


def test_smoothing_on_the_sphere_is_the_gradient_over_the_ball():
    """Flaxman et al.: in two dimensions, the derivative of the mean over the disc of radius μ√2, by polar sums."""
    q = lambda a: (2 * a[..., 0]).sin() * a[..., 1].exp()  # noqa: E731
    mu, at, step = 0.3, torch.tensor([0.2, -0.4]).double(), 1e-5
    radius, mass = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(20))
    radius, mass = (radius + 1) / 2, mass / 2
    angle = torch.arange(40).double() * (2 * math.pi / 40)
    ring = torch.stack([angle.cos(), angle.sin()], -1)

    def over_the_disc(centre):
        values = q(centre + mu * math.sqrt(2) * radius[:, None, None] * ring).mean(-1)
        return (2 * radius * mass * values).sum()  # density 2r dr on [0, 1]

    eye = torch.eye(2).double() * step
    numerical = torch.stack([(over_the_disc(at + e) - over_the_disc(at - e)) / (2 * step) for e in eye])
    assert torch.allclose(smoothed_gradient(q, at, mu, directions="sphere"), numerical, atol=1e-8)


def test_listed_numbers():
    cube = CubicBandit(g=[0.0], T=[[[6.0]]])
    for at in (-1.0, 0.0, 2.0):
        bias = smoothing_bias(lambda a: (a**3).sum(-1), torch.tensor([at]), 0.1)
        assert bias.item() == pytest.approx(3 * 0.1**2, rel=1e-10)
    assert cube.smoothing_bias(0.1).item() == pytest.approx(3 * 0.1**2, rel=1e-12)
    sine = smoothed_gradient(lambda a: (3 * a).sin().sum(-1), torch.zeros(1), 0.1)
    assert sine.item() == pytest.approx(2.867992, abs=5e-7)
    clipped = KINDS["clipped"].moment(torch.tensor([[2]]).numpy())[0]
    linear = CubicBandit(g=[1.0, -2.0, 0.5])
    assert clipped == pytest.approx(0.0391, abs=5e-5)
    assert torch.allclose(linear.zeroth_order_vector(0.1, 2, "clipped").mean, clipped * linear.g)


def test_the_critic_reference_agrees_for_a_gaussian_policy():
    """Gauss–Hermite of the critic at the head against moments, σ's coordinate carried to log σ."""
    world = cubic(2, std=[0.4, 0.7], learn_std=True)
    found = CriticReference().cotangent(world.agent(), world.observations())
    by_mean, by_std = world.true_gradient().chunk(2)
    assert torch.allclose(found.mean[0].double(), torch.cat([by_mean, by_std * world.std]), atol=1e-8)


def test_q_is_its_polynomial():
    """Two ways of writing it: tensors for the critic, monomials for the moments."""
    world, act = cubic(3), torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(world.q(act), world.polynomial(act - world.a0))
    quadratic = QuadraticBandit(world.g, world.H, world.q0, world.a0)
    assert torch.allclose(quadratic.q(act), quadratic.polynomial(act - world.a0))


def test_derivatives():
    world = cubic(3)
    agent, obs = world.agent(), torch.zeros(4, 1).double()
    act = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    delta = act[0] - world.a0
    direct = world.q0 + world.g @ delta + delta @ world.H @ delta / 2 + world.T @ delta @ delta @ delta / 6
    assert agent.q(obs, act)[0].item() == pytest.approx(direct.item(), rel=1e-12)
    assert torch.allclose(agent.action_gradient(obs, act), world.action_gradient(obs, act))
    second = torch.autograd.functional.hessian(lambda a: world.q(a), act[0])
    assert torch.allclose(second, world.hessians(obs, act).action[0])
    assert torch.allclose(world.true_gradient(), world.g)


def test_wrong_input():
    with pytest.raises(GradlabError, match=r"H is NaN or infinite 2 time\(s\), first at \[0, 1\]"):
        CubicBandit([1.0, 0.0], H=[[0.0, math.nan], [math.inf, 0.0]])
    with pytest.raises(GradlabError, match="polynomial is NaN"):
        PolynomialBandit(CubicBandit([1.0]).polynomial * math.nan)
    with pytest.raises(GradlabError, match="mu is 0"):
        CubicBandit([1.0]).zeroth_order(mu=0.0)
    with pytest.raises(GradlabError, match="mu is -1"):
        QuadraticBandit([1.0], [[1.0]]).zeroth_order(mu=-1.0)
    with pytest.raises(GradlabError, match="sigma is nan"):
        CubicBandit([1.0]).score_moments(math.nan)
    with pytest.raises(GradlabError, match="T is not symmetric"):
        CubicBandit([1.0, 0.0], T=[[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    with pytest.raises(GradlabError, match="H is not symmetric"):
        CubicBandit([1.0, 0.0], H=[[0.0, 1.0], [0.0, 0.0]])
    with pytest.raises(GradlabError, match="must be"):
        CubicBandit([1.0, 0.0], T=[[1.0]])
    with pytest.raises(GradlabError, match="no standard deviation"):
        CubicBandit([1.0], learn_std=True)
    with pytest.raises(GradlabError, match="positive"):
        CubicBandit([1.0], std=0.0)
    with pytest.raises(GradlabError, match="action has shape"):
        CubicBandit([1.0], action=[0.0, 0.0])
    with pytest.raises(GradlabError, match="points is 3"):
        CubicBandit([1.0]).zeroth_order(points=3)
    with pytest.raises(GradlabError, match="not known"):
        CubicBandit([1.0]).zeroth_order(directions="diagonal")
    with pytest.raises(GradlabError, match="deterministic"):
        CubicBandit([1.0]).reparameterized()
    with pytest.raises(GradlabError, match="sigma"):
        CubicBandit([1.0]).score_moments()
