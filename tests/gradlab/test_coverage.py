"""Do 95 % intervals hold the truth? A linear head, where every truth is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.error import gradient_error, gradient_variance
from gradlab.objective import Objective
from gradlab.references.base import ReferenceCotangent

B, M, N = 64, 3, 8
REPETITIONS = 1000

#: name → (draws, kind of noise, its size, bias, the reference's standard error)
REGIMES = {
    "unbiased": (64, "normal", 1.0, 0.0, 0.0),
    "unbiased, little noise": (32, "normal", 0.05, 0.0, 0.0),
    "unbiased, heavy tails": (128, "product", 1.0, 0.0, 0.0),
    "unbiased, noisy reference": (64, "normal", 1.0, 0.0, 0.5),
    "biased": (64, "normal", 1.0, 0.5, 0.0),
    "biased, skewed": (64, "chi-squared", 1.0, 0.5, 0.0),
    "biased, heavy tails": (128, "product", 2.0, 0.5, 0.0),
    "biased, few draws": (32, "normal", 1.0, 1.0, 0.0),
    "biased, noisy reference": (64, "product", 1.0, 1.0, 0.3),
    "score function, noisy reference": (128, "score", 1.0, 0.5, 0.2),
}


def draw_noise(kind: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Independent over draws and states, of mean zero; its covariance over coordinates is ``covariance``."""
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind == "product":
        return normal * torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind == "chi-squared":
        return (normal.square() - 1) / math.sqrt(2)
    if kind == "score":
        # u (u·c) − c: what a zeroth-order or score-function estimate of c has for noise.
        c = torch.full((shape[-1],), 1 / math.sqrt(shape[-1]), dtype=torch.float64)
        return normal * (normal @ c)[..., None] - c
    return normal


def covariance(kind: str) -> Tensor:
    c = torch.full((M,), 1 / math.sqrt(M), dtype=torch.float64)
    return torch.eye(M, dtype=torch.float64) + (torch.outer(c, c) if kind == "score" else 0)


@pytest.mark.parametrize("regime", REGIMES)
def test_intervals_hold_the_truth(regime: str) -> None:
    draws, kind, size, bias, stderr = REGIMES[regime]
    generator = torch.Generator().manual_seed(20)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    agent = Agent(nn.Linear(N, M).double(), [], [-1.0] * M, [1.0] * M)
    obs = normal(B, N)
    # K_ij = (x_i·x_j + 1) I for a linear head: inner products of gradients without gradlab.
    features = torch.cat([obs, torch.ones(B, 1, dtype=torch.float64)], 1)

    def inner(a: Tensor, b: Tensor) -> float:
        return float(((features.T @ a) * (features.T @ b)).sum()) / B**2

    r = normal(B, M)
    g = r + bias * normal(B, M)
    errors = stderr * torch.rand(B, M, generator=generator, dtype=torch.float64)
    variance = float(features.square().sum()) * size**2 * float(covariance(kind).trace()) / B**2
    truth = {
        "bias_squared": inner(g - r, g - r),
        "variance": variance,
        "variance from blocks": variance,
        "mse": inner(g - r, g - r) + variance,
        "cosine": inner(g, r) / math.sqrt(inner(g, g) * inner(r, r)),
        "norm_ratio": math.sqrt(inner(g, g) / inner(r, r)),
        "snr": inner(g, g) / variance,
    }
    held, uncorrected = dict.fromkeys(truth, 0), 0
    for _ in range(REPETITIONS):
        v = g + size * draw_noise(kind, (draws, B, M), generator)
        ref = ReferenceCotangent(r + errors * normal(B, M), errors, "truth", Objective())
        error = gradient_error(agent, obs, v, ref)
        blocks = gradient_variance(agent, obs, v)
        for name, value in truth.items():
            low, high = (blocks if name == "variance from blocks" else getattr(error, name)).interval()
            # A NaN interval holds nothing; one rounding unit for a truth of exactly one or zero.
            held[name] += low - 1e-12 <= value <= high + 1e-12
        # Negative control: the squared norm of the mean error, without the correction of the U-statistic.
        bias, shift = error.bias_squared, error.variance.value / draws
        uncorrected += abs(bias.value + shift - truth["bias_squared"]) <= 1.96 * bias.stderr
    shares = {name: count / REPETITIONS for name, count in held.items()}
    if regime == "unbiased":
        assert uncorrected / REPETITIONS < 0.5
    assert all(0.90 <= share <= 0.98 for share in shares.values()), shares
