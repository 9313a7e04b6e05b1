"""Paired comparison against explicit gradients and leave-out loops; coverage where the truth is in closed form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from gradlab import Agent, GradlabError, compare
from gradlab.estimators import Deterministic, ZerothOrder
from gradlab.estimators.base import Estimator
from gradlab.objective import Objective
from gradlab.products import jacobians_by_loop
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.paired import common_draws
from gradlab.tangent import tangent_kernel

B, N, M = 16, 4, 2


class Noisy(Estimator):
    """A known mean and isotropic noise of a known size, normal or heavy-tailed, which common seeds make common."""

    def __init__(self, name: str, mean: Tensor, size: float, *, tail: bool = False, wasted: int = 0) -> None:
        self.name, self.mean, self.size, self.tail, self.wasted = name, mean, size, tail, wasted

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        shape = (draws, *self.mean.shape)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        torch.randn(self.wasted, generator=generator)
        if self.tail:
            noise = noise * torch.randn(shape, generator=generator, dtype=torch.float64)
        return self.mean + self.size * noise


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class World:
    """A linear head, where inner products of gradients need no gradlab."""

    def __init__(self, seed: int, bias: tuple[float, float], stderr: float = 0.0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.agent = Agent(nn.Linear(N, M).double(), [], [-1.0] * M, [1.0] * M)
        self.obs, self.truth = normal(self.generator, B, N), normal(self.generator, B, M)
        self.means = [self.truth + size * normal(self.generator, B, M) for size in bias]
        self.stderr = stderr * torch.rand(B, M, generator=self.generator, dtype=torch.float64)
        self.features = torch.cat([self.obs, torch.ones(B, 1, dtype=torch.float64)], 1)

    def reference(self) -> ReferenceCotangent:
        mean = self.truth + self.stderr * normal(self.generator, B, M)
        return ReferenceCotangent(mean, self.stderr, "truth", Objective())

    def squared(self, v: Tensor) -> float:
        return float((self.features.T @ v).square().sum()) / B**2

    def variance(self, size: float) -> float:
        return float(self.features.square().sum()) * M * size**2 / B**2


def statistics(a: Tensor, b: Tensor) -> tuple[Tensor, float]:
    """(Δ‖bias‖², ΔV per state) and MSE_a/MSE_b of errors [D, P] by their definition."""
    found = []
    for w in (a, b):
        n = len(w)
        pairs = list(itertools.permutations(range(n), 2))
        bias = sum(float(w[i] @ w[j]) for i, j in pairs) / len(pairs)
        variance = float((w - w.mean(0)).square().sum()) / (n - 1)
        found.append((bias, variance))
    (bias_a, var_a), (bias_b, var_b) = found
    return torch.tensor([bias_a - bias_b, B * (var_a - var_b)], dtype=torch.float64), (bias_a + var_a) / (
        bias_b + var_b
    )


def test_against_explicit_loops() -> None:
    world, draws = World(1, (1.0, 0.2)), 6
    ref, kernel = world.reference(), tangent_kernel(world.agent, world.obs)
    a, b = Noisy("a", world.means[0], 0.5), Noisy("b", world.means[1], 1.5, wasted=3)
    found = compare(a, b, world.agent, world.obs, ref, draws, torch.Generator().manual_seed(4), kernel=kernel)
    seed = int(torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(4)))
    jacobian = jacobians_by_loop(world.agent, world.obs, list(world.agent.named_parameters()))
    errors = []
    for estimator in (a, b):
        v = common_draws(estimator, world.agent, world.obs, draws, seed)
        errors.append(torch.einsum("bmp,dbm->dp", jacobian, v - ref.mean) / B)
    theta, ratio = statistics(*errors)
    assert found.bias_squared.value == pytest.approx(float(theta[0]), rel=1e-9)
    assert found.variance.value == pytest.approx(float(theta[1]), rel=1e-9)
    assert found.ratio.value == pytest.approx(ratio, rel=1e-9)
    per_draw = errors[0].square().sum(1) - errors[1].square().sum(1)
    assert found.difference.value == pytest.approx(float(per_draw.mean()), rel=1e-9)
    # A mean over draws has nothing quadratic in it.
    assert found.difference.stderr == pytest.approx(float(per_draw.std()) / math.sqrt(draws), rel=1e-6)

    def left(kept: list[int]) -> tuple[Tensor, float]:
        return statistics(errors[0][kept], errors[1][kept])

    every = list(range(draws))
    one = [left([k for k in every if k != d]) for d in every]
    ratios = torch.tensor([x[1] for x in one], dtype=torch.float64)
    jackknife = (draws - 1) / draws * float((ratios - ratios.mean()).square().sum())
    assert found.ratio.stderr == pytest.approx(math.sqrt(jackknife), rel=1e-6)
    thetas = torch.stack([x[0] for x in one])
    plain = (draws - 1) / draws * (thetas - thetas.mean(0)).square().sum(0)
    expected = plain.sqrt()
    assert found.bias_squared.stderr == pytest.approx(float(expected[0]), rel=1e-6)
    assert found.variance.stderr == pytest.approx(float(expected[1]), rel=1e-6)
    assert found.crossing.value == pytest.approx(-float(theta[1] / theta[0]), rel=1e-9)


def test_the_crossing_interval_is_where_the_curves_are_not_told_apart() -> None:
    world = World(2, (1.0, 0.2))
    kernel, ref = tangent_kernel(world.agent, world.obs), world.reference()
    a, b = Noisy("a", world.means[0], 0.5), Noisy("b", world.means[1], 1.5)
    found = compare(a, b, world.agent, world.obs, ref, 64, torch.Generator().manual_seed(0), kernel=kernel)
    low, high = found.crossing.interval()
    assert 1 < low < found.crossing.value < high < math.inf
    assert found.better == "a"
    assert found.verdict.startswith("a is better below a batch of")
    assert found.verdict.endswith(f"b is better above a batch of {high:.3g}")
    # The same states twice over are a batch of 2B with the same bias: the curves at B′ = 2B, measured.
    obs, double = torch.cat([world.obs] * 2), tangent_kernel(world.agent, torch.cat([world.obs] * 2))
    mean = torch.cat([ref.mean] * 2)
    twice = ReferenceCotangent(mean, torch.zeros_like(mean), "truth", Objective())
    pair = [Noisy(e.name, torch.cat([e.mean] * 2), e.size) for e in (a, b)]
    measured = compare(*pair, world.agent, obs, twice, 64, torch.Generator().manual_seed(0), kernel=double)
    predicted = found.bias_squared.value + found.variance.value / (2 * B)
    tolerance = 4 * math.hypot(measured.difference.stderr, found.variance.stderr / (2 * B), found.bias_squared.stderr)
    assert abs(measured.difference.value - predicted) < tolerance


def test_two_that_never_cross_and_two_that_are_one() -> None:
    world = World(3, (1.0, 0.0))
    kernel, ref = tangent_kernel(world.agent, world.obs), world.reference()
    worse, better = Noisy("worse", world.means[0], 1.0), Noisy("better", world.means[1], 0.5)
    found = compare(worse, better, world.agent, world.obs, ref, 32, torch.Generator().manual_seed(0), kernel=kernel)
    assert found.verdict == "they never cross: better is better at every batch size"
    assert found.crossing.value == math.inf
    assert found.crossing.interval() == (math.inf, math.inf)
    same = compare(better, better, world.agent, world.obs, ref, 32, torch.Generator().manual_seed(0), kernel=kernel)
    assert (same.difference.value, same.difference.stderr, same.ratio.value, same.better) == (0.0, 0.0, 1.0, "")
    assert same.verdict == "unresolved at every batch size"
    assert (same.first, same.second) == ("better (a)", "better (b)")


def test_common_random_numbers_pair_each_draw_with_its_own_only() -> None:
    """However much noise each takes, draw d shares its noise with draw d, and the pairing narrows the interval."""
    world = World(4, (0.5, 0.5))
    few, many = Noisy("few", world.means[0], 1.0), Noisy("many", world.means[0], 1.0, wasted=5)
    one, two = (common_draws(each, world.agent, world.obs, 5, seed=9) for each in (few, many))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert not torch.equal(one[0], one[1])
    # Negative control: one stream for all draws parts company after the first.
    streams = [each.draw(world.agent, world.obs, 1, torch.Generator().manual_seed(9)) for each in (few, many)]
    torch.testing.assert_close(*streams, rtol=0, atol=0)
    kernel, ref = tangent_kernel(world.agent, world.obs), world.reference()
    louder = Noisy("louder", world.means[0], 1.1)
    paired = compare(few, louder, world.agent, world.obs, ref, 64, torch.Generator().manual_seed(0), kernel=kernel)
    apart = math.hypot(paired.errors[0].mse.stderr, paired.errors[1].mse.stderr)
    assert paired.difference.stderr < apart / 4


def test_real_estimators_and_refusals() -> None:
    class Critic(nn.Module):
        def forward(self, obs: Tensor, act: Tensor) -> Tensor:
            return 3.0 + (act - obs[:, :2]).sum(-1) - act.pow(3).sum(-1)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = nn.Linear(N, 2)
    agent = Agent(actor, [Critic()], [-1.0, -1.0], [1.0, 1.0])
    obs = torch.randn(8, N, generator=torch.Generator().manual_seed(0))
    mean = Deterministic().draw(agent, obs)[0].double()
    ref = ReferenceCotangent(mean, torch.zeros_like(mean), "critic", Objective())
    found = compare(Deterministic(), ZerothOrder(0.5), agent, obs, ref, 64, torch.Generator().manual_seed(1))
    assert found.better == "deterministic"
    assert any("smoothing: σ=0.5" in note for note in found.notes)
    assert "deterministic has the smaller" in str(found)
    with pytest.raises(GradlabError, match="needs at least four"):
        compare(Deterministic(), ZerothOrder(0.5), agent, obs, ref, 3)
    other = ReferenceCotangent(mean, torch.zeros_like(mean), "critic", Objective(discount=1.0))
    with pytest.raises(GradlabError, match="against undiscounted"):
        compare(Deterministic(), ZerothOrder(0.5), agent, obs, other, 8)
    allowed = compare(Deterministic(), ZerothOrder(0.5), agent, obs, other, 8, allow_mismatch=True)
    for name in ("difference", "ratio", "bias_squared", "variance", "crossing"):
        assert "mismatch allowed" in str(getattr(allowed, name)), name


#: name → (draws, bias and noise of a, bias and noise of b, heavy tails, the reference's standard error)
REGIMES = {
    "crossing": (48, 1.0, 0.5, 0.2, 1.5, False, 0.0),
    "crossing, heavy tails": (96, 1.0, 0.5, 0.2, 1.5, True, 0.0),
    "noisy reference": (48, 1.0, 0.5, 0.5, 1.0, False, 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("regime", REGIMES)
def test_intervals_hold_the_truth(regime: str) -> None:
    draws, bias_a, size_a, bias_b, size_b, tail, stderr = REGIMES[regime]
    repetitions, held = 400, dict.fromkeys(("difference", "ratio", "bias_squared", "variance", "crossing"), 0)
    # Two worlds, half of the repetitions in each.
    for seed in (501, 502):
        world = World(seed, (bias_a, bias_b), stderr)
        kernel = tangent_kernel(world.agent, world.obs)
        bias = [world.squared(mean - world.truth) for mean in world.means]
        variance = [world.variance(size) for size in (size_a, size_b)]
        truth = {
            "difference": bias[0] + variance[0] - bias[1] - variance[1],
            "ratio": (bias[0] + variance[0]) / (bias[1] + variance[1]),
            "bias_squared": bias[0] - bias[1],
            "variance": B * (variance[0] - variance[1]),
            "crossing": B * (variance[1] - variance[0]) / (bias[0] - bias[1]),
        }
        a, b = Noisy("a", world.means[0], size_a, tail=tail), Noisy("b", world.means[1], size_b, tail=tail)
        for _ in range(repetitions // 2):
            found = compare(a, b, world.agent, world.obs, world.reference(), draws, world.generator, kernel=kernel)
            for name, true in truth.items():
                low, high = getattr(found, name).interval()
                held[name] += low <= true <= high
    shares = {name: count / repetitions for name, count in held.items()}
    assert all(0.90 <= share <= 0.98 for share in shares.values()), shares


class Scaled(Noisy):
    """One factor exp(s z − s²), z standard normal, for each draw's noise: E of its square is one, kurtosis as liked."""

    spread = 0.8

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        factor = (
            self.spread * torch.randn(draws, 1, 1, generator=generator, dtype=torch.float64) - self.spread**2
        ).exp()
        return self.mean + factor * (super()._draw(agent, obs, draws, generator) - self.mean)


def test_differences_hold_where_one_estimator_has_a_heavy_tail() -> None:
    # ‖w‖² has a factor exp(1.6 z): of kurtosis w⁴ + 2w³ + 3w² − 3 = 33 000, w = exp(1.6²).
    repetitions, draws, held, symmetric = 300, 64, dict.fromkeys(("difference", "ratio", "variance"), 0), 0
    world = World(20_000_600, (0.5, 0.2))
    kernel = tangent_kernel(world.agent, world.obs)
    a, b = Scaled("a", world.means[0], 1.0), Noisy("b", world.means[1], 0.3)
    mse = [world.squared(e.mean - world.truth) + world.variance(e.size) for e in (a, b)]
    variance = B * (world.variance(a.size) - world.variance(b.size))
    truth = {"difference": mse[0] - mse[1], "ratio": mse[0] / mse[1], "variance": variance}
    for _ in range(repetitions):
        found = compare(a, b, world.agent, world.obs, world.reference(), draws, world.generator, kernel=kernel)
        for name, true in truth.items():
            low, high = getattr(found, name).interval()
            held[name] += low <= true <= high
        away = abs(found.difference.value - truth["difference"])
        symmetric += away <= float(stdtrit(draws - 1, 0.975)) * found.difference.stderr
    # What the draws do not show of the tail may cost five points: 90 % less four standard errors.
    least = (0.9 - 4 * math.sqrt(0.09 / repetitions)) * repetitions
    assert all(count >= least for count in held.values()), held
    # Negative control: the same standard error without the tail.
    assert symmetric < least, symmetric
