"""Do the intervals of single gradients' cosines hold the truth, which is taken from very many draws?"""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.error import gradient_error
from gradlab.objective import Objective
from gradlab.references.base import ReferenceCotangent
from gradlab.tangent import tangent_kernel

B, M, N = 16, 2, 4
REPETITIONS = 200

#: name → (draws, size of the noise, heavy tails, bias, the reference's standard error)
REGIMES = {
    "signal as large as noise": (64, 1.0, False, 0.0, 0.0),
    "little signal": (64, 10.0, False, 0.0, 0.0),
    "no signal to speak of": (64, 200.0, False, 0.0, 0.0),
    "little noise": (32, 0.1, False, 0.0, 0.0),
    "biased, heavy tails": (64, 2.0, True, 1.0, 0.0),
    "few draws": (16, 3.0, False, 1.0, 0.0),
    "biased, noisy reference": (64, 1.0, False, 0.5, 0.3),
}


def make_noise(tail: bool, draws: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn(draws, B, M, generator=generator, dtype=torch.float64)
    return noise * torch.randn(draws, B, M, generator=generator, dtype=torch.float64) if tail else noise


@pytest.mark.parametrize("regime", REGIMES)
def test_intervals_hold_the_truth(regime: str) -> None:
    draws, size, tail, bias, stderr = REGIMES[regime]
    held, uncorrected = {"minibatch": 0, "pairwise": 0}, 0
    # Two blocks, each in a world and with a stream of its own.
    for seed in (811, 822):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        agent = Agent(nn.Linear(N, M).double(), [], [-1.0] * M, [1.0] * M)
        obs, r = normal(B, N), normal(B, M)
        mean, errors = r + bias * normal(B, M), stderr * torch.rand(B, M, generator=generator, dtype=torch.float64)
        features = torch.cat([obs, torch.ones(B, 1, dtype=torch.float64)], 1)

        def flat(v: Tensor, features: Tensor = features) -> Tensor:
            return torch.einsum("bf,...bm->...fm", features, v).flatten(-2)

        unit = torch.cat([flat(mean + size * make_noise(tail, 20_000, generator)) for _ in range(10)])
        unit = unit / unit.norm(dim=1, keepdim=True)
        centre = unit.mean(0)
        length = float(centre @ centre)
        truth = {
            "minibatch": float(centre @ flat(r)) / float(flat(r).norm()),
            "pairwise": length - (1 - length) / len(unit),
        }
        kernel = tangent_kernel(agent, obs)
        for _ in range(REPETITIONS):
            v = mean + size * make_noise(tail, draws, generator)
            ref = ReferenceCotangent(r + errors * normal(B, M), errors, "truth", Objective())
            error = gradient_error(agent, obs, v, ref, kernel=kernel)
            for name, estimate in (("minibatch", error.minibatch_cosine), ("pairwise", error.pairwise_cosine)):
                low, high = estimate.interval()
                held[name] += low <= truth[name] <= high
            # Negative control: ‖mean of unit vectors‖², which counts each draw as alike to itself.
            alike = error.pairwise_cosine
            low, high = (end + (1 - alike.value) / draws for end in alike.interval())
            uncorrected += low <= truth["pairwise"] <= high
    shares = {name: count / (2 * REPETITIONS) for name, count in held.items()}
    # 95 % of 400, and four standard deviations of that for chance at the upper end.
    assert all(0.90 <= share <= 0.95 + 4 * math.sqrt(0.95 * 0.05 / 400) for share in shares.values()), shares
    if regime == "no signal to speak of":
        assert uncorrected / (2 * REPETITIONS) < 0.80


def test_intervals_hold_with_coordinate_directions_where_cosines_are_skewed() -> None:
    # One coordinate of each state at a time, m times its derivative: the truth is a mean over m⁵ like gradients. One
    # state has most of the weight and a sixth coordinate that hardly matters, so that one draw of six points elsewhere.
    repetitions, draws, states, m = 500, 16, 5, 6
    generator = torch.Generator().manual_seed(20_000_711)
    agent = Agent(nn.Linear(N, m).double(), [], [-1.0] * m, [1.0] * m)
    obs = torch.randn(states, N, generator=generator, dtype=torch.float64)
    obs[0] *= 6
    r = torch.tensor([1.0] * (m - 1) + [0.05], dtype=torch.float64).expand(states, m)
    features = torch.cat([obs, torch.ones(states, 1, dtype=torch.float64)], 1)
    chosen = torch.cartesian_prod(*[torch.arange(m)] * states)
    every = m * nn.functional.one_hot(chosen, m) * r
    flat = torch.einsum("bf,...bm->...fm", features, every).flatten(-2)
    unit = flat / flat.norm(dim=1, keepdim=True)
    whole = flat.mean(0)
    truth = float((unit @ whole).mean() / whole.norm())
    ref = ReferenceCotangent(r, torch.zeros_like(r), "truth", Objective())
    kernel = tangent_kernel(agent, obs)
    held = symmetric = 0
    for _ in range(repetitions):
        v = every[torch.randint(len(every), (draws,), generator=generator)]
        cosine = gradient_error(agent, obs, v, ref, kernel=kernel).minibatch_cosine
        low, high = cosine.interval()
        held += low <= truth <= high
        symmetric += abs(cosine.value - truth) <= float(stdtrit(draws - 1, 0.975)) * cosine.stderr
    # Few draws of skewed cosines may cost five points: 90 % less four standard errors.
    assert held >= (0.9 - 4 * math.sqrt(0.09 / repetitions)) * repetitions, held
    # Negative control: the symmetric interval misses more often.
    assert symmetric < held, (symmetric, held)
