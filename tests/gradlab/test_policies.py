"""Policies against scipy, 60-digit arithmetic, numerical integration and differences."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import (
    Around,
    Deterministic,
    Gaussian,
    Kumaraswamy,
    Policy,
    Softmax,
    SquashedGaussian,
    TruncatedNormal,
)
from gradlab.policies.tails import hazards, log_mass, log_one_minus_exp, quantile
from gradlab.products import parameter_gradient
from gradlab.tangent import materialised_kernel, tangent_kernel

LOW, HIGH = -0.7, 2.3


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


#: One action coordinate; heads of each kind, among them hard ones.
HEADS = {
    "gaussian": (Gaussian(), [(0.3, -0.5), (-2.0, 1.0)]),
    "squashed": (SquashedGaussian(0.0, LOW, HIGH), [(0.3, -0.5), (-1.0, 0.2)]),
    "truncated": (
        TruncatedNormal(LOW, HIGH),
        # inside; left and right of the box; 40 and 200 standard deviations off; wider than the box
        [(0.3, -0.5), (-1.5, -1.0), (3.0, -0.7), (12.3, -1.4), (12.3, -3.0), (0.0, 6.0)],
    ),
    "kumaraswamy": (
        Kumaraswamy(LOW, HIGH),
        [(0.5, 0.8), (1.2, -0.4), (-0.3, 0.9), (-0.2, -0.3), (0.0, 0.0), (2.0, 4.0)],
    ),
    "around": (Around(0.4), [(0.3,), (-1.0,)]),
}
CASES = [
    pytest.param(policy, double(*head), id=f"{name}{head}") for name, (policy, heads) in HEADS.items() for head in heads
]
BOXED = [case for case in CASES if isinstance(case.values[0], TruncatedNormal | Kumaraswamy | SquashedGaussian)]


def density(policy, head):
    """π(a) for a number a, by the policy's own log_prob."""
    return lambda a: math.exp(policy.log_prob(head, double(a)).item())


def bounds(policy, head):
    """Where the mass is, to the last of it that matters: the images of ε = ±8."""
    ends = policy.sample(head.expand(2, -1), double(-8.0, 8.0).unsqueeze(-1))[0]
    return ends[0].item(), ends[1].item()


# What holds for every policy ---------------------------------------------------------------------------------


# The density of (−0.3, 0.9) is infinite at the lower face, which the integrator remarks on.
@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize(("policy", "head"), CASES)
def test_density_integrates_to_the_distribution_that_is_drawn_from(policy, head):
    """∫_{-∞}^{f(h, ε)} π = Φ(ε): the density and the draw are of the same distribution, and it is normalised."""
    low, _ = bounds(policy, head)
    cuts = [policy.sample(head, double(e))[0].item() for e in (-6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0)]
    total = 0.0
    for epsilon, left, right in zip((-6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0), [low, *cuts], cuts, strict=False):
        total += integrate.quad(density(policy, head), left, right, limit=200, epsabs=1e-12)[0]
        assert total == pytest.approx(stats.norm.cdf(epsilon), abs=1e-7)


@pytest.mark.parametrize(("policy", "head"), CASES)
def test_log_prob_of_the_draw_is_that_of_its_action(policy, head):
    noise = torch.randn(200, 1, generator=generator(), dtype=torch.float64)
    act, log_prob = policy.sample(head, noise)
    assert act.shape == (200, 1)
    assert log_prob.shape == (200,)
    assert torch.allclose(policy.log_prob(head, act), log_prob, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize(("policy", "head"), CASES)
def test_path_and_log_prob_gradients_are_those_of_differences(policy, head):
    for epsilon in (-2.0, -0.4, 0.7, 1.9):
        at = head.clone().requires_grad_()
        for k in (0, 1):  # the action, then its log-probability along the path
            value = policy.sample(at, double(epsilon))[k].sum()
            if not value.requires_grad:  # of a fixed width: the same log-probability wherever the centre is
                assert isinstance(policy, Around)
                continue
            (got,) = torch.autograd.grad(value, at)
            for j in range(len(head)):
                step = torch.zeros_like(head)
                step[j] = 1e-5
                ends = [policy.sample(head + sign * step, double(epsilon))[k].sum() for sign in (1, -1)]
                # Rounding of the values, over the step, is the error of a difference.
                size = max(1.0, *(abs(end.item()) for end in ends), *head.abs().tolist())
                assert got[j].item() == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=2e-5, abs=1e-9 * size)


@pytest.mark.parametrize(("policy", "head"), CASES)
def test_score_is_the_gradient_of_log_prob_at_a_fixed_action(policy, head):
    noise = torch.randn(60, 1, generator=generator(1), dtype=torch.float64)
    got = policy.score(head, noise)
    slow = Policy.score(policy, head, noise)
    scale = slow.abs().amax(0)
    assert ((got - slow).abs() <= 1e-7 * (scale + slow.abs())).all()
    act = policy.sample(head, noise)[0]
    for j in range(len(head)):
        step = torch.zeros_like(head)
        step[j] = 1e-5
        difference = (policy.log_prob(head + step, act) - policy.log_prob(head - step, act)) / 2e-5
        size = policy.log_prob(head, act).abs().max().item() + head.abs().max().item() ** 2
        assert torch.allclose(got[:, j], difference, rtol=1e-4, atol=1e-5 + 1e-8 * size)


@pytest.mark.parametrize(("policy", "head"), CASES)
def test_scores_have_mean_zero(policy, head):
    points, weights = np.polynomial.hermite_e.hermegauss(100)
    score = policy.score(head, torch.from_numpy(points).unsqueeze(-1))
    weights = torch.from_numpy(weights) / math.sqrt(2 * math.pi)
    root_mean_square = (weights @ score.square()).sqrt()
    assert ((weights @ score).abs() < 1e-6 * root_mean_square + 1e-9).all()


@pytest.mark.parametrize(("policy", "head"), BOXED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_stay_in_the_box(policy, head, dtype):
    noise = torch.randn(2000, 1, generator=generator(2), dtype=dtype) * 3
    act, log_prob = policy.sample(head.to(dtype), noise)
    score = policy.score(head.to(dtype), noise)
    low, high = torch.tensor([LOW, HIGH], dtype=dtype)
    assert act.dtype == log_prob.dtype == score.dtype == dtype
    assert (act >= low).all()
    assert (act <= high).all()
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(score).all()
    exact = policy.score(head.to(dtype).double(), noise.double())
    # Single precision of the head is all that may be lost, though actions round to the faces.
    assert torch.allclose(score.double(), exact, rtol=1e-4, atol=1e-4 * exact.abs().max().item())


# A squashed Gaussian acts with the squashed mean, which is not its density's maximum.
@pytest.mark.parametrize(("policy", "head"), [c for c in CASES if not isinstance(c.values[0], SquashedGaussian)])
def test_mode_is_the_most_probable_action(policy, head):
    mode = policy.mode(head).item()
    if isinstance(policy, Kumaraswamy) and (head <= 0).all():
        assert mode == pytest.approx(policy.sample(head, double(0.0))[0].item())
        return
    low, high = bounds(policy, head)
    low, high = (LOW, HIGH) if hasattr(policy, "box") else (low, high)
    grid = torch.linspace(low, high, 20_001, dtype=torch.float64)
    best = grid[policy.log_prob(head.expand(len(grid), -1), grid.unsqueeze(-1)).argmax()].item()
    assert mode == pytest.approx(best, abs=2 * (high - low) / 20_000)


def test_several_coordinates_are_independent():
    for name, (policy, heads) in HEADS.items():
        halves = len(heads[0])
        head = double(*(heads[i][k] for k in range(halves) for i in (0, 1)))
        noise = torch.randn(5, 2, generator=generator(3), dtype=torch.float64)
        act, log_prob = policy.sample(head, noise)
        singles = [policy.sample(double(*heads[i]), noise[:, i : i + 1]) for i in (0, 1)]
        assert torch.allclose(act, torch.cat([a for a, _ in singles], -1)), name
        assert torch.allclose(log_prob, singles[0][1] + singles[1][1]), name
        assert policy.head_size(2) == len(head), name


# The truncated normal ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [-4.0, -0.5, 0.0, 0.9, 2.5, 6.0])
@pytest.mark.parametrize("std", [0.2, 1.0, 5.0])
def test_truncated_normal_against_scipy(mean, std):
    policy, head = TruncatedNormal(LOW, HIGH), double(mean, math.log(std))
    truth = stats.truncnorm((LOW - mean) / std, (HIGH - mean) / std, mean, std)
    at = np.linspace(LOW, HIGH, 41)
    got = policy.log_prob(head.expand(41, -1), torch.from_numpy(at).unsqueeze(-1)).numpy()
    assert got == pytest.approx(truth.logpdf(at), rel=1e-8, abs=1e-8)
    noise = torch.linspace(-4, 4, 33, dtype=torch.float64)
    draws = policy.sample(head, noise.unsqueeze(-1))[0].squeeze(-1).numpy()
    assert draws == pytest.approx(truth.ppf(stats.norm.cdf(noise.numpy())), rel=1e-7, abs=1e-7)


def test_corners_that_are_not_standardised_are_right_for_the_standard_normal_alone():
    """x = Φ⁻¹(uΦ(b) + (1−u)Φ(a)) without (· − mean)/σ, as the course chapter has it."""
    noise = torch.randn(4000, generator=generator(4), dtype=torch.float64).numpy()
    u, a, b = stats.norm.cdf(noise), -1.0, 1.5

    def chapter():
        return stats.norm.ppf(u * stats.norm.cdf(b) + (1 - u) * stats.norm.cdf(a))

    for mean, std, same in ((0.0, 1.0, True), (0.5, 1.0, False), (0.0, 0.5, False)):
        policy = TruncatedNormal(a, b)
        ours = policy.sample(double(mean, math.log(std)), torch.from_numpy(noise).unsqueeze(-1))[0].squeeze(-1).numpy()
        truth = stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
        assert stats.kstest(ours, truth.cdf).pvalue > 1e-3
        assert (stats.kstest(chapter(), truth.cdf).pvalue > 1e-3) == same
        assert np.allclose(ours, chapter()) == same


#: α, β: wide, narrow, far out on either side, across zero, far out on both sides.
INTERVALS = [
    (-1.0, 1.0), (-5.0, 3.0), (0.0, 1e-6), (3.0, 3.0001), (0.2, 0.7), (-9.0, 9.0), (30.0, 40.0), (-40.0, -30.0),
    (100.0, 101.0), (300.0, 300.5), (1000.0, 1001.0), (-20.0, 25.0), (-1e-3, 2e-3), (5.0, 5.4), (-0.1, 30.0),
]  # fmt: skip


def exactly(alpha, beta):
    """Φ(β) − Φ(α) from the tail in which it keeps its digits, in 60-digit arithmetic."""
    with mpmath.workdps(60):
        a, b = mpmath.mpf(alpha), mpmath.mpf(beta)
        if a + b > 0:
            return mpmath.erfc(a / mpmath.sqrt(2)) / 2 - mpmath.erfc(b / mpmath.sqrt(2)) / 2
        return mpmath.erfc(-b / mpmath.sqrt(2)) / 2 - mpmath.erfc(-a / mpmath.sqrt(2)) / 2


@pytest.mark.parametrize(("alpha", "beta"), INTERVALS)
def test_mass_and_hazards_against_many_digits(alpha, beta):
    a, b = double(alpha, beta)
    with mpmath.workdps(60):
        mass = exactly(alpha, beta)
        truth = float(mpmath.log(mass))
        ratios = [float(mpmath.npdf(end) / mass) for end in (alpha, beta)]
    assert log_mass(a, b).item() == pytest.approx(truth, rel=1e-14, abs=1e-14)
    assert [x.item() for x in hazards(a, b)] == pytest.approx(ratios, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(("alpha", "beta"), [pair for pair in INTERVALS if abs(sum(pair)) < 250])
@pytest.mark.parametrize("epsilon", [-6.0, -0.8, 0.0, 1.5, 7.0])
def test_quantile_against_many_digits(alpha, beta, epsilon):
    at = quantile(*double(alpha, beta, epsilon)).item()
    with mpmath.workdps(60):
        mass = exactly(alpha, beta)
        share = exactly(alpha, at) / mass if at > alpha else mpmath.mpf(0)
        rest = exactly(at, beta) / mass if at < beta else mpmath.mpf(0)
        u, one_minus_u = mpmath.erfc(-epsilon / mpmath.sqrt(2)) / 2, mpmath.erfc(epsilon / mpmath.sqrt(2)) / 2
        # The error in x, in units of the interval's own spread: that of the probability over the density there.
        error = float(abs(share - u) if u < one_minus_u else abs(rest - one_minus_u))
        slope = float(mpmath.npdf(at) / mass)
    assert error / slope <= 1e-12 * min(beta - alpha, 1.0) + 2e-15 * (1 + abs(at))


def test_tails_are_differentiable_twice_and_batched():
    alpha = double(-1.0, 2.0, -6.0, 5.0).requires_grad_()
    beta = double(0.5, 4.0, -3.5, 5.05).requires_grad_()
    noise = double(0.3, -1.0, 1.2, 0.0).requires_grad_()
    assert torch.autograd.gradcheck(log_mass, (alpha, beta))
    assert torch.autograd.gradgradcheck(log_mass, (alpha, beta))
    assert torch.autograd.gradcheck(hazards, (alpha, beta))
    assert torch.autograd.gradcheck(quantile, (alpha, beta, noise))
    assert torch.autograd.gradgradcheck(quantile, (alpha, beta, noise))
    one_by_one = torch.func.vmap(torch.func.grad(log_mass, argnums=(0, 1)))(alpha, beta)
    assert torch.allclose(one_by_one[1], hazards(alpha, beta)[1])


def test_log_one_minus_exp_at_both_ends():
    x = -torch.logspace(-300, 2.8, 400, dtype=torch.float64)
    with mpmath.workdps(400):
        truth = [float(mpmath.log(-mpmath.expm1(mpmath.mpf(v)))) for v in x.tolist()]
    assert log_one_minus_exp(x).tolist() == pytest.approx(truth, rel=1e-14)
    at = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(log_one_minus_exp(at).sum(), at)
    assert torch.isfinite(slope).all()


def test_truncated_normal_outside_its_box_and_far_off():
    policy = TruncatedNormal(-1.0, 1.0)
    head = double(0.0, 0.0)
    assert policy.log_prob(head, double(1.01)).item() == -math.inf
    assert math.isfinite(policy.log_prob(head, double(1.0)).item())
    # 10⁴ standard deviations outside: an exponential at the face, of rate distance/σ².
    far = double(101.0, math.log(0.01))
    act = policy.sample(far, double(0.0))[0].item()
    assert 1 - act == pytest.approx(math.log(2) / (100 / 0.01**2), rel=1e-4)
    (slope,) = torch.autograd.grad(policy.mode(far.requires_grad_()).sum(), far)
    assert slope.tolist() == [0.0, 0.0]


# Kumaraswamy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS["kumaraswamy"][1])
def test_kumaraswamy_against_torch_distributions(head):
    a, b = (math.exp(x) for x in head)
    truth = torch.distributions.Kumaraswamy(double(a), double(b))
    y = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    got = Kumaraswamy(0.0, 1.0).log_prob(double(*head).expand(50, -1), y.unsqueeze(-1))
    assert torch.allclose(got, truth.log_prob(y), rtol=1e-8, atol=1e-8)
    draws = Kumaraswamy(0.0, 1.0).sample(double(*head), torch.randn(4000, 1, generator=generator(5)).double())[0]
    assert stats.kstest(draws.flatten().numpy(), lambda x: 1 - (1 - x**a) ** b).pvalue > 1e-3


def test_the_draw_with_its_exponents_swapped_is_of_another_distribution():
    """1 − (1 − u^α)^{1/β} in place of (1 − (1 − u)^{1/β})^{1/α}, as the course chapter has it."""
    u = torch.rand(4000, generator=generator(6), dtype=torch.float64).numpy()
    a, b = 2.0, 5.0
    ours = Kumaraswamy(0.0, 1.0).sample(double(math.log(a), math.log(b)), double(*stats.norm.ppf(u)).unsqueeze(-1))[0]
    for draws, right in ((ours.flatten().numpy(), True), (1 - (1 - u**a) ** (1 / b), False)):
        assert (stats.kstest(draws, lambda x: 1 - (1 - x**a) ** b).pvalue > 1e-3) == right


def test_kumaraswamy_mode_by_search():
    policy = Kumaraswamy(0.0, 1.0)
    for head in ((0.5, 0.8), (2.0, 4.0), (0.1, 0.05)):
        found = optimize.minimize_scalar(
            lambda y, head=head: -policy.log_prob(double(*head), double(y)).item(),
            bounds=(1e-6, 1 - 1e-6),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert policy.mode(double(*head)).item() == pytest.approx(found.x, abs=1e-5)
    at = double(0.5, 0.8).requires_grad_()
    (slope,) = torch.autograd.grad(policy.mode(at).sum(), at)
    ends = [policy.mode(double(0.5 + d, 0.8)).item() for d in (1e-6, -1e-6)]
    assert slope[0].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("head", [(-6.0, -6.0), (-6.0, 3.0), (3.0, -6.0), (6.0, 6.0)])
def test_kumaraswamy_survives_extreme_heads(head):
    policy = Kumaraswamy()
    noise = torch.linspace(-6, 6, 101, dtype=torch.float64).unsqueeze(-1)
    at = double(*head).expand(101, -1).clone().requires_grad_()
    act, log_prob = policy.sample(at, noise)
    (gradient,) = torch.autograd.grad(act.sum() + log_prob.sum(), at)
    assert torch.isfinite(act).all()
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(gradient).all()
    score = policy.score(double(*head), noise)
    assert torch.isfinite(score).all()
    # −log(1 − u) is exponential: 1 + β log(1 − y^α) has mean 0 and variance 1 for every head.
    assert torch.allclose(score[:, 1], 1 + torch.special.log_ndtr(-noise[:, 0]))


# Gaussians ---------------------------------------------------------------------------------------------------


def test_gaussian_against_scipy():
    head, act = double(0.3, -0.5, -0.2, 0.4), double(1.0, -1.5)
    truth = stats.norm(head[:2].numpy(), head[2:].exp().numpy()).logpdf(act.numpy()).sum()
    assert Gaussian().log_prob(head, act).item() == pytest.approx(truth)
    assert Around(0.4).log_prob(head[:2], act).item() == pytest.approx(
        stats.norm(head[:2].numpy(), 0.4).logpdf(act.numpy()).sum()
    )


def test_around_carries_the_score_through_the_centre():
    class Tanh(Deterministic):
        def mode(self, head):
            return head.tanh()

    policy, head = Around(0.2, Tanh()), double(0.4, -0.3)
    noise = torch.randn(7, 2, generator=generator(7), dtype=torch.float64)
    truth = noise / 0.2 * (1 - head.tanh().square())
    assert torch.allclose(policy.score(head, noise), truth, rtol=1e-12)
    assert torch.equal(policy.mode(head), head.tanh())


def test_gaussian_score_keeps_its_digits_beside_a_large_mean():
    head, noise = torch.tensor([1000.0, math.log(1e-3)]), torch.tensor([[0.7]])
    assert torch.allclose(Gaussian().score(head, noise), torch.tensor([[700.0, 0.7**2 - 1]]), rtol=1e-5)
    # The action itself has lost them: (a − mean)/σ² in single precision is far off.
    assert not torch.allclose(Policy.score(Gaussian(), head, noise), torch.tensor([[700.0, -0.51]]), rtol=1e-2)


class FreeLogStd(nn.Module):
    """The mean depends on the state, the log_std is a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Linear(3, 2)
        self.log_std = nn.Parameter(torch.tensor([-0.5, 0.2]))

    def forward(self, obs):
        return torch.cat([self.mean(obs), self.log_std.expand(len(obs), -1)], -1)


def test_a_log_std_that_does_not_depend_on_the_state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        agent = Agent(FreeLogStd(), [], [-1, -1], [1, 1], policy=Gaussian())
    obs = torch.randn(5, 3, generator=generator())
    v = torch.randn(5, 4, generator=generator(1))
    gradient = parameter_gradient(agent, obs, v)
    assert torch.allclose(gradient["log_std"], v[:, 2:].mean(0), atol=1e-6)
    assert torch.allclose(gradient["mean.weight"], v[:, :2].T @ obs / 5, atol=1e-6)
    kernel = tangent_kernel(agent.snapshot(double=True), obs.double())
    slow = materialised_kernel(agent.snapshot(double=True), obs.double())
    assert torch.allclose(kernel.matrix, slow.matrix, atol=1e-10)
    # The log_std is shared by all states: its block of K is the identity for every pair.
    square = kernel.matrix.reshape(5, 4, 5, 4)
    assert torch.allclose(square[0, 2:, 3, 2:], torch.eye(2).double(), atol=1e-12)


# Softmax -----------------------------------------------------------------------------------------------------


def test_softmax_draws_and_log_prob():
    head = double(0.5, -1.0, 2.0)
    noise = Softmax().noise((50_000, 3), generator(), head)
    act, log_prob = Softmax().sample(head, noise)
    share, probability = act.mean(0), head.softmax(-1)
    stderr = (probability * (1 - probability) / 50_000).sqrt()
    assert ((share - probability).abs() < 4 * stderr).all()
    assert torch.allclose(log_prob.exp(), (act * probability).sum(-1))
    score = Softmax().score(head, noise[:9])
    assert torch.allclose(score, act[:9] - probability)


def test_softmax_with_an_impossible_action():
    head = double(0.0, -math.inf)
    assert Softmax().log_prob(head, double(1.0, 0.0)).item() == 0.0


def test_softmax_entropy_and_relaxation():
    head = torch.randn(6, 4, generator=generator(), dtype=torch.float64)
    truth = stats.entropy(head.softmax(-1).numpy(), axis=-1)
    assert Softmax().entropy(head).numpy() == pytest.approx(truth)
    noise = Softmax().noise((100, 6, 4), generator(1), head)
    drawn = Softmax().sample(head, noise)[0]
    for temperature in (0.05, 0.5, 5.0):
        relaxed = Softmax().relaxed(head, noise, temperature)
        assert torch.allclose(relaxed.sum(-1), torch.ones(100, 6).double())
        assert torch.equal(Softmax().mode(relaxed), drawn)
    assert (Softmax().relaxed(head, noise, 1e-6) - drawn).abs().mean() < 1e-4
    assert torch.autograd.gradcheck(lambda h: Softmax().relaxed(h, noise[0], 0.7), (head.requires_grad_(),))


# Wrong input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TruncatedNormal(1.0, -1.0), "low below high"),
        (lambda: Kumaraswamy(0.0, math.inf), "finite"),
        (lambda: SquashedGaussian(low=1.0, high=1.0), "low below high"),
        (lambda: Around(0.0), "positive number"),
        (lambda: Around(1.0, Softmax()), "continuous"),
        (lambda: Softmax().relaxed(torch.zeros(2), torch.zeros(2), 0.0), "temperature"),
        (lambda: Deterministic().log_prob(torch.zeros(1), torch.zeros(1)), "no log-probability"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(GradlabError, match=message):
        build()
