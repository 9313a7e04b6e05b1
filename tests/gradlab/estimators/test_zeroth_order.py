"""Zeroth-order estimators: every kind of direction against enumeration, quadrature and one-at-a-time loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate
from scipy.stats import norm
from torch import nn

from gradlab import GradlabError
from gradlab.agent import Agent
from gradlab.error import gradient_error
from gradlab.estimators import ClippedGaussian, ScoreFunction, ZerothOrder, heads
from gradlab.estimators.directions import DIRECTIONS, Direction
from gradlab.policies import Gaussian, Softmax
from gradlab.references import ReferenceCotangent
from gradlab.worlds.modules import ConstantActor

G = torch.tensor([1.0, -2.0, 0.5, 0.0, 1.5, -1.0]).double()
H = torch.diag(torch.tensor([-1.0, -2.0, -0.5, 1.0, -3.0, 0.25])).double()
Q0, MU, P = 3.0, 0.1, 6
POINTS = (1, 2, "antithetic")
STATE = torch.zeros(1, 1).double()


class Quadratic(nn.Module):
    def __init__(self, g=G, hessian=H, q0=Q0):
        super().__init__()
        self.g, self.hessian, self.q0 = g, hessian, q0

    def forward(self, obs, act):
        return self.q0 + act @ self.g + 0.5 * torch.einsum("...i,ij,...j->...", act, self.hessian, act)


def bandit(critic=None, size=P):
    return Agent(ConstantActor(torch.zeros(size)), [critic or Quadratic()], [-1.0] * size, [1.0] * size)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moments(u, weights, points, mu=MU):
    """Mean and trace of the covariance of a draw, by summing over directions u [K, p] of given probabilities."""
    draws = []
    for direction in u:
        plus, centre, minus = (Quadratic()(None, step * mu * direction) for step in (1, 0, -1))
        slope = {1: plus / mu, 2: (plus - centre) / mu, "antithetic": (plus - minus) / (2 * mu)}[points]
        draws.append(slope * direction)
    draws = torch.stack(draws)
    mean = weights @ draws
    return mean, float(weights @ draws.square().sum(1) - mean.square().sum())


def trace_of_covariance(draws):
    """Estimate and standard error of the trace of the covariance of independent draws [D, p]."""
    squares = (draws - draws.mean(0)).square().sum(1)
    return float(squares.sum() / (len(draws) - 1)), float(squares.std() / math.sqrt(len(draws)))


def assert_moments(draws, mean, variance):
    error = draws.mean(0) - mean
    assert (error.abs() <= 4 * draws.std(0) / math.sqrt(len(draws)) + 1e-12).all()
    got, stderr = trace_of_covariance(draws)
    assert abs(got - variance) <= 4 * stderr


# Values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("points", "variance"), [(1, 5334.9547), (2, 60.9546875), ("antithetic", 59.5)])
def test_gaussian_directions_have_the_known_variance(points, variance):
    draws = ZerothOrder(MU, points).draw(bandit(), STATE, 60_000, generator(1))[:, 0]
    assert_moments(draws, G, variance)


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("kind", ["rademacher", "coordinate"])
def test_finite_kinds_have_the_enumerated_mean_and_variance(kind, points):
    if kind == "rademacher":
        every = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=P))).double()
    else:
        every = math.sqrt(P) * torch.eye(P).double()
    mean, variance = moments(every, torch.full((len(every),), 1 / len(every)).double(), points)
    # Odd moments of signs vanish; those of coordinates do not, which leaves what differences along axes leave.
    odd = kind == "coordinate" and points != "antithetic"
    truth = G + odd * (math.sqrt(P) * MU / 2) * H.diagonal() + odd * (points == 1) * Q0 / (MU * math.sqrt(P))
    assert torch.allclose(mean, truth, atol=1e-10)
    draws = ZerothOrder(MU, points, kind).draw(bandit(), STATE, 30_000, generator(1))[:, 0]
    assert_moments(draws, truth, variance)
    # Draw by draw: all that comes out is in the list.
    table = torch.stack([ZerothOrder(MU, points, kind).at_noise(bandit(), STATE, u[None, None])[0, 0] for u in every])
    assert (draws[:200, None] - table).abs().amax(-1).amin(1).max() < 1e-9


def sphere_variance(points):
    """A normal z is ‖z‖ times a direction: moments of degree k on the sphere are z's times p^{k/2}/E‖z‖^k."""
    second, fourth, sixth = P, P * (P + 2), P * (P + 2) * (P + 4)
    trace = float(H.trace())
    spread = trace**2 + 2 * float((H @ H).trace())
    variance = (P + 2) * float(G @ G) * P**2 / fourth - float(G @ G)
    if points != "antithetic":
        variance += MU**2 / 4 * (P + 4) * spread * P**3 / sixth
    if points == 1:
        variance += Q0**2 / MU**2 * second + Q0 * (P + 2) * trace * P**2 / fourth
    return variance


@pytest.mark.parametrize("points", POINTS)
def test_sphere_directions(points):
    draws = ZerothOrder(MU, points, "sphere").draw(bandit(), STATE, 60_000, generator(2))[:, 0]
    assert_moments(draws, G, sphere_variance(points))


def clipped_moment(order):
    density = integrate.quad(lambda x: x**order * norm.pdf(x, scale=0.2), -0.5, 0.5)[0]
    return density + 2 * 0.5**order * norm.sf(2.5)


@pytest.mark.parametrize("points", POINTS)
def test_noise_of_the_public_code_has_the_right_direction_and_a_small_scale(points):
    second, fourth, sixth = (clipped_moment(order) for order in (2, 4, 6))
    assert ClippedGaussian().second_moment == pytest.approx(second, rel=1e-9)
    assert second == pytest.approx(0.0391, abs=5e-5)
    # Independent coordinates; H is diagonal: Σ over index patterns of E[u…], written out term by term.
    variance = float(G @ G) * (fourth + (P - 1) * second**2) - second**2 * float(G @ G)
    single = {2: second, 4: fourth, 6: sixth}
    if points != "antithetic":
        for i, j, k in itertools.product(range(P), repeat=3):
            powers = [0] * P
            for index in (i, j, k):
                powers[index] += 2
            expected = math.prod(single[power] for power in powers if power)
            variance += MU**2 / 4 * float(H[i, i] * H[j, j]) * expected
    if points == 1:
        variance += Q0**2 * P * second / MU**2
        variance += Q0 * float(H.trace()) * (fourth + (P - 1) * second**2)
    draws = ZerothOrder(MU, points, "clipped").draw(bandit(), STATE, 60_000, generator(3))[:, 0]
    assert_moments(draws, second * G, variance)
    mean = draws.mean(0)
    if points != 1:
        assert torch.nn.functional.cosine_similarity(mean, G, dim=0) > 0.99


def test_scale_and_direction_are_told_apart():
    """The public code's noise: the cosine's interval reaches one, the norm ratio's holds .0391 and excludes one."""
    agent = bandit()
    reference = ReferenceCotangent(G[None], torch.zeros(1, P).double(), "the gradient", agent.objective)
    for kind, scale in (("clipped", clipped_moment(2)), ("gaussian", 1.0)):
        draws = ZerothOrder(MU, "antithetic", kind).draw(agent, STATE, 4000, generator(20))
        error = gradient_error(agent, STATE, draws, reference)
        low, high = error.norm_ratio.interval()
        assert low <= scale <= high
        assert (high < 1.0) == (kind == "clipped")
        assert error.cosine.interval()[1] > 0.999
        assert error.cosine.value > 0.99


@pytest.mark.parametrize("kind", DIRECTIONS)
@pytest.mark.parametrize("count", [1, 3])
def test_second_moments(kind, count):
    law, n = DIRECTIONS[kind], 40_000
    u = law.draw((n, count, P), generator(4), STATE)
    products = torch.einsum("dci,dcj->dij", u, u) / count
    error = products.mean(0) - law.second_moment * torch.eye(P)
    assert (error.abs() <= 4.5 * products.std(0) / math.sqrt(n) + 1e-12).all()
    mean, first = u.mean(1), 0.0 if law.symmetric else 1 / math.sqrt(P)
    assert ((mean.mean(0) - first).abs() < 4.5 * mean.std(0) / math.sqrt(n)).all()


@pytest.mark.parametrize(("std", "limit"), [(0.2, 0.5), (1.0, 0.3), (0.1, 10.0), (3.0, 3.0)])
def test_second_moment_of_clipped_noise_by_integration(std, limit):
    inside = integrate.quad(lambda x: x**2 * norm.pdf(x, scale=std), -limit, limit, points=[0.0], epsabs=1e-14)[0]
    truth = inside + 2 * limit**2 * norm.sf(limit / std)
    assert ClippedGaussian(std, limit).second_moment == pytest.approx(truth, rel=1e-8)


# Several directions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [2, "antithetic"])
def test_all_coordinates_are_the_full_difference_quotient(points):
    """Each step is √p·μ along one coordinate; nothing random is left."""
    critic, step = Sine(), math.sqrt(3) * MU
    agent = bandit(critic, 3)
    draws = ZerothOrder(MU, points, "coordinate", count=3).draw(agent, STATE, 20, generator(5))[:, 0]
    base = torch.zeros(3).double()
    expected = []
    for i in range(3):
        e = torch.eye(3).double()[i] * step
        plus, minus, centre = (critic(STATE, at) for at in (base + e, base - e, base))
        expected.append((plus - centre) / step if points == 2 else (plus - minus) / (2 * step))
    assert torch.allclose(draws, torch.stack(expected).expand(20, -1), rtol=1e-12)


class Sine(nn.Module):
    def forward(self, obs, act):
        return (3 * act).sin().sum(-1) + act.prod(-1) + 0.3 * act.sum(-1)


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_several_directions_are_averaged_within_a_draw(kind):
    agent, estimator = bandit(), ZerothOrder(MU, 2, kind, count=4)
    obs = STATE.expand(3, 1)
    noise = estimator.noise(agent, obs, 5, generator(6))
    assert noise.shape == (5, 4, 3, P)
    each = torch.stack([ZerothOrder(MU, 2, kind).at_noise(agent, obs, noise[:, k]) for k in range(4)])
    assert torch.allclose(estimator.at_noise(agent, obs, noise), each.mean(0), rtol=1e-12, atol=1e-12)
    assert torch.equal(estimator.draw(agent, obs, 5, generator(6)), estimator.at_noise(agent, obs, noise))


@pytest.mark.parametrize(("kind", "factor"), [("gaussian", 1 / 4), ("coordinate", (6 - 4) / (4 * 5))])
def test_the_variance_of_several_directions(kind, factor):
    """Independent directions divide it by their number; without replacement less is left."""
    draws = ZerothOrder(MU, "antithetic", kind, count=4).draw(bandit(), STATE, 30_000, generator(7))[:, 0]
    single = 59.5 if kind == "gaussian" else (P - 1) * float(G @ G)
    assert_moments(draws, G, factor * single)


def test_chunks_do_not_change_several_directions(monkeypatch):
    agent, estimator = bandit(), ZerothOrder(MU, 2, count=4)
    whole = estimator.draw(agent, STATE.expand(3, 1), 11, generator())
    sizes = []
    monkeypatch.setattr(heads.in_chunks, "__defaults__", (30,))
    original = estimator.at_noise
    monkeypatch.setattr(estimator, "at_noise", lambda a, o, part: sizes.append(len(part)) or original(a, o, part))
    assert torch.allclose(estimator.draw(agent, STATE.expand(3, 1), 11, generator()), whole, rtol=1e-12)
    assert sizes == [2, 2, 2, 2, 2, 1]  # 12 rows a draw


def test_more_coordinates_than_there_are_is_refused():
    with pytest.raises(GradlabError, match="count is 7, but there are 6 coordinates"):
        ZerothOrder(MU, 2, "coordinate", count=7).draw(bandit(), STATE)


# Common random numbers ---------------------------------------------------------------------------------------


def test_radii_and_points_share_noise():
    agent = bandit(Sine(), 3)
    noise = ZerothOrder(0.5).noise(agent, STATE, 4000, generator(8))
    assert torch.equal(noise, ZerothOrder(0.01, "antithetic").noise(agent, STATE, 4000, generator(8)))
    near, far = (ZerothOrder(mu, "antithetic").at_noise(agent, STATE, noise) for mu in (0.10, 0.11))
    apart = ZerothOrder(0.11, "antithetic").draw(agent, STATE, 4000, generator(9))
    # The difference of two radii is told much better with shared noise.
    assert (near - far).var(0).sum() < 0.01 * (near - apart).var(0).sum()


@pytest.mark.parametrize("mu", [0.05, 0.3])
def test_two_points_are_the_score_function_with_the_value_baseline(mu):
    agent, state = bandit(Sine(), 3), STATE.expand(2, 1)
    noise = ZerothOrder(mu).noise(agent, state, 50, generator(10))
    score = ScoreFunction(mu, "value").draw(agent, state, 50, generator(10))
    assert torch.allclose(ZerothOrder(mu).at_noise(agent, state, noise), score, rtol=1e-12, atol=1e-12)


# Objective ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_the_smoothing_is_the_root_of_the_perturbations_mean_square(kind):
    agent = bandit()
    agent.entropy = 0.3
    objective = ZerothOrder(MU, 2, kind).objective(agent)
    u = DIRECTIONS[kind].draw((50_000, 1, P), generator(11), STATE)
    rms = float((MU * u).square().mean().sqrt())
    assert objective.smoothing == pytest.approx(rms, rel=0.02)
    assert (objective.entropy, objective.discount) == (0.0, agent.discount)


# Off support -------------------------------------------------------------------------------------------------


def outside_agent(at, size=1):
    return Agent(
        ConstantActor(torch.full((size,), float(at))),
        [Quadratic(G[:size], H[:size, :size])],
        [-1.0] * size,
        [1.0] * size,
    )


@pytest.mark.parametrize("points", POINTS)
def test_share_of_actions_outside_the_box(points):
    mu, at, draws = 0.25, 0.8, 4000
    above, below = norm.sf((1 - at) / mu), norm.cdf((-1 - at) / mu)
    # a − μu is distributed as a + μu, so the share is the same with both.
    share = ZerothOrder(mu, points).off_support(outside_agent(at), STATE.expand(3, 1), draws, generator(12))
    assert share.scale == "share"
    assert share.samples == draws
    assert abs(share.value - above - below) < 4 * share.stderr


def test_share_against_a_loop_in_several_dimensions():
    agent, estimator = outside_agent(0.9, 3), ZerothOrder(0.1, "antithetic", "rademacher", count=2)
    noise = estimator.noise(agent, STATE, 40, generator(13))
    steps = [sign * u for u in noise.reshape(-1, 3) for sign in (1, -1)]
    flags = [any(abs(0.9 + 0.1 * float(x)) > 1 for x in step) for step in steps]
    assert estimator.off_support(agent, STATE, 40, generator(13)).value == pytest.approx(np.mean(flags))


def test_interval_of_the_share_covers():
    """Over 300 repetitions; draws are the clusters, since all states of a draw share nothing but their number."""
    mu, at = 0.25, 0.8
    truth = norm.sf((1 - at) / mu) + norm.cdf((-1 - at) / mu)
    agent, held = outside_agent(at), 0
    for seed in range(300):
        low, high = ZerothOrder(mu).off_support(agent, STATE.expand(5, 1), 64, generator(5000 + seed)).interval()
        held += low <= truth <= high
    assert 0.90 * 300 <= held <= 0.99 * 300


def test_notes():
    inside, edge = outside_agent(0.0), outside_agent(0.95)
    assert ZerothOrder(0.05).notes(inside, STATE) == ()
    (note,) = ZerothOrder(0.1).notes(edge, STATE)
    share = norm.sf(0.5)
    percent = int(note.split(": ")[1].split(" %")[0])
    assert abs(percent / 100 - share) < 4 * math.sqrt(share * (1 - share) / 64) + 0.005
    assert "leave the action box" in note
    assert "\n" not in note
    assert ZerothOrder(0.1).notes(edge, STATE) == (note,)
    (scale,) = ZerothOrder(0.05, directions="clipped").notes(inside, STATE)
    assert "0.0391" in scale
    (one_point,) = ZerothOrder(0.05, 1, "coordinate").notes(inside, STATE)
    assert "do not cancel" in one_point
    assert ZerothOrder(0.05, "antithetic", "coordinate").notes(inside, STATE) == ()


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    ZerothOrder(0.1).notes(outside_agent(0.95), STATE)
    ZerothOrder(0.1, directions="coordinate").off_support(outside_agent(0.95), STATE)
    assert torch.equal(torch.get_rng_state(), before)


# Arguments ---------------------------------------------------------------------------------------------------


class Skewed(Direction):
    """Signs along one diagonal, of E uuᵀ ≠ c·I, only to show that one's own law is taken."""

    name = "diagonal"

    def draw(self, shape, generator, like):
        return torch.ones(shape, dtype=like.dtype)


def test_a_direction_of_ones_own():
    estimator = ZerothOrder(MU, "antithetic", Skewed())
    assert estimator.name == "zeroth-order-antithetic-diagonal"
    draws = estimator.draw(bandit(), STATE, 2)
    assert torch.allclose(draws, G.sum().expand(2, 1, P))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("zeroth-order-2", {}),
        ("zeroth-order-2-rademacher", {"directions": "rademacher"}),
        ("zeroth-order-1-coordinate-3-directions", {"points": 1, "directions": "coordinate", "count": 3}),
        ("zeroth-order-2-clipped-0.1-0.5", {"directions": ClippedGaussian(0.1)}),
    ],
)
def test_names(name, arguments):
    assert str(ZerothOrder(MU, **arguments)) == name


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ZerothOrder(count=0), "count"),
        (lambda: ZerothOrder(directions="cube"), "'rademacher'"),
        (lambda: ClippedGaussian(std=0.0), "positive"),
        (lambda: ClippedGaussian(limit=math.inf), "positive"),
        (lambda: ZerothOrder().off_support(bandit(), STATE, draws=0), "at least one"),
        (lambda: ZerothOrder().draw(Agent(nn.Linear(1, 2), [], 0, 1, policy=Softmax()), STATE), "continuous"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(GradlabError, match=message):
        build()


def test_a_stochastic_policy_is_perturbed_around_its_mode():
    agent = Agent(
        nn.Linear(1, 4), [Quadratic(G[:2].float(), H[:2, :2].float())], [-1.0] * 2, [1.0] * 2, policy=Gaussian()
    )
    draws = ZerothOrder(MU, directions="rademacher").draw(agent, torch.zeros(2, 1), 3)
    assert draws.shape == (3, 2, 4)
    assert not draws[..., 2:].any()


def test_numbers_of_draws_and_directions_are_whole() -> None:
    with pytest.raises(GradlabError, match=r"draws: 2.5; ask for a whole number"):
        ZerothOrder().draw(bandit(), STATE, draws=2.5)
    with pytest.raises(GradlabError, match=r"count is 1.5; average a whole number"):
        ZerothOrder(count=1.5)
