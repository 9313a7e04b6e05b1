"""gradient_error against explicit per-draw gradients and explicit leave-out loops, in float64."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.error import GradientError, _gram_squared, gradient_error, gradient_variance
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.objective import Objective
from gradlab.products import jacobians_by_loop
from gradlab.references.base import ReferenceCotangent
from gradlab.tangent import tangent_kernel

B, M, N = 6, 3, 4
NUMBERS = ("bias_squared", "variance", "mse", "cosine", "norm_ratio", "snr")


def make_agent(seed: int = 0) -> tuple[Agent, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    actor = nn.Sequential(nn.Linear(N, 5), nn.Tanh(), nn.Linear(5, M)).double()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    obs = torch.randn(B, N, generator=generator, dtype=torch.float64)
    return Agent(actor, [], [-1.0] * M, [1.0] * M, discount=0.9), obs


def make_case(
    draws: int, noise: float = 1.0, bias: float = 0.5, stderr: float = 0.0, seed: int = 1
) -> tuple[Tensor, ReferenceCotangent]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mean = normal(B, M)
    v = mean + bias * normal(B, M) + noise * normal(draws, B, M)
    errors = stderr * torch.rand(B, M, generator=generator, dtype=torch.float64)
    return v, ReferenceCotangent(mean, errors, "truth", Objective(discount=0.9), samples=50)


class Oracle:
    """Everything by its definition, from gradients g_d and r in parameter space."""

    def __init__(self, agent: Agent, obs: Tensor, v: Tensor, ref: ReferenceCotangent) -> None:
        jacobian = jacobians_by_loop(agent, obs, list(agent.named_parameters()))
        self.g = [torch.einsum("bmp,bm->p", jacobian, draw) / len(obs) for draw in v]
        self.r = torch.einsum("bmp,bm->p", jacobian, ref.mean) / len(obs)
        self.omega = torch.einsum("bmp,bm,bmq->pq", jacobian, ref.stderr**2, jacobian) / len(obs) ** 2

    def statistics(self, g: list[Tensor]) -> dict[str, float]:
        n, noise = len(g), float(self.omega.trace())
        pairs = list(itertools.permutations(range(n), 2))
        errors = [x - self.r for x in g]
        mean = sum(g[1:], g[0]) / n
        bias = sum(float(errors[a] @ errors[b]) for a, b in pairs) / len(pairs) - noise
        squared = sum(float(g[a] @ g[b]) for a, b in pairs) / len(pairs)
        true = float(self.r @ self.r) - noise
        variance = sum(float((x - mean) @ (x - mean)) for x in g) / (n - 1)
        return {
            "bias_squared": bias,
            "variance": variance,
            "mse": sum(float(e @ e) for e in errors) / n - noise,
            "cosine": float(mean @ self.r) / math.sqrt(squared * true),
            "norm_ratio": math.sqrt(squared / true),
            "snr": squared / variance,
        }

    def jackknife(self, name: str) -> float:
        n = len(self.g)
        theta = self.statistics(self.g)[name]
        one = [self.statistics([g for k, g in enumerate(self.g) if k != d])[name] for d in range(n)]
        variance = (n - 1) / n * sum((x - sum(one) / n) ** 2 for x in one)
        interactions = []
        for d, e in itertools.combinations(range(n), 2):
            two = self.statistics([g for k, g in enumerate(self.g) if k not in (d, e)])[name]
            interactions.append(n * theta - (n - 1) * (one[d] + one[e]) + (n - 2) * two)
        centre = sum(interactions) / len(interactions)
        quadratic = sum((x - centre) ** 2 for x in interactions) / (n * (n - 1))
        share = 0.5 if name == "cosine" else 1.0
        return max(variance - share * quadratic, variance / 2, quadratic / 2)

    def from_reference(self, name: str) -> float:
        n, omega = len(self.g), self.omega
        mean = sum(self.g[1:], self.g[0]) / n
        centred = torch.stack(self.g) - mean
        spread = float((centred @ omega @ centred.T).trace()) / (n - 1) / n
        square = float((omega @ omega).trace())
        values = self.statistics(self.g)
        true = float(self.r @ self.r - omega.trace())
        if name in ("bias_squared", "mse"):
            plug_in = float((mean - self.r) @ omega @ (mean - self.r)) - spread
            return max(4 * plug_in - 2 * square, 2 * plug_in, square)
        if name == "norm_ratio":
            plug_in = float(self.r @ omega @ self.r)
            return max(4 * plug_in - 2 * square, 2 * plug_in, square) * (values[name] / (2 * true)) ** 2
        if name == "cosine":
            squared = (values["norm_ratio"] ** 2) * true
            slope = mean / math.sqrt(squared * true) - values[name] * self.r / true
            plug_in = float(slope @ omega @ slope) - spread / (squared * true)
            quadratic = values[name] ** 2 * square / (2 * true**2)
            return max(plug_in - quadratic / 2, quadratic / 2)
        return 0.0


@pytest.mark.parametrize("stderr", [0.0, 0.1], ids=["exact reference", "noisy reference"])
@pytest.mark.parametrize(("noise", "bias"), [(0.3, 0.5), (0.3, 0.0), (1e-6, 0.0), (1e-5, 1.0)])
def test_values_and_standard_errors_against_explicit_loops(noise: float, bias: float, stderr: float) -> None:
    agent, obs = make_agent()
    v, ref = make_case(7, noise, bias, stderr)
    error, oracle = gradient_error(agent, obs, v, ref), Oracle(agent, obs, v, ref)
    expected = oracle.statistics(oracle.g)
    scale = max(abs(expected["bias_squared"]), expected["variance"])
    for name in NUMBERS:
        estimate: Estimate = getattr(error, name)
        absolute = 1e-9 * scale if name in ("bias_squared", "mse", "variance") else 0.0
        assert estimate.value == pytest.approx(expected[name], rel=1e-7, abs=absolute), name
        # The oracle's own cancellation: it does not subtract the reference before it multiplies.
        floor = 1e-12 if name in ("cosine", "norm_ratio") else 0.0
        variance = oracle.jackknife(name) + oracle.from_reference(name)
        assert estimate.stderr == pytest.approx(math.sqrt(variance), rel=1e-4, abs=floor), name
        assert (estimate.samples, estimate.reference, estimate.objective) == (7, "truth", "γ=0.9")
    assert error.reference_norm_squared.value == pytest.approx(float(oracle.r @ oracle.r - oracle.omega.trace()))
    assert error.mse.value == pytest.approx(error.bias_squared.value + error.variance.value, rel=1e-12)


def test_blocks_alone_give_the_same_numbers() -> None:
    agent, obs = make_agent()
    blocks = tangent_kernel(agent, obs, full=False)
    v, ref = make_case(9, 0.5, 0.5)
    with_matrix, without = gradient_error(agent, obs, v, ref), gradient_error(agent, obs, v, ref, kernel=blocks)
    for name in NUMBERS:
        a, b = getattr(with_matrix, name), getattr(without, name)
        assert a.value == pytest.approx(b.value, rel=1e-9)
        assert a.stderr == pytest.approx(b.stderr, rel=1e-7)
    v, ref = make_case(9, 0.5, 0.5, stderr=0.3)
    with_matrix, without = gradient_error(agent, obs, v, ref), gradient_error(agent, obs, v, ref, kernel=blocks)
    for name in NUMBERS:
        a, b = getattr(with_matrix, name), getattr(without, name)
        assert a.value == pytest.approx(b.value, rel=1e-9)
        assert b.stderr >= a.stderr * (1 - 1e-9)


def test_scale_and_direction_are_apart() -> None:
    agent, obs = make_agent()
    v, ref = make_case(16, 0.3, 0.3)
    one, scaled = gradient_error(agent, obs, v, ref), gradient_error(agent, obs, 0.0391 * v, ref)
    assert scaled.cosine.value == pytest.approx(one.cosine.value, rel=1e-10)
    assert scaled.norm_ratio.value == pytest.approx(0.0391 * one.norm_ratio.value, rel=1e-10)
    assert scaled.snr.value == pytest.approx(one.snr.value, rel=1e-9)
    assert scaled.variance.value == pytest.approx(0.0391**2 * one.variance.value, rel=1e-10)


def test_all_draws_the_same() -> None:
    agent, obs = make_agent()
    v, ref = make_case(1, 0.0, 0.5)
    same = v.expand(1000, B, M)
    error, oracle = gradient_error(agent, obs, same, ref), Oracle(agent, obs, v, ref)
    difference = oracle.g[0] - oracle.r
    assert error.bias_squared.value == pytest.approx(float(difference @ difference), rel=1e-12)
    assert error.variance == Estimate(0.0, 0.0, 1000, "truth", "γ=0.9", "inverse")
    assert error.cosine.value == pytest.approx(float(torch.cosine_similarity(oracle.g[0], oracle.r, dim=0)))
    assert [getattr(error, name).stderr for name in NUMBERS[:5]] == [0.0] * 5
    assert math.isinf(error.snr.value)
    assert gradient_variance(agent, obs, same).value == 0.0
    exact = gradient_error(agent, obs, ref.mean.expand(8, B, M), ref)
    assert (exact.bias_squared.value, exact.norm_ratio.value) == (0.0, 1.0)
    assert exact.cosine.value == pytest.approx(1.0, abs=1e-12)
    noisy = gradient_error(agent, obs, same, make_case(1, 0.0, 0.5, stderr=0.2)[1])
    assert noisy.bias_squared.stderr > 0
    assert noisy.variance.stderr == 0


@pytest.mark.parametrize("draws", [1, 2, 3, 4])
def test_few_draws_give_values_where_there_are_any(draws: int) -> None:
    agent, obs = make_agent()
    v, ref = make_case(draws, 0.1, 0.1)
    error = gradient_error(agent, obs, v, ref)
    assert math.isfinite(error.mse.value)
    assert math.isfinite(error.mse.stderr) == (draws >= 3)
    for name in ("bias_squared", "variance", "cosine", "norm_ratio", "snr"):
        assert math.isfinite(getattr(error, name).value) == (draws >= 2), name
        assert math.isfinite(getattr(error, name).stderr) == (draws >= 3), name
    assert math.isfinite(gradient_variance(agent, obs, v).value) == (draws >= 2)


def test_invalid_states_are_left_out_of_everything() -> None:
    agent, obs = make_agent()
    v, ref = make_case(8, 0.5, 0.5, stderr=0.1)
    valid = torch.tensor([True, False, True, True, False, True])
    mean, stderr = (torch.where(valid[:, None], x, torch.nan) for x in (ref.mean, ref.stderr))
    holed = ReferenceCotangent(mean, stderr, "truth", ref.objective)
    broken = torch.where(valid[:, None], v, torch.nan)
    kept = ReferenceCotangent(ref.mean[valid], ref.stderr[valid], "truth", ref.objective)
    expected = gradient_error(agent, obs[valid], v[:, valid], kept)
    for kernel in (None, tangent_kernel(agent, obs)):
        error = gradient_error(agent, obs, broken, holed, kernel=kernel)
        for name in NUMBERS:
            assert getattr(error, name).value == pytest.approx(getattr(expected, name).value, rel=1e-9)
            assert getattr(error, name).stderr == pytest.approx(getattr(expected, name).stderr, rel=1e-7)
        assert error.states == 4
        assert any("2 of 6 states left out" in note for note in error.notes)
    closed = dataclasses.replace(ref, valid=torch.zeros(B, dtype=torch.bool))
    with pytest.raises(GradlabError, match="closed at all 6 states"):
        gradient_error(agent, obs, v, closed)


def test_a_direction_lost_in_noise_is_nan_and_says_so() -> None:
    agent, obs = make_agent()
    v, ref = make_case(8, 0.1, 0.1)
    drowned = ReferenceCotangent(ref.mean, torch.full_like(ref.stderr, 100.0), "truth", ref.objective)
    error = gradient_error(agent, obs, v, drowned)
    assert error.reference_norm_squared.value < 0
    assert math.isnan(error.cosine.value)
    assert math.isnan(error.norm_ratio.value)
    assert math.isfinite(error.variance.value)
    assert "truth's gradient" in error.notes[0]
    pure = torch.cat([v - v.mean(0), v.mean(0) - v])
    error = gradient_error(agent, obs, pure, ref)
    assert math.isnan(error.snr.value)
    assert "the estimator's mean gradient" in error.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[0], "expected \\[draws, 6, m\\]"),
        (lambda v: v[:0], "not empty"),
        (lambda v: v[:, :5], "this agent and batch need"),
        (lambda v: v[..., :2], "this agent and batch need"),
        (
            lambda v: v.clone().index_fill_(0, torch.tensor([2, 4]), math.nan),
            "2 of 8 draws at 6 of 6 .* draw 2, state 0",
        ),
        (lambda v: v.clone().index_fill_(1, torch.tensor([3]), -math.inf), "8 of 8 draws at 1 of 6 .* draw 0, state 3"),
    ],
)
def test_wrong_draws_are_refused(change: Callable[[Tensor], Tensor], message: str) -> None:
    agent, obs = make_agent()
    v, ref = make_case(8)
    for call in (lambda: gradient_error(agent, obs, change(v), ref), lambda: gradient_variance(agent, obs, change(v))):
        with pytest.raises(GradlabError, match=message.replace(", m", ", [m3]")):
            call()


def test_wrong_references_and_kernels_are_refused() -> None:
    agent, obs = make_agent()
    v, ref = make_case(8)
    with pytest.raises(GradlabError, match="has 6 states, the batch has 5"):
        gradient_error(agent, obs[:5], v[:, :5], ref)
    dishonest = dataclasses.replace(ref, stderr=ref.stderr * math.nan, valid=torch.ones(B, dtype=torch.bool))
    with pytest.raises(GradlabError, match="states it calls valid"):
        gradient_error(agent, obs, v, dishonest)
    with pytest.raises(GradlabError, match="cotangents: shape"):
        gradient_error(agent, obs, v, ref, kernel=tangent_kernel(agent, obs[:5]))
    with pytest.raises(GradlabError, match="made for 5 states"):
        gradient_variance(agent, obs, v[:, :5], kernel=tangent_kernel(agent, obs[:5], full=False))


def test_gradient_variance_against_explicit_loops() -> None:
    agent, obs = make_agent()
    v, _ = make_case(9)
    jacobian = jacobians_by_loop(agent, obs, list(agent.named_parameters()))

    def trace(draws: Tensor) -> float:
        per_state = torch.einsum("bmp,dbm->dbp", jacobian, draws) / B
        return float(per_state.var(0).sum())

    estimate = gradient_variance(agent, obs, v)
    assert estimate.value == pytest.approx(trace(v), rel=1e-12)
    logs = [math.log(trace(v[torch.arange(9) != d])) for d in range(9)]
    spread = sum((x - sum(logs) / 9) ** 2 for x in logs) * 8 / 9
    assert estimate.stderr == pytest.approx(estimate.value * math.sqrt(spread), rel=1e-9)
    assert gradient_variance(agent, obs, v, kernel=tangent_kernel(agent, obs)) == estimate


def test_float32_agrees_with_float64() -> None:
    agent, obs = make_agent()
    v, ref = make_case(16, 0.5, 0.5)
    single = Agent(agent.snapshot().actor.float(), [], [-1.0] * M, [1.0] * M, discount=0.9)
    a, b = gradient_error(agent, obs, v, ref), gradient_error(single, obs.float(), v.float(), ref)
    for name in NUMBERS:
        assert getattr(b, name).value == pytest.approx(getattr(a, name).value, rel=1e-4)


def repeat(agent: Agent, obs: Tensor, repetitions: int, draws: int, stderr: float) -> list[GradientError]:
    kernel = tangent_kernel(agent, obs)
    generator = torch.Generator().manual_seed(3)
    truth = torch.ones(len(obs), 1, dtype=torch.float64)
    errors = torch.full_like(truth, stderr)
    out = []
    for _ in range(repetitions):
        v = truth + torch.randn(draws, *truth.shape, generator=generator, dtype=torch.float64)
        mean = truth + errors * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
        out.append(gradient_error(agent, obs, v, ReferenceCotangent(mean, errors, "truth", Objective()), kernel=kernel))
    return out


@pytest.mark.parametrize("stderr", [0.0, 0.5], ids=["exact reference", "noisy reference"])
def test_unbiased_estimator_is_negative_two_times_in_three(stderr: float) -> None:
    # One parameter: P(χ²₁ < 1) = 0.6827.
    agent = Agent(nn.Linear(1, 1, bias=False).double(), [], [-1.0], [1.0])
    obs = torch.ones(4, 1, dtype=torch.float64)
    repetitions, draws = 600, 16
    errors = repeat(agent, obs, repetitions, draws, stderr)
    values = torch.tensor([e.bias_squared.value for e in errors])
    share = float((values < 0).double().mean())
    assert abs(share - 0.6827) < 4 * math.sqrt(0.6827 * 0.3173 / repetitions)
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(repetitions)
    # Negative control: without its correction the mean is not zero, and noise passes for a bias.
    if stderr:
        uncorrected = values + stderr**2 / len(obs)
    else:
        uncorrected = values + torch.tensor([e.variance.value for e in errors]) / draws
    assert float(uncorrected.mean()) > 4 * float(uncorrected.std()) / math.sqrt(repetitions)
    assert float((uncorrected < 0).double().mean()) < 0.6827 - 4 * math.sqrt(0.6827 * 0.3173 / repetitions)


@pytest.mark.parametrize("draws", [3, 7, 8, 200])
def test_squares_of_inner_products_are_the_same_in_either_form(draws: int) -> None:
    generator = torch.Generator().manual_seed(3)
    e, root = (torch.randn(*shape, 7, generator=generator, dtype=torch.float64) for shape in ((draws,), (7,)))
    kernel = root[:, :3] @ root[:, :3].T
    expected = sum(float(one @ kernel @ other) ** 2 for one in e for other in e)
    assert _gram_squared(e, e @ kernel) == pytest.approx(expected, rel=1e-9)
