"""A reward that jumps: against integration, and what pathwise gradients make of it."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from gradlab import gradient_error
from gradlab.errors import GradlabError
from gradlab.estimators import Reparameterized, ScoreFunction
from gradlab.objective import Objective
from gradlab.quadrature import gauss_hermite
from gradlab.references.base import ReferenceCotangent
from gradlab.worlds import Step

LINE = [(0.0, 1.0, 0.0), (0.4, 0.7, 1.0), (-2.0, 0.5, -1.8), (3.0, 0.9, 0.0)]


@pytest.mark.parametrize(("mean", "std", "threshold"), LINE)
@pytest.mark.parametrize("learn_std", [False, True])
def test_one_action_against_integration(mean, std, threshold, learn_std):
    """Adaptive integration on either side of the jump: no truncated moments."""
    world = Step(mean, std, threshold=threshold, height=3.0, low=-1.0, learn_std=learn_std)

    def expect(function):
        density = norm(mean, std).pdf
        ends = (min(mean, threshold) - 12 * std, threshold, max(mean, threshold) + 12 * std)
        pieces = [(ends[0], ends[1], -1.0), (ends[1], ends[2], 2.0)]
        return sum(
            quad(
                lambda a, q=q: function(a, q) * density(a),
                *ab,
                points=[mean] if ab[0] < mean < ab[1] else None,
                epsabs=1e-13,
            )[0]
            for *ab, q in pieces
        )

    scores = [lambda a: (a - mean) / std**2, lambda a: ((a - mean) ** 2 / std**2 - 1) / std][: 1 + learn_std]
    value = expect(lambda a, q: q)
    assert world.value() == pytest.approx(value, rel=1e-9)
    gradient = [expect(lambda a, q, s=s: s(a) * q) for s in scores]
    assert world.true_gradient().tolist() == pytest.approx(gradient, rel=1e-8, abs=1e-9)
    moments = world.score_moments()
    for baseline in (0.0, 1.3, -4.0):
        second = sum(expect(lambda a, q, s=s, b=baseline: (s(a) * (q - b)) ** 2) for s in scores)
        direct = second - sum(g**2 for g in gradient)
        assert moments.variance(baseline) == pytest.approx(direct, rel=1e-8)
    assert moments.spread == pytest.approx(expect(lambda a, q: (q - value) ** 2), rel=1e-8)


def test_several_actions_by_turning_them():
    """Along the normal, and across it, where nothing happens: two independent normals in a turned frame."""
    normal, std, mean = torch.tensor([3.0, -4.0]), 0.6, torch.tensor([0.2, 0.1])
    world = Step(mean, std, normal, threshold=-1.0)
    along = Step(float(mean.double() @ normal.double()) / 5, std, threshold=-1.0 / 5)
    assert world.value() == pytest.approx(along.value(), rel=1e-12)
    assert torch.allclose(world.true_gradient(), along.true_gradient() * normal.double() / 5)
    # Across: E[s²] P(above), uncorrelated with the jump.
    one, two = along.score_moments(), world.score_moments()
    across = 1 / std**2 * (one.spread + (one.value - 0.3) ** 2)
    assert two.variance(0.3) == pytest.approx(one.variance(0.3) + across, rel=1e-12)


def test_pathwise_gradients_are_zero_and_wrong():
    world = Step(mean=0.4, std=0.7, threshold=1.0)
    agent, obs = world.agent(), world.observations()
    draws = Reparameterized().draw(agent, obs, 64, torch.Generator().manual_seed(0))
    assert not draws.any()
    truth = torch.zeros(1, 2).double()
    truth[0, 0] = world.true_gradient()[0]
    error = gradient_error(
        agent, obs, draws, ReferenceCotangent(truth, 0 * truth, "closed form", Objective(1.0)), objective=Objective(1.0)
    )
    assert error.bias_squared.value == pytest.approx(world.true_gradient().square().item(), rel=1e-9)
    assert error.variance.value == 0.0
    right = ScoreFunction().draw(agent, obs, 100_000, torch.Generator().manual_seed(0))[:, 0, 0]
    assert abs(right.mean() - world.true_gradient()) < 4 * right.std() / math.sqrt(100_000)


def test_gauss_hermite_is_no_oracle_here():
    """Quadrature that ignores the jump is off by far more than it claims; the closed form is not checked by it."""
    world = Step(mean=0.4, std=0.7, threshold=1.0)
    points, weights = gauss_hermite(1, 40)
    naive = float(weights @ world.q(0.4 + 0.7 * points))
    assert abs(naive - world.value()) > 1e-3


def test_derivatives_are_zero():
    world = Step([0.1, 0.2], 1.0)
    obs, act = torch.zeros(3, 1).double(), torch.randn(3, 2).double()
    agent = world.agent()
    assert not agent.action_gradient(obs, act).any()
    assert not world.action_gradient(obs, act).any()
    assert not world.hessians(obs, act).action.any()


def test_wrong_input():
    with pytest.raises(GradlabError, match="threshold is NaN"):
        Step(threshold=math.nan)
    with pytest.raises(GradlabError, match="must be"):
        Step([0.0, 0.0], normal=[1.0])
    with pytest.raises(GradlabError, match="positive"):
        Step(std=0.0)
    with pytest.raises(GradlabError, match="normal not zero"):
        Step(normal=[0.0])
    with pytest.raises(GradlabError, match="at least two"):
        Step().score_moments().leave_one_out(1)
