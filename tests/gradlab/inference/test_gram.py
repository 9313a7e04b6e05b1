"""Errors from inner products alone, and cosines of single gradients, against gradients written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradlab import Agent, GradlabError
from gradlab.error import error_from_gram, gradient_error
from gradlab.inference.confidence import ReferenceNoise
from gradlab.inference.gram import GradientError
from gradlab.objective import Objective
from gradlab.products import jacobians_by_loop
from gradlab.references.base import ReferenceCotangent

B, M, N = 5, 2, 3
NUMBERS = (
    "bias_squared",
    "variance",
    "mse",
    "cosine",
    "norm_ratio",
    "snr",
    "reference_norm_squared",
    "minibatch_cosine",
    "pairwise_cosine",
)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def make(draws: int, stderr: float = 0.0, seed: int = 0) -> tuple[Agent, Tensor, Tensor, ReferenceCotangent]:
    generator = torch.Generator().manual_seed(seed)
    actor = nn.Sequential(nn.Linear(N, 4), nn.Tanh(), nn.Linear(4, M)).double()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(normal(generator, *parameter.shape))
    obs, mean = normal(generator, B, N), normal(generator, B, M)
    v = mean + 0.3 * normal(generator, B, M) + normal(generator, draws, B, M)
    ref = ReferenceCotangent(mean, torch.full_like(mean, stderr), "truth", Objective(), samples=50)
    return Agent(actor, [], [-1.0] * M, [1.0] * M), obs, v, ref


def flat(agent: Agent, obs: Tensor, v: Tensor, ref: ReferenceCotangent) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients [D, P], the reference [P] and its covariance [P, P]."""
    jacobian = jacobians_by_loop(agent, obs, list(agent.named_parameters()))
    g = torch.einsum("bmp,dbm->dp", jacobian, v) / B
    r = torch.einsum("bmp,bm->p", jacobian, ref.mean) / B
    return g, r, torch.einsum("bmp,bm,bmq->pq", jacobian, ref.stderr**2, jacobian) / B**2


def assert_same(a: GradientError, b: GradientError) -> None:
    for name in NUMBERS:
        one, two = getattr(a, name), getattr(b, name)
        assert one.value == pytest.approx(two.value, rel=1e-9, nan_ok=True), name
        assert one.stderr == pytest.approx(two.stderr, rel=1e-8, abs=1e-12, nan_ok=True), name
        assert one.interval() == pytest.approx(two.interval(), rel=1e-6, abs=1e-9, nan_ok=True), name
        assert (one.samples, one.reference, one.objective) == (two.samples, two.reference, two.objective), name
    assert (a.states, a.notes) == (b.states, b.notes)


@pytest.mark.parametrize("draws", [1, 2, 3, 4, 9])
def test_the_same_numbers_as_from_cotangents(draws: int) -> None:
    agent, obs, v, ref = make(draws)
    g, r, _ = flat(agent, obs, v, ref)
    words = {"reference": "truth", "objective": str(ref.objective), "reference_samples": 50, "states": B}
    assert_same(error_from_gram(g @ g.T, g @ r, r @ r, **words), gradient_error(agent, obs, v, ref))


def test_the_same_numbers_for_draws_that_are_all_the_same() -> None:
    agent, obs, v, ref = make(1)
    v = v.expand(6, -1, -1)
    g, r, _ = flat(agent, obs, v[:1], ref)
    words = {"reference": "truth", "objective": str(ref.objective), "reference_samples": 50, "states": B}
    gram = (g @ g.T).expand(6, 6)
    found = error_from_gram(gram, (g @ r).expand(6), r @ r, **words)
    assert_same(found, gradient_error(agent, obs, v, ref))
    assert (found.variance.value, found.pairwise_cosine.value, found.pairwise_cosine.stderr) == (0.0, 1.0, 0.0)


def test_a_noisy_reference_adds_what_it_adds_from_cotangents() -> None:
    agent, obs, v, ref = make(9, stderr=0.2)
    g, r, omega = flat(agent, obs, v, ref)
    w, e = g.mean(0) - r, g - g.mean(0)
    noise = ReferenceNoise(
        trace=float(omega.trace()),
        square=float((omega @ omega).trace()),
        with_spread=float((e @ omega @ e.T).trace()) / 8,
        error=float(w @ omega @ w),
        cross=float(w @ omega @ r),
        reference=float(r @ omega @ r),
    )
    words = {"reference": "truth", "objective": str(ref.objective), "reference_samples": 50, "states": B}
    found, expected = error_from_gram(g @ g.T, g @ r, r @ r, noise=noise, **words), gradient_error(agent, obs, v, ref)
    for name in NUMBERS:
        assert getattr(found, name).value == pytest.approx(getattr(expected, name).value, rel=1e-9), name
        if name != "minibatch_cosine":
            assert getattr(found, name).stderr == pytest.approx(getattr(expected, name).stderr, rel=1e-8), name
    # Without the covariance itself the mean unit gradient's noise is only bounded.
    assert found.minibatch_cosine.stderr >= expected.minibatch_cosine.stderr


def test_what_does_not_fit_is_refused_and_located() -> None:
    gram = torch.eye(3).double()
    with pytest.raises(GradlabError, match=r"must be \[draws, draws\]"):
        error_from_gram(gram, torch.ones(2), 1.0)
    with pytest.raises(GradlabError, match="NaN or infinite for 1 of 3 draws, first draw 2"):
        error_from_gram(gram, torch.tensor([0.0, 1.0, math.nan]), 1.0)
    with pytest.raises(GradlabError, match="NaN or infinite for r"):
        error_from_gram(gram, torch.ones(3), math.inf)


@pytest.mark.parametrize("stderr", [0.0, 0.2])
def test_cosines_of_single_gradients_by_their_definition(stderr: float) -> None:
    agent, obs, v, ref = make(7, stderr)
    g, r, omega = flat(agent, obs, v, ref)
    error = gradient_error(agent, obs, v, ref)
    length = math.sqrt(float(r @ r) - float(omega.trace()))
    cosines = torch.stack([x @ r / x.norm() for x in g]) / length
    assert error.minibatch_cosine.value == pytest.approx(float(cosines.mean()), rel=1e-9)
    unit = torch.stack([x / x.norm() for x in g]).mean(0)
    slope = unit / length - cosines.mean() * r / length**2
    quadratic = float(cosines.mean() ** 2 * (omega @ omega).trace()) / (2 * length**4)
    from_reference = max(float(slope @ omega @ slope), quadratic)
    assert error.minibatch_cosine.stderr == pytest.approx(
        math.sqrt(float(cosines.var()) / 7 + from_reference), rel=1e-9
    )

    def pairwise(kept: list[int]) -> float:
        pairs = list(itertools.combinations(kept, 2))
        return sum(float(torch.cosine_similarity(g[a], g[b], dim=0)) for a, b in pairs) / len(pairs)

    everything = list(range(7))
    theta = pairwise(everything)
    assert error.pairwise_cosine.value == pytest.approx(theta, rel=1e-9)
    one = [pairwise([k for k in everything if k != d]) for d in everything]
    variance = 6 / 7 * sum((x - sum(one) / 7) ** 2 for x in one)
    interactions = [
        7 * theta - 6 * (one[d] + one[e]) + 5 * pairwise([k for k in everything if k not in (d, e)])
        for d, e in itertools.combinations(everything, 2)
    ]
    centre = sum(interactions) / len(interactions)
    quadratic = sum((x - centre) ** 2 for x in interactions) / 42
    expected = max(variance - quadratic, variance / 2, quadratic / 2)
    assert error.pairwise_cosine.stderr == pytest.approx(math.sqrt(expected), rel=1e-8)


def test_more_draws_than_pairs_are_formed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, obs, v, ref = make(12)
    every = gradient_error(agent, obs, v, ref)
    monkeypatch.setattr("gradlab.error.PAIRS", 5)
    few = gradient_error(agent, obs, v, ref)
    for name in NUMBERS:
        assert getattr(few, name).value == pytest.approx(getattr(every, name).value, rel=1e-9), name


def test_isotropic_noise_in_many_dimensions() -> None:
    """Pairwise cosine = (expected cosine)², E cos ≈ √(λ/(λ + d)), λ = N‖g‖²/σ² for means of N samples."""
    size, samples, draws = 200, 40, 1500
    generator = torch.Generator().manual_seed(5)
    truth = normal(generator, size)
    for sigma in (10.0, 100.0):
        g = truth + sigma / math.sqrt(samples) * normal(generator, draws, size)
        error = error_from_gram(g @ g.T, g @ truth, truth @ truth)
        strength = samples * float(truth @ truth) / sigma**2
        expected = math.sqrt(strength / (strength + size))
        # The formula is for d → ∞; its own error is O(1/d).
        assert error.minibatch_cosine.value == pytest.approx(
            expected, abs=4 * error.minibatch_cosine.stderr + expected / size
        )
        product, alike = error.minibatch_cosine, error.pairwise_cosine
        tolerance = 4 * math.hypot(alike.stderr, 2 * product.value * product.stderr)
        assert abs(alike.value - product.value**2) < tolerance + product.value**2 / size
        # It could fail: the cosine itself is not its square.
        assert abs(alike.value - product.value) > tolerance


def test_the_standard_error_of_a_variance_is_the_kurtosis_s() -> None:
    """√((κ − 1)/n), κ = 29 for the score function of E[x²θ], x ~ N(θ, 1), at θ = 1: x²θ(x − θ) + x²."""

    def score(x: Tensor) -> Tensor:
        return x.square() * (x - 1) + x.square()

    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(32))
    g, weights = score(nodes + 1), weights / weights.sum()
    mean = float(weights @ g)
    second, fourth = (float(weights @ (g - mean).pow(k)) for k in (2, 4))
    assert (mean, second, fourth / second**2) == pytest.approx((4.0, 60.0, 29.0), rel=0.02)
    draws = score(normal(torch.Generator().manual_seed(17), 2000) + 1)
    error = error_from_gram(torch.outer(draws, draws), 4 * draws, 16.0)
    centred = draws - draws.mean()
    kurtosis = float(centred.pow(4).mean() / centred.square().mean() ** 2)
    assert error.variance.value == pytest.approx(float(draws.var()), rel=1e-9)
    assert error.variance.stderr / error.variance.value == pytest.approx(math.sqrt((kurtosis - 1) / 2000), rel=0.01)
    # Not what a normal variable would have.
    assert error.variance.stderr / error.variance.value > 2 * math.sqrt(2 / 2000)
    low, high = error.variance.interval()
    assert low < 60 < high


def test_an_error_prints_every_number_and_note_on_a_line() -> None:
    draws = normal(torch.Generator().manual_seed(3), 64, 2) + 1
    error = error_from_gram(draws @ draws.T, draws.sum(1), 2.0, reference="truth", notes=("3 of 8 states left out",))
    lines = str(error).splitlines()
    numbers = error.bias_squared, error.variance, error.mse, error.cosine, error.norm_ratio, error.snr
    for line, number in zip(lines, (*numbers, error.minibatch_cosine, error.pairwise_cosine), strict=False):
        assert line.endswith(f"  {number}")
    assert [line.split("  ")[0] for line in lines[:3]] == ["bias²", "variance", "MSE"]
    assert lines[8:] == ["3 of 8 states left out"]
