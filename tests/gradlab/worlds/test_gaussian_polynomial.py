"""World A against the listed numbers, against sampling, and through gradlab's estimators."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from gradlab.errors import GradlabError
from gradlab.estimators import Reparameterized, ScoreFunction
from gradlab.worlds import GaussianPolynomial

GRID = [(2, 1.0, 1.0), (2, -0.7, 1.0), (1, 0.5, 2.0), (3, 1.3, 0.6), (4, -0.4, 1.5)]


def integral(function, world):
    """E[function(x)] by adaptive integration: no polynomial algebra in common with the world."""
    at = (world.theta - 14 * world.std, world.theta + 14 * world.std)
    density = norm(world.theta, world.std).pdf
    return quad(lambda x: function(x) * density(x), *at, points=[world.theta], epsabs=1e-12, epsrel=1e-12, limit=400)[0]


def direct(world, way, baseline=0.0):
    k, theta, std = world.power, world.theta, world.std
    return {
        "naive": lambda x: x**k,
        "score-function": lambda x: x**k + (theta * x**k - baseline) * (x - theta) / std**2,
        "reparameterized": lambda x: x**k + theta * k * x ** (k - 1),
    }[way]


def moments(world, way, baseline=0.0):
    return {
        "naive": world.naive,
        "score-function": lambda: world.score_function(baseline),
        "reparameterized": world.reparameterized,
    }[way]()


@pytest.mark.parametrize(
    ("theta", "means", "variances"), [(1.0, (2, 4, 4), (6, 60, 18)), (2.0, (5, 13, 13), (18, 510, 66))]
)
def test_listed_numbers(theta, means, variances):
    world = GaussianPolynomial(power=2, theta=theta)
    got = (world.naive(), world.score_function(), world.reparameterized())
    assert [m.mean for m in got] == pytest.approx(means, rel=1e-12)
    assert [m.variance for m in got] == pytest.approx(variances, rel=1e-12)


@pytest.mark.parametrize("theta", [-1.7, 0.0, 0.3, 2.5])
def test_formulas_for_the_square(theta):
    world = GaussianPolynomial(power=2, theta=theta)
    t2 = theta**2
    assert world.true_gradient().item() == pytest.approx(1 + 3 * t2)
    assert world.naive() == pytest.approx((t2 + 1, 4 * t2 + 2))
    assert world.score_function() == pytest.approx((1 + 3 * t2, t2**3 + 18 * t2**2 + 39 * t2 + 2))
    assert world.reparameterized() == pytest.approx((1 + 3 * t2, 16 * t2 + 2))


def test_the_known_wrong_formula_is_not_copied():
    theta = 2.0
    assert GaussianPolynomial(theta=theta).true_gradient().item() == pytest.approx(13.0)
    assert abs(GaussianPolynomial(theta=theta).true_gradient().item() - (3 + theta**2)) > 5


def test_baselines():
    world = GaussianPolynomial(power=2, theta=1.0)
    assert world.value_baseline == pytest.approx(2.0)
    assert world.optimal_baseline == pytest.approx(6.0)
    assert world.score_function(2.0).variance == pytest.approx(40.0)
    assert world.score_function(6.0).variance == pytest.approx(24.0)
    # Without the explicit derivative in the draw, E[f s²]/E[s²] would be 4, which is not the best here.
    assert integral(lambda x: x**2 * (x - 1) ** 2, world) == pytest.approx(4.0)
    assert world.score_function(4.0).variance == pytest.approx(28.0)


@pytest.mark.parametrize(("power", "theta", "std"), GRID)
def test_against_integration(power, theta, std):
    world = GaussianPolynomial(power, theta, std)
    assert world.value() == pytest.approx(integral(lambda x: theta * x**power, world), rel=1e-9, abs=1e-9)
    for way in ("naive", "score-function", "reparameterized"):
        draw = direct(world, way, 0.7)
        mean = integral(draw, world)
        got = moments(world, way, 0.7)
        assert got.mean == pytest.approx(mean, rel=1e-9, abs=1e-9)
        assert got.variance == pytest.approx(integral(lambda x, d=draw, m=mean: (d(x) - m) ** 2, world), rel=1e-8)


@pytest.mark.parametrize(("power", "theta", "std"), GRID)
def test_gradient_is_the_derivative_of_the_value(power, theta, std):
    step = 1e-5
    above, below = (GaussianPolynomial(power, theta + sign * step, std).value() for sign in (1, -1))
    assert GaussianPolynomial(power, theta, std).true_gradient().item() == pytest.approx(
        (above - below) / (2 * step), rel=1e-7, abs=1e-7
    )


@pytest.mark.parametrize(("power", "theta", "std"), GRID)
def test_optimal_baseline_has_the_least_variance(power, theta, std):
    world = GaussianPolynomial(power, theta, std)
    best = world.optimal_baseline
    variances = [world.score_function(best + shift).variance for shift in (-0.1, 0.0, 0.1)]
    assert variances[1] < min(variances[0], variances[2])


@pytest.mark.parametrize(("power", "theta", "std"), GRID)
def test_gradients_to_the_standard_deviation(power, theta, std):
    """∂J/∂σ and every draw's moments, by adaptive integration of the draws written out; k = 1 has none."""
    world = GaussianPolynomial(power, theta, std, learn_std=True)
    draws = {
        "naive": lambda x: 0.0,
        "score-function": lambda x: (theta * x**power - 0.7) * ((x - theta) ** 2 - std**2) / std**3,
        "reparameterized": lambda x: theta * power * x ** (power - 1) * (x - theta) / std,
    }
    found = {
        "naive": world.naive("std"),
        "score-function": world.score_function(0.7, "std"),
        "reparameterized": world.reparameterized("std"),
    }
    for way, draw in draws.items():
        mean = integral(draw, world)
        assert found[way].mean == pytest.approx(mean, rel=1e-9, abs=1e-9)
        spread = integral(lambda x, d=draw, m=mean: (d(x) - m) ** 2, world)
        assert found[way].variance == pytest.approx(spread, rel=1e-8, abs=1e-12)
    step = 1e-5
    above, below = (GaussianPolynomial(power, theta, std + sign * step).value() for sign in (1, -1))
    by_theta, by_std = world.true_gradient().tolist()
    assert by_std == pytest.approx((above - below) / (2 * step), rel=1e-7, abs=1e-7)
    assert by_theta == GaussianPolynomial(power, theta, std).true_gradient().item()
    assert found["reparameterized"].mean == pytest.approx(by_std, abs=1e-10)


def test_admitted_numbers():
    """The listed means and variances come out of what the calibration runs, under names that tell them apart."""
    admitted = {str(a.estimator): a for a in GaussianPolynomial(power=2, theta=1.0).admitted()}
    listed = {
        "naive": (2.0, 6.0),
        "score-function": (4.0, 60.0),
        "score-function-baseline-2": (4.0, 40.0),
        "score-function-baseline-6": (4.0, 24.0),
        "reparameterized": (4.0, 18.0),
    }
    assert list(admitted) == list(listed)
    for name, numbers in listed.items():
        assert (admitted[name].mean.item(), admitted[name].variance) == pytest.approx(numbers)


@pytest.mark.parametrize("way", ["naive", "score-function", "reparameterized"])
@pytest.mark.parametrize("theta", [1.0, 2.0])
def test_sampling(way, theta):
    world, n = GaussianPolynomial(2, theta), 400_000
    draws = world.draw(way, n, torch.Generator().manual_seed(11), baseline=world.value_baseline)
    truth = moments(world, way, world.value_baseline)
    squares = (draws - truth.mean).square()
    assert abs(draws.mean() - truth.mean) < 4 * math.sqrt(truth.variance / n)
    assert abs(squares.mean() - truth.variance) < 4 * squares.std() / math.sqrt(n)


def test_through_the_estimators():
    """Cotangent of the mean plus the explicit derivative at the same sample is the draw of the world."""
    world, n = GaussianPolynomial(2, 1.0), 200_000
    agent, obs = world.agent(), torch.zeros(1, 1).double()
    noise = torch.randn(n, 1, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    act = world.theta + noise
    ways = {
        "score-function": (ScoreFunction(), world.score_function()),
        "reparameterized": (Reparameterized(), world.reparameterized()),
        "value": (ScoreFunction(baseline="value"), None),
        "baseline": (ScoreFunction(baseline=lambda a, o: torch.full((1,), 2.0).double()), world.score_function(2.0)),
        "best": (ScoreFunction(baseline=lambda a, o: torch.full((1,), 6.0).double()), world.score_function(6.0)),
    }
    for estimator, truth in ways.values():
        draws = estimator.at_noise(agent, obs, noise)[:, 0, 0] + world.explicit_gradient(act)[:, 0]
        # The estimator's "value" baseline is Q at the mode, here θ³ = 1, not the world's J = 2.
        truth = truth or world.score_function(1.0)
        squares = (draws - truth.mean).square()
        assert abs(draws.mean() - truth.mean) < 4 * math.sqrt(truth.variance / n)
        assert abs(squares.mean() - truth.variance) < 4 * squares.std() / math.sqrt(n)
    exact = direct(world, "score-function")(act[:, 0, 0])
    got = ScoreFunction().at_noise(agent, obs, noise)[:, 0, 0] + world.explicit_gradient(act)[:, 0]
    assert torch.allclose(got, exact)


@pytest.mark.parametrize(("power", "theta", "std"), GRID)
def test_derivatives_of_q(power, theta, std):
    world = GaussianPolynomial(power, theta, std)
    agent = world.agent()
    obs, act = torch.zeros(5, 1).double(), torch.linspace(-1, 2, 5).double().unsqueeze(-1)
    assert torch.allclose(agent.action_gradient(obs, act), world.action_gradient(obs, act))
    second = torch.stack(
        [
            torch.autograd.functional.hessian(lambda a: agent.q(obs[:1], a).sum(), act[i : i + 1])[0, :, 0]
            for i in range(5)
        ]
    )
    got = world.hessians(obs, act)
    assert torch.allclose(second, got.action)
    assert got.mixed.shape == (5, 1, 1)
    assert not got.mixed.any()


def test_wrong_input():
    with pytest.raises(GradlabError, match="power"):
        GaussianPolynomial(power=0)
    with pytest.raises(GradlabError, match="theta is NaN"):
        GaussianPolynomial(theta=math.nan)
    with pytest.raises(GradlabError, match="std"):
        GaussianPolynomial(std=0.0)
    with pytest.raises(GradlabError, match="no estimator"):
        GaussianPolynomial().draw("pathwise", 3, torch.Generator())
    with pytest.raises(GradlabError, match="no parameter"):
        GaussianPolynomial().naive("sigma")
