"""Sweeps: the curves against one error at a time, the lowest point's uncertainty, and the backward passes they take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from gradlab import Agent, GradlabError, gradient_error, sweep
from gradlab.estimators import ZerothOrder
from gradlab.estimators.base import Estimator
from gradlab.objective import Objective
from gradlab.references import CriticReference
from gradlab.references.base import ReferenceCotangent
from gradlab.tangent import tangent_kernel

NAMES = ("bias_squared", "variance", "mse")


class Sine(nn.Module):
    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return 2.0 + torch.sin(3 * act).sum(-1) + obs[:, 0]


def make(states: int = 32, actions: int = 2) -> tuple[Agent, Tensor]:
    generator = torch.Generator().manual_seed(0)
    actor = nn.Linear(3, actions)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return Agent(actor, [Sine()], [-1.0] * actions, [1.0] * actions), torch.randn(states, 3, generator=generator)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_curves_are_the_errors_one_at_a_time() -> None:
    agent, obs = make()
    ref = CriticReference().cotangent(agent, obs)
    values = [0.05, 0.2, 0.6]
    curve = sweep(
        lambda mu: ZerothOrder(mu, 1), values, agent, obs, ref, 48, generator(3), batch_sizes=[1, 32, 32.0001, 4096]
    )
    seed = int(torch.randint(2**62, (1,), generator=generator(3)))
    for k, mu in enumerate(values):
        error = gradient_error(agent, obs, ZerothOrder(mu, 1).draw(agent, obs, 48, generator(seed)), ref)
        for name in NAMES:
            ours, theirs = getattr(curve, name)[k], getattr(error, name)
            assert (ours.value, ours.stderr) == pytest.approx((theirs.value, theirs.stderr), rel=1e-9)
        bias, variance = error.bias_squared.value, error.variance.value
        for at in curve.batches:
            assert at.mse[k].value == pytest.approx(bias + variance * 32 / at.batch_size, rel=1e-9)
        assert curve.batches[1].mse[k] == curve.mse[k]
        # At nearly the same batch size the number is put together from bias² and variance.
        near = curve.batches[2].mse[k]
        assert near.stderr == pytest.approx(error.mse.stderr, rel=1e-5)
        assert near.interval() == pytest.approx(error.mse.interval(), rel=0.05)
    assert curve.best.value == values[min(range(3), key=lambda k: curve.mse[k].value)]
    assert sum(curve.best.shares) == pytest.approx(1)
    assert any("smoothing" in note for note in curve.notes)
    # A larger batch can afford a smaller radius.
    assert curve.batches[3].best.value < curve.batches[0].best.value
    assert "lowest MSE at" in str(curve)
    assert curve.batches[0].best.at_edge


class Trade(Estimator):
    """bias² = x²·c², variance ∝ 1/x²: a parabola's sum with a known minimum at every batch size."""

    name = "trade"

    def __init__(self, x: float, truth: Tensor, bias: Tensor) -> None:
        self.x, self.truth, self.bias = x, truth, bias

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(draws, *self.truth.shape, generator=generator, dtype=torch.float64)
        return self.truth + self.x * self.bias + noise / self.x


@pytest.mark.slow
def test_the_lowest_point_is_held_and_the_batch_moves_it() -> None:
    states, size = 16, 3
    agent = Agent(nn.Linear(size, 1).double(), [], [-1.0], [1.0])
    at = generator(11)
    obs = torch.randn(states, size, generator=at, dtype=torch.float64)
    truth, bias = (torch.randn(states, 1, generator=at, dtype=torch.float64) for _ in range(2))
    features = torch.cat([obs, torch.ones(states, 1, dtype=torch.float64)], 1)
    bias_squared = float((features.T @ bias).square().sum()) / states**2
    variance = float(features.square().sum()) / states**2
    values = [float(x) for x in torch.logspace(-0.5, 1.5, 12, base=10.0)]
    kernel = tangent_kernel(agent, obs)
    batches = [4, 16, 4096]
    best = {
        batch: min(values, key=lambda x: x**2 * bias_squared + variance * states / batch / x**2) for batch in batches
    }
    # The continuous minimum is at x⁴ = V/(B bias²); the grid's is the nearest of its values on this scale.
    for batch in batches:
        exact = (variance * states / batch / bias_squared) ** 0.25
        assert best[batch] == min(values, key=lambda x: abs(math.log(x / exact)))
    assert best[4] > best[16] > best[4096]
    held, mse_held = dict.fromkeys(batches, 0), 0
    stderr = torch.full_like(truth, 0.1)
    repetitions = 200
    for seed in range(repetitions):
        own = generator(9_000 + seed)
        mean = truth + stderr * torch.randn(truth.shape, generator=own, dtype=torch.float64)
        ref = ReferenceCotangent(mean, stderr, "truth", Objective())
        curve = sweep(
            lambda x: Trade(x, truth, bias), values, agent, obs, ref, 24, own, batch_sizes=batches, kernel=kernel
        )
        for each in curve.batches:
            held[each.batch_size] += each.best.low <= best[each.batch_size] <= each.best.high
        x = values[5]
        low, high = curve.batches[0].mse[5].interval()
        mse_held += low <= x**2 * bias_squared + variance * states / 4 / x**2 <= high
    # An interval on a grid holds its point at least as often as it says.
    assert all(count >= 0.90 * repetitions for count in held.values()), held
    assert 0.90 <= mse_held / repetitions <= 0.98, mse_held


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How often anything is differentiated, by whatever door."""
    count = [0]
    grad, backward = torch.autograd.grad, torch.autograd.backward

    def counting(call):
        def inner(*args, **kwargs):
            count[0] += 1
            return call(*args, **kwargs)

        return inner

    with monkeypatch.context() as patch:
        # Tensor.backward goes through torch.autograd.backward.
        patch.setattr(torch.autograd, "grad", counting(grad))
        patch.setattr(torch.autograd, "backward", counting(backward))
        yield count


@pytest.mark.parametrize("points", [2, "antithetic"])
def test_sixteen_radii_of_256_draws_take_few_backward_passes(points: object, monkeypatch: pytest.MonkeyPatch) -> None:
    at = generator(0)
    actor = nn.Sequential(nn.Linear(17, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 6), nn.Tanh())
    agent = Agent(actor, [Sine()], [-1.0] * 6, [1.0] * 6)
    obs = torch.randn(256, 17, generator=at)
    mean = torch.randn(256, 6, generator=at).double()
    ref = ReferenceCotangent(mean, torch.zeros_like(mean), "truth", Objective())
    values = torch.logspace(-2, 0, 16).tolist()
    with counted(monkeypatch) as count:
        loss = actor(obs).sum()
        loss.backward()
        assert count[0] == 1
        actor.zero_grad(set_to_none=True)
        curve = sweep(lambda mu: ZerothOrder(mu, points), values, agent, obs, ref, 256, at)
    assert len(curve.mse) == 16
    assert count[0] - 1 <= 60, count[0]
    assert all(parameter.grad is None for parameter in actor.parameters())


def test_what_makes_no_curve_is_refused() -> None:
    agent, obs = make()
    ref = CriticReference().cotangent(agent, obs)
    for values, draws, batches in (([], 8, ()), ([0.1], 3, ()), ([0.1], 8, (0.5,)), ([0.1], 8, (math.nan,))):
        with pytest.raises(GradlabError, match="give at least one value, four draws"):
            sweep(ZerothOrder, values, agent, obs, ref, draws, batch_sizes=batches)
    other = ReferenceCotangent(ref.mean, ref.stderr, "critic", Objective(discount=1.0))
    with pytest.raises(GradlabError, match="against undiscounted"):
        sweep(ZerothOrder, [0.1], agent, obs, other, 8)
    allowed = sweep(ZerothOrder, [0.1], agent, obs, other, 8, batch_sizes=[2], allow_mismatch=True)
    assert "mismatch allowed" in str(allowed)
    assert "mismatch allowed" in str(allowed.batches[0].mse[0])


def test_the_same_seed_gives_the_same_curve_and_leaves_the_global_one_alone() -> None:
    agent, obs = make()
    ref = CriticReference().cotangent(agent, obs)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        one, two = (sweep(ZerothOrder, [0.1, 0.3], agent, obs, ref, 16, generator(5)) for _ in range(2))
    assert one == two
    assert torch.equal(before, torch.random.get_rng_state())
