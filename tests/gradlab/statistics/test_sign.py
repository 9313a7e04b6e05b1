"""The share of states whose direction is wrong: exact, blurred by the reference or by draws, and over episodes."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from gradlab import GradlabError, wrong_direction
from gradlab.objective import Objective
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.sign import _signal

M = 3


def reference(mean: Tensor, stderr: float | Tensor = 0.0) -> ReferenceCotangent:
    return ReferenceCotangent(mean, torch.zeros_like(mean) + stderr, "truth", Objective())


class World:
    """States of episodes that share how far the critic agrees with the truth; every fourth or so points wrong."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def states(self, episodes: int, each: int) -> tuple[Tensor, Tensor, Tensor]:
        agreement = (0.5 + 0.5 * self.normal(episodes, 1)).repeat_interleave(each, 0)
        truth = self.normal(episodes * each, M)
        return (
            truth,
            agreement * truth + self.normal(episodes * each, M),
            torch.arange(episodes).repeat_interleave(each),
        )


def share(truth: Tensor, critic: Tensor) -> float:
    return float(((truth * critic).sum(-1) < 0).double().mean())


def test_without_blur_it_is_the_share_of_signs_and_its_interval_a_proportion_s() -> None:
    world = World(1)
    truth, critic, _ = world.states(40, 1)
    found = wrong_direction(critic, reference(truth))
    assert found.value == pytest.approx(share(truth, critic), abs=1e-6)
    assert (found.samples, found.scale, found.reference) == (40, "share", "truth")
    low, high = found.interval()
    # The likelihood-ratio interval of a proportion, close to every other one.
    exact = binomtest(round(40 * found.value), 40).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.03)
    every = wrong_direction(truth, reference(truth))
    assert every.value == pytest.approx(0, abs=1e-6)
    assert every.interval()[0] == 0
    assert 0 < every.interval()[1] < 0.2
    opposite = wrong_direction(-truth, reference(truth))
    assert opposite.value == pytest.approx(1, abs=1e-6)


def test_the_blur_of_a_sign_by_loops() -> None:
    world = World(2)
    truth, critic, _ = world.states(5, 1)
    draws, stderr = critic + world.normal(4, 5, M), torch.rand(5, M, generator=world.generator, dtype=torch.float64)
    signal, blur = _signal(draws, truth, stderr)
    for i in range(5):
        mean, covariance = draws[:, i].mean(0), torch.cov(draws[:, i].T)
        sigma = torch.diag(stderr[i] ** 2)
        variance = mean @ sigma @ mean + (truth[i] @ covariance @ truth[i] + (sigma @ covariance).trace()) / 4
        assert float(signal[i]) == pytest.approx(float(mean @ truth[i]))
        assert float(blur[i]) == pytest.approx(float(variance.sqrt()))


@pytest.mark.parametrize(("stderr", "draws", "least"), [(0.0, 1, 0.90), (0.37, 1, 0.90), (0.1, 8, 0.90)])
def test_intervals_hold_the_share_over_all_states(stderr: float, draws: int, least: float) -> None:
    world = World(3)
    true = share(*world.states(100_000, 4)[:2])
    repetitions, held, values, seen = 100, 0, [], []
    for _ in range(repetitions):
        truth, critic, episode = world.states(16, 4)
        ref = reference(truth + stderr * world.normal(64, M), stderr)
        v = critic if draws == 1 else critic + 2 * world.normal(draws, 64, M)
        found = wrong_direction(v, ref, episode)
        low, high = found.interval()
        held += low <= true <= high
        values.append(found.value)
        seen.append(share(ref.mean, v if draws == 1 else v.mean(0)) - share(truth, critic))
    # What the blur hides cannot all be told: the interval may hold more often than it says, never less.
    assert held >= least * repetitions, held
    if stderr == 0:
        assert held <= 0.99 * repetitions
    values, seen = torch.tensor(values), torch.tensor(seen)
    assert abs(float(values.mean()) - true) < 4 * float(values.std()) / math.sqrt(repetitions)
    if draws > 1:
        # Negative control: the share of signs seen takes blur for wrong directions, at the same states.
        assert float(seen.mean()) > 4 * float(seen.std()) / math.sqrt(repetitions)


def test_a_reference_that_is_all_noise_resolves_nothing() -> None:
    world = World(4)
    truth, _, episode = world.states(16, 4)
    for _ in range(5):
        found = wrong_direction(truth, reference(0.01 * truth + 3 * world.normal(64, M), 3.0), episode)
        low, high = found.interval()
        # The truth is zero; about half of the signs are seen wrong.
        assert low < 0.05
        assert high > 0.5


def test_states_of_one_episode_count_as_less_than_as_many_episodes() -> None:
    world = World(5)
    truth, critic, _ = world.states(8, 1)
    many = [x.repeat_interleave(8, 0) for x in (truth, critic)]
    clustered = wrong_direction(many[1], reference(many[0]), torch.arange(8).repeat_interleave(8))
    alone = wrong_direction(many[1], reference(many[0]))
    assert clustered.value == pytest.approx(alone.value)
    assert clustered.stderr > 1.5 * alone.stderr
    assert (clustered.samples, alone.samples) == (8, 64)
    one = wrong_direction(critic, reference(truth), torch.zeros(8).long())
    assert all(math.isnan(end) for end in one.interval())


def test_what_does_not_fit_is_refused_and_located() -> None:
    truth = torch.ones(4, M).double()
    with pytest.raises(GradlabError, match="must be of the same states"):
        wrong_direction(truth[:3], reference(truth))
    with pytest.raises(GradlabError, match="in 3 episode numbers"):
        wrong_direction(truth, reference(truth), torch.arange(3))
    broken = truth.clone()
    broken[2, 1] = math.nan
    with pytest.raises(GradlabError, match="NaN or infinite at 1 of 4 states, first state 2"):
        wrong_direction(broken, reference(truth))
    assert wrong_direction(truth, reference(broken)).value == pytest.approx(0, abs=1e-6)
    with pytest.raises(GradlabError, match="closed at all 4 states"):
        wrong_direction(truth, reference(truth * math.nan))


def test_a_reference_for_another_objective_is_refused_and_said_where_allowed() -> None:
    truth = torch.ones(4, M).double()
    other = ReferenceCotangent(truth, torch.zeros_like(truth), "truth", Objective(discount=1.0))
    v = -truth
    assert wrong_direction(v, other).value == pytest.approx(1)  # nobody said what v estimates
    with pytest.raises(GradlabError, match=r"another objective.*discounted .* against undiscounted"):
        wrong_direction(v, other, objective=Objective())
    v.objective = Objective()  # as ``Estimator.draw`` leaves it
    with pytest.raises(GradlabError, match="allow_mismatch=True"):
        wrong_direction(v, other)
    assert "mismatch allowed: discounted" in str(wrong_direction(v, other, allow_mismatch=True))


def test_no_wrong_direction_seen_promises_no_number_of_samples() -> None:
    truth = torch.ones(8, M).double()
    found = wrong_direction(truth, reference(truth))
    assert found.samples_to_resolve == math.inf
    assert str(found).startswith("unresolved: 0.000 in [0.000, 0.29")
    assert "would resolve" not in str(found)
