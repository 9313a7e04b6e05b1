"""World B against the listed numbers and through the zeroth-order estimators."""

import math

import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, ScoreFunction, ZerothOrder
from gradlab.quadrature import gauss_hermite
from gradlab.worlds import QuadraticBandit, expected_absolute_cosine, smoothed_gradient, smoothing_bias

VARIANTS = [(points, directions) for points in (1, 2, "antithetic") for directions in ("gaussian", "sphere")]
DRAWS = 300_000


@pytest.fixture
def world():
    return QuadraticBandit(
        g=[1, -2, 0.5, 0, 1.5, -1], H=torch.diag(torch.tensor([-1, -2, -0.5, 1, -3, 0.25]).double()), q0=3.0
    )


@pytest.fixture
def rotated():
    """Another bandit, of full Hessian, two coordinates and a base point that is not the origin."""
    return QuadraticBandit(g=[0.3, -1.2], H=[[-1.0, 0.8], [0.8, -2.5]], q0=-0.4, action=[0.2, -0.6])


def trace_of_covariance(draws, mean):
    """Mean square distance from the known mean, with its standard error."""
    squares = (draws - mean).square().sum(-1)
    return squares.mean().item(), (squares.std() / math.sqrt(len(squares))).item()


@pytest.mark.parametrize(("points", "variance"), [(2, 60.9546875), ("antithetic", 59.5), (1, 5334.9546875)])
def test_listed_variances(world, points, variance):
    assert world.zeroth_order(0.1, points).variance == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize(("points", "directions"), VARIANTS)
@pytest.mark.parametrize("which", ["world", "rotated"])
@pytest.mark.parametrize("mu", [0.1, 0.7])
def test_variances_by_running_the_estimators(request, which, points, directions, mu):
    world = request.getfixturevalue(which)
    estimator = ZerothOrder(mu, points, directions)
    draws = estimator.draw(world.agent(), torch.zeros(1, 1), DRAWS, torch.Generator().manual_seed(100))[:, 0]
    truth, g = world.zeroth_order(mu, points, directions), world.true_gradient()
    measured, stderr = trace_of_covariance(draws, g)
    # On the circle antithetic draws all lie at one distance: nothing is left but rounding.
    assert abs(measured - truth.variance) < 4.5 * stderr + 1e-9
    error = draws.mean(0) - g
    assert (error.abs() < 4.5 * draws.std(0) / math.sqrt(DRAWS)).all()


@pytest.mark.parametrize(("points", "directions"), VARIANTS)
@pytest.mark.parametrize("mu", [0.1, 0.7])
def test_variances_by_exact_integration(rotated, points, directions, mu):
    """In two dimensions: Gauss–Hermite, or equal steps round the circle; both exact for these polynomials."""
    if directions == "gaussian":
        u, weights = gauss_hermite(2, 8)
    else:
        angle = torch.arange(16).double() * (2 * math.pi / 16)
        u, weights = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], -1), torch.full((16,), 1 / 16).double()
    plus, centre, minus = (rotated.q(rotated.a0 + sign * mu * u) for sign in (1, 0, -1))
    slope = {1: plus / mu, 2: (plus - centre) / mu, "antithetic": (plus - minus) / (2 * mu)}[points]
    draws = slope.unsqueeze(-1) * u
    truth = rotated.zeroth_order(mu, points, directions)
    assert torch.allclose(weights @ draws, rotated.true_gradient(), atol=1e-12)
    assert truth.mean == pytest.approx(rotated.g.norm().item())
    assert (weights @ (draws - rotated.g).square().sum(-1)).item() == pytest.approx(truth.variance, rel=1e-10)


@pytest.mark.parametrize(("baseline", "points"), [("none", 1), ("value", 2)])
def test_score_function_has_the_variance_of_its_twin(world, baseline, points):
    estimator = ScoreFunction(0.1, baseline)
    draws = estimator.draw(world.agent(), torch.zeros(1, 1), DRAWS, torch.Generator().manual_seed(8))[:, 0]
    measured, stderr = trace_of_covariance(draws, world.true_gradient())
    assert abs(measured - world.zeroth_order(0.1, points).variance) < 4 * stderr


def test_expected_cosine(world):
    assert expected_absolute_cosine(6) == pytest.approx(0.339531, abs=5e-7)
    assert expected_absolute_cosine(1) == pytest.approx(1.0)
    assert expected_absolute_cosine(2) == pytest.approx(2 / math.pi)
    estimator = ZerothOrder(0.1, "antithetic")
    draws = estimator.draw(world.agent(), torch.zeros(1, 1), DRAWS, torch.Generator().manual_seed(4))[:, 0]
    cosine = torch.nn.functional.cosine_similarity(draws, world.true_gradient().expand_as(draws), dim=-1)
    assert (cosine > -1e-12).all()  # (gᵀu) u never points the wrong way
    assert abs(cosine.mean() - expected_absolute_cosine(6)) < 4 * cosine.std() / math.sqrt(DRAWS)


def test_smoothing_bias():
    mu = 0.1
    for at in (-1.0, 0.0, 2.0):
        bias = smoothing_bias(lambda a: (a**3).sum(-1), torch.tensor([at]), mu)
        assert bias.item() == pytest.approx(3 * mu**2, rel=1e-10)
    sine = smoothed_gradient(lambda a: (3 * a).sin().sum(-1), torch.zeros(1), mu)
    assert sine.item() == pytest.approx(3 * math.exp(-9 * mu**2 / 2), rel=1e-12)
    assert sine.item() == pytest.approx(2.867992, abs=5e-7)


def test_no_smoothing_bias_on_a_quadratic(rotated):
    bias = smoothing_bias(rotated.q, rotated.a0, 0.8, nodes=5)
    assert torch.allclose(bias, torch.zeros(2).double(), atol=1e-12)


@pytest.mark.parametrize("which", ["world", "rotated"])
def test_derivatives(request, which):
    world = request.getfixturevalue(which)
    agent, p = world.agent(), len(world.g)
    obs = torch.zeros(4, 1).double()
    act = torch.randn(4, p, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(agent.action_gradient(obs, act), world.action_gradient(obs, act))
    second = torch.autograd.functional.hessian(lambda a: world.q(a), act[0])
    assert torch.allclose(second, world.hessians(obs, act).action[0])
    assert agent.q(obs, agent.action(obs))[0].item() == pytest.approx(world.value())
    assert torch.allclose(Deterministic().draw(agent, obs)[0, 0], world.true_gradient())


def test_wrong_input():
    with pytest.raises(GradlabError, match="symmetric"):
        QuadraticBandit([1.0, 2.0], [[0.0, 1.0], [0.0, 0.0]])
    with pytest.raises(GradlabError, match="must be"):
        QuadraticBandit([1.0, 2.0], [[0.0]])
