"""The thrown ball: against a simulated flight, adaptive integration, and gradlab's estimators."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from gradlab.errors import GradlabError
from gradlab.estimators import Reparameterized, ScoreFunction
from gradlab.worlds import BallOverWall

THROWS = [{}, {"angle": 1.1, "std": 0.3}, {"angle": 0.2, "std": 0.05, "height": 0.5}, {"angle": -3.0, "std": 1.5}]


def fly(world, angle):
    """Where the ball ends up, from its parabola sampled in time: knows nothing of clearing angles."""
    vx, vy = world.speed * math.cos(angle), world.speed * math.sin(angle)
    if vy <= 0:
        return 0.0
    t = np.linspace(0, 2 * vy / world.gravity, 20_001)
    x, y = vx * t, vy * t - world.gravity * t**2 / 2
    past = np.flatnonzero(x >= world.distance)
    if len(past) and np.interp(world.distance, x, y) < world.height:
        return world.distance
    return float(x[-1])


@pytest.mark.parametrize("throw", THROWS)
def test_q_is_where_the_ball_lands(throw):
    world = BallOverWall(**throw)
    angles = np.linspace(-4.0, 7.0, 701)
    # The sampled parabola cannot tell on which side of a just cleared wall it is.
    apart = (
        np.min([np.abs(np.remainder(angles - c + math.pi, 2 * math.pi) - math.pi) for c in world.clearing], axis=0)
        > 1e-3
    )
    q = world.q(torch.from_numpy(angles).unsqueeze(-1)).numpy()
    assert q[apart] == pytest.approx([fly(world, a) for a in angles[apart]], abs=1e-6)


def test_jumps_and_kinks():
    world = BallOverWall(angle=0.8, std=0.2)
    assert len(world.jumps()) == 2
    for angle, jump in world.jumps():
        above, below = (world.q(torch.tensor([[angle + e]], dtype=torch.float64)).item() for e in (1e-9, -1e-9))
        assert jump == pytest.approx(above - below, abs=1e-6)
        assert abs(jump) > 0.5
    foot = math.asin(world.distance * world.gravity / world.speed**2) / 2
    near = world.q(torch.tensor([[foot - 1e-9], [foot + 1e-9]], dtype=torch.float64))
    assert near[0].item() == pytest.approx(near[1].item(), abs=1e-6)


def expect(world, function):
    """E[function(a, Q(a), Q'(a))], adaptively between all places where Q is not smooth."""
    turns = [2 * math.pi * k for k in range(-4, 5)]
    foot = math.asin(world.distance * world.gravity / world.speed**2) / 2
    special = [*world.clearing, foot, math.pi / 2 - foot, 0.0, math.pi]
    low, high = world.angle - 10 * world.std, world.angle + 10 * world.std
    ends = sorted({low, high, world.angle, *(s + t for s in special for t in turns if low < s + t < high)})
    density = norm(world.angle, world.std).pdf

    def integrand(a):
        at = torch.tensor([[a]], dtype=torch.float64, requires_grad=True)
        q = world.q(at)
        (slope,) = torch.autograd.grad(q.sum(), at, materialize_grads=True)
        return function(a, q.item(), slope.item()) * density(a)

    pairs = itertools.pairwise(ends)
    return sum(quad(integrand, *pair, epsabs=1e-9, epsrel=1e-9, limit=200)[0] for pair in pairs)


@pytest.mark.parametrize("throw", THROWS[:2])
def test_moments_against_adaptive_integration(throw):
    world = BallOverWall(**throw, learn_std=True)
    noise = lambda a: (a - world.angle) / world.std  # noqa: E731
    scores = [lambda a: noise(a) / world.std, lambda a: (noise(a) ** 2 - 1) / world.std]
    assert world.value() == pytest.approx(expect(world, lambda a, q, d: q), rel=1e-7)
    # The score function needs no derivative of Q, and so no flux: an independent way to the gradient.
    gradient = [expect(world, lambda a, q, d, s=s: s(a) * q) for s in scores]
    assert world.true_gradient().tolist() == pytest.approx(gradient, rel=1e-6, abs=1e-6)
    pathwise = world.reparameterized()
    means = [expect(world, lambda a, q, d: d), expect(world, lambda a, q, d: d * noise(a))]
    assert pathwise.mean.tolist() == pytest.approx(means, rel=1e-6, abs=1e-6)
    second = expect(world, lambda a, q, d: d**2 * (1 + noise(a) ** 2))
    assert pathwise.variance == pytest.approx(second - sum(m**2 for m in means), rel=1e-6)
    for baseline in (0.0, 6.0):
        squares = expect(world, lambda a, q, d, b=baseline: (q - b) ** 2 * (scores[0](a) ** 2 + scores[1](a) ** 2))
        assert world.score_moments().variance(baseline) == pytest.approx(
            squares - sum(g**2 for g in gradient), rel=1e-6
        )


def test_pathwise_gradients_are_biased_by_the_flux():
    """However many draws: the mean stays apart from the truth by the flux, which is most of the gradient here."""
    world, n = BallOverWall(), 100_000
    agent, obs = world.agent(), world.observations()
    path = Reparameterized().draw(agent, obs, n, torch.Generator().manual_seed(0))[:, 0, 0]
    score = ScoreFunction(baseline="value").draw(agent, obs, n, torch.Generator().manual_seed(1))[:, 0, 0]
    truth, flux = world.true_gradient().item(), world.flux().item()
    assert abs(path.mean() - (truth - flux)) < 4 * path.std() / math.sqrt(n)
    assert abs(score.mean() - truth) < 4 * score.std() / math.sqrt(n)
    assert (truth - path.mean()).abs() > 100 * path.std() / math.sqrt(n)
    assert flux > 0.9 * truth


def test_a_wall_too_low_to_matter_has_no_flux():
    """Where all throws clear the wall by far, pathwise gradients are right."""
    world = BallOverWall(angle=math.pi / 4, std=0.02, height=0.5)
    assert world.flux().item() == pytest.approx(0.0, abs=1e-12)
    assert world.true_gradient().item() == pytest.approx(world.reparameterized().mean.item(), abs=1e-12)


def test_derivatives():
    world = BallOverWall()
    angles = torch.linspace(-3.9, 6.1, 57).double().unsqueeze(-1)
    agent, obs = world.agent(), torch.zeros(57, 1).double()
    assert torch.allclose(agent.action_gradient(obs, angles), world.action_gradient(obs, angles))
    rows = [torch.autograd.functional.jacobian(lambda a: world.action_gradient(a, a), a[None])[0, 0, 0] for a in angles]
    assert torch.allclose(torch.stack(rows), world.hessians(obs, angles).action[:, 0])


def test_wrong_input():
    with pytest.raises(GradlabError, match="angle is NaN"):
        BallOverWall(angle=math.inf)
    with pytest.raises(GradlabError, match="no angle clears"):
        BallOverWall(height=10.0)
    with pytest.raises(GradlabError, match="positive"):
        BallOverWall(std=-1.0)
