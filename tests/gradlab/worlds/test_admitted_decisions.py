"""Every estimator that a world with a single decision admits has the mean and the variance that the world says.

Each is run through ``Estimator.draw`` and carried to the parameters one head coordinate at a time, without gradlab's
kernels. About 170 comparisons of each kind: beyond 4.5 standard errors chance comes once in 800 such files.
"""

import itertools
import math

import pytest
import torch

from gradlab.estimators import ScoreFunction
from gradlab.worlds import (
    BallOverWall,
    CubicBandit,
    GaussianPolynomial,
    Polynomial,
    PolynomialBandit,
    QuadraticBandit,
    Step,
)

DRAWS, BOUND = 60_000, 4.5

G, H = [1.0, -2.0, 0.5], [[-1.0, 0.3, 0.0], [0.3, -2.0, 0.4], [0.0, 0.4, 1.5]]


def third(size, seed):
    form = torch.randn(size, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return sum(form.permute(p) for p in itertools.permutations(range(3))) / 6


QUARTIC = Polynomial.from_forms(
    [torch.tensor(2.0), torch.tensor([1.0, -1.0]), torch.eye(2), third(2, 1), torch.ones([2] * 4)]
)

WORLDS = {
    "polynomial": GaussianPolynomial(2, 1.0),
    "polynomial, both": GaussianPolynomial(3, -0.8, 0.6, learn_std=True),
    "quadratic": QuadraticBandit(G, H, q0=3.0, action=[0.1, 0.2, -0.3]),
    "quadratic, one action": QuadraticBandit([1.5], [[-2.0]], q0=-1.0),
    "quadratic, gaussian": QuadraticBandit(G, H, q0=3.0, std=[0.3, 0.5, 0.8]),
    "cubic": CubicBandit(G, H, third(3, 2), q0=1.0),
    "cubic, both": CubicBandit(G, H, third(3, 3), q0=1.0, std=[0.3, 0.5, 0.8], learn_std=True),
    "quartic": PolynomialBandit(QUARTIC, action=[0.3, -0.1]),
    "step": Step(mean=0.4, std=0.7, threshold=1.0, height=3.0, low=-1.0),
    "step, three actions": Step([0.1, 0.2, -0.5], [0.5, 0.9, 1.3], [1.0, -2.0, 0.5], 0.3, 2.0, 0.5, learn_std=True),
    "ball": BallOverWall(),
    "ball, both": BallOverWall(angle=1.1, std=0.3, learn_std=True),
}
CASES = [(name, i) for name, world in WORLDS.items() for i in range(len(world.admitted()))]


def parameter_draws(world, estimator, draws, seed):
    """Gradients [draws, P], by differentiating the head one coordinate at a time."""
    agent, obs = world.agent(), world.observations()
    cotangents = estimator.draw(agent, obs, draws, torch.Generator().manual_seed(seed))
    parameters = list(agent.named_parameters().values())
    head, total = agent.head(obs), 0
    for i, j in itertools.product(range(len(obs)), range(head.shape[1])):
        parts = torch.autograd.grad(head[i, j], parameters, retain_graph=True, materialize_grads=True)
        total = total + cotangents[:, i, j, None] * torch.cat([part.reshape(-1) for part in parts])
    return total / len(obs)


def z_scores(gradients, mean, variance):
    """Standard errors by which the mean (worst component) and the trace of the covariance are off."""
    root = math.sqrt(len(gradients))
    # Draws that are all equal have no standard error but rounding.
    rounding = 1e-11 * (1 + gradients.abs().max())
    means = (gradients.mean(0) - mean) / (gradients.std(0) / root + rounding)
    if variance is None:
        return means.abs().max().item(), 0.0
    squares = (gradients - mean).square().sum(-1)
    spread = (squares.mean() - variance) / (squares.std() / root + rounding**2 + 1e-10 * variance)
    return means.abs().max().item(), abs(spread.item())


@pytest.mark.parametrize(("name", "index"), CASES, ids=[f"{n}-{WORLDS[n].admitted()[i].estimator}" for n, i in CASES])
def test_mean_and_variance(name, index):
    world = WORLDS[name]
    admitted = world.admitted()[index]
    size = sum(p.numel() for p in world.agent().named_parameters().values())
    assert admitted.mean.shape == admitted.truth.shape == (size,)
    assert torch.equal(admitted.truth, world.true_gradient())
    # A seed of its own for each case, or one unlucky noise would decide all of them.
    gradients = parameter_draws(world, admitted.estimator, DRAWS, 1000 + 37 * CASES.index((name, index)))
    mean_z, variance_z = z_scores(gradients, admitted.mean, admitted.variance)
    assert mean_z < BOUND
    assert variance_z < BOUND


def test_the_comparison_can_fail():
    """Five per cent of the mean, or ten of the variance (known to 1.2 per cent here), do not go unseen."""
    world = QuadraticBandit(G, H, q0=3.0)
    admitted = next(a for a in world.admitted() if a.estimator.name == "zeroth-order-2")
    gradients = parameter_draws(world, admitted.estimator, DRAWS, 5)
    assert z_scores(gradients, 1.05 * admitted.mean, admitted.variance)[0] > BOUND
    assert z_scores(gradients, admitted.mean, 1.1 * admitted.variance)[1] > BOUND


@pytest.mark.parametrize("name", WORLDS)
def test_names_tell_estimators_apart(name):
    names = [str(admitted.estimator) for admitted in WORLDS[name].admitted()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [name for name in WORLDS if "quartic" not in name])
def test_numerical_gradient(name):
    """The gradient is the derivative of the value with respect to the agent's parameters."""
    world, step = WORLDS[name], 1e-5
    values = []
    for i in range(len(world.true_gradient())):
        both = [_moved(world, i, sign * step).value() for sign in (1, -1)]
        values.append((both[0] - both[1]) / (2 * step))
    assert world.true_gradient().tolist() == pytest.approx(values, rel=1e-6, abs=1e-7)


def _moved(world, index, by):
    """The world with one parameter moved; written out by hand, so that the world does not say what its own are."""
    size = len(world.true_gradient())
    which, part = ("std", index - size // 2) if index >= size // 2 and _has_std(world) else ("mean", index)
    if isinstance(world, GaussianPolynomial):
        theta = world.theta + by * (which == "mean")
        return GaussianPolynomial(world.power, theta, world.std + by * (which == "std"), learn_std=world.learn_std)
    if isinstance(world, BallOverWall):
        angle = world.angle + by * (which == "mean")
        return BallOverWall(angle, world.std + by * (which == "std"), learn_std=world.learn_std)
    if isinstance(world, Step):
        mean, std = world.mean.clone(), world.std.clone()
        (mean if which == "mean" else std)[part] += by
        return Step(mean, std, world.normal, world.threshold, world.height, world.low, learn_std=world.learn_std)
    # The critic of a bandit stays where it is when the actor moves: Taylor's coefficients about the new action.
    std = None if world.std is None else world.std.clone()
    shift = torch.zeros_like(world.a0)
    if which == "std":
        std[part] += by
    else:
        shift[part] = by
    T = getattr(world, "T", torch.zeros(len(shift), len(shift), len(shift)).double())
    g = world.g + world.H @ shift + T @ shift @ shift / 2
    q0 = world.q0 + world.g @ shift + shift @ world.H @ shift / 2 + T @ shift @ shift @ shift / 6
    return CubicBandit(g, world.H + T @ shift, T, q0, world.a0 + shift, std)


def _has_std(world):
    return getattr(world, "learn_std", False)


def test_score_function_baselines_are_ordered():
    """At the best constant there is less variance than at any other, and per component less still."""
    for name in ("quadratic, gaussian", "cubic, both", "step, three actions", "ball, both"):
        moments = WORLDS[name].score_moments()
        best = moments.variance(moments.optimal_baseline)
        assert best < min(moments.variance(moments.optimal_baseline + shift) for shift in (-0.05, 0.05))
        assert moments.variance(moments.optimal_baselines) <= best + 1e-12
        # Many actions a draw: their mean has the variance of one with b = E f, over their number.
        many = 10_000
        assert moments.leave_one_out(many) * many == pytest.approx(moments.variance(moments.value), rel=1e-2)


def test_leave_one_out_by_hand():
    """Two actions: half the product of differences, whose moments are those of four independent draws."""
    world = Step(mean=0.4, std=0.7, threshold=1.0)
    estimator = ScoreFunction(baseline="leave-one-out", samples=2)
    noise = torch.randn(2 * 5, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws = estimator.at_noise(world.agent(), world.observations(), noise)[:, 0, 0]
    score, reward = noise[:, 0, 0] / 0.7, world.q(0.4 + 0.7 * noise[:, 0])
    by_hand = (score[::2] - score[1::2]) * (reward[::2] - reward[1::2]) / 2
    assert torch.allclose(draws, by_hand)
