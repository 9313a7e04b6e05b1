"""Rankings against explicit gradients of a linear head, and how often their intervals hold the truth."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from gradlab import Agent, GradlabError, compare, rank
from gradlab.estimators import Deterministic, ZerothOrder
from gradlab.objective import Objective
from gradlab.references import CriticReference
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.paired import common_draws, seed_from

B, N, M, D = 12, 3, 2, 16


def agent() -> Agent:
    torch.manual_seed(0)
    return Agent(nn.Linear(N, M).double(), [], [-1.0] * M, [1.0] * M)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gradients(obs: Tensor, v: Tensor) -> Tensor:
    """The slow, obvious way: of a linear head, each draw's gradient [D, (N + 1)·M]."""
    features = torch.cat([obs, torch.ones(len(obs), 1, dtype=obs.dtype)], 1)
    return torch.stack([(features.T @ draw / len(obs)).flatten() for draw in v])


class Case:
    """Three estimators with common noise against a reference; one state's gate is closed."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.obs, truth = normal(generator, B, N), normal(generator, B, M)
        noise = normal(generator, D, B, M)
        shift = normal(generator, B, M)
        self.draws = {
            "quiet": truth + 0.5 * noise,
            "loud": truth + 1.5 * noise,
            "shifted": truth + 0.5 * shift + 0.5 * noise,
        }
        valid = torch.ones(B, dtype=torch.bool)
        valid[4] = False
        self.valid = valid
        self.ref = ReferenceCotangent(truth, torch.zeros_like(truth), "truth", Objective(), valid)
        self.episode = torch.arange(B) // 2


def test_differences_are_those_of_explicit_gradients_and_their_errors_the_spread_of_paired_draws():
    case = Case(0)
    ranking = rank(agent(), case.obs, case.draws, case.ref)
    obs = case.obs[case.valid]
    target = gradients(obs, case.ref.mean[case.valid][None])
    errors = {
        name: (gradients(obs, v[:, case.valid]) - target).square().sum(1) for name, v in case.draws.items()
    }  # squared error of each draw; its mean is the MSE, without bias
    for name, error in errors.items():
        assert math.isclose(ranking.mse[name], float(error.mean()), rel_tol=1e-9)
    for a, b in combinations(case.draws, 2):
        paired = errors[a] - errors[b]
        found = ranking.difference(a, b)
        assert math.isclose(found.value, float(paired.mean()), rel_tol=1e-9)
        assert math.isclose(found.stderr, float(paired.std()) / math.sqrt(D), rel_tol=1e-6)
        assert ranking.difference(b, a).value == -found.value
        assert ranking.difference(b, a).interval() == tuple(-end for end in reversed(found.interval()))
    assert list(ranking.order) == sorted(errors, key=lambda name: float(errors[name].mean()))


def test_with_episodes_the_spread_over_states_is_added_by_leaving_each_episode_out():
    case = Case(1)
    fixed = rank(agent(), case.obs, case.draws, case.ref)
    wider = rank(agent(), case.obs, case.draws, case.ref, episode=case.episode)

    def error(name: str, keep: Tensor) -> float:
        obs, v = case.obs[keep], case.draws[name][:, keep]
        w = gradients(obs, v) - gradients(obs, case.ref.mean[keep][None])
        # Draws are independent over states: of a minibatch as large as before, at the states that are left.
        single = torch.stack([gradients(obs[i : i + 1], v[:, i : i + 1]).var(0).sum() for i in range(len(obs))])
        return float(w.mean(0).square().sum() + single.mean() / int(case.valid.sum()))

    labels = case.episode[case.valid].unique()
    for a, b in combinations(case.draws, 2):
        left_out = [case.valid & (case.episode != label) for label in labels]
        apart = torch.tensor([error(a, keep) - error(b, keep) for keep in left_out])
        spread = float((len(apart) - 1) / len(apart) * (apart - apart.mean()).square().sum())
        expected = math.hypot(fixed.difference(a, b).stderr, math.sqrt(spread))
        assert math.isclose(wider.difference(a, b).stderr, expected, rel_tol=1e-6)
        assert wider.difference(a, b).samples == len(labels)
        assert wider.difference(a, b).value == fixed.difference(a, b).value


def test_agrees_with_compare_on_an_agent_with_a_critic():
    torch.manual_seed(1)
    critic = nn.Sequential(nn.Linear(N + M, 16), nn.Tanh(), nn.Linear(16, 1))

    def q(obs: Tensor, act: Tensor) -> Tensor:
        return critic(torch.cat([obs.expand(*act.shape[:-1], N), act], -1)).squeeze(-1)

    actor = nn.Sequential(nn.Linear(N, 8), nn.Tanh(), nn.Linear(8, M), nn.Tanh())
    learner = Agent(actor, [q], [-1.0] * M, [1.0] * M)
    obs = torch.randn(B, N)
    ref = CriticReference().cotangent(learner, obs)
    estimators = (Deterministic(), ZerothOrder(0.3), ZerothOrder(0.3, points="antithetic"))
    generator = torch.Generator().manual_seed(5)
    seed = seed_from(torch.Generator().manual_seed(5))
    draws = {one.name: common_draws(one, learner, obs, D, seed) for one in estimators}
    ranking = rank(learner, obs, draws, ref)
    single = compare(estimators[1], estimators[2], learner, obs, ref, D, generator)
    found = ranking.difference("zeroth-order-2", "zeroth-order-antithetic")
    assert math.isclose(found.value, single.difference.value, rel_tol=1e-9)
    assert found.interval() == pytest.approx(single.difference.interval())
    assert ranking.order[0] == "deterministic"
    assert ranking.told_apart("deterministic", "zeroth-order-2")


def test_equal_estimators_are_seldom_told_apart_and_unequal_ones_are():
    generator = torch.Generator().manual_seed(9)
    told = wrong = 0
    for _ in range(60):
        obs, truth = normal(generator, B, N), normal(generator, B, M)
        a, b = (normal(generator, 32, B, M) for _ in range(2))
        ref = ReferenceCotangent(truth, torch.zeros_like(truth), "truth", Objective())
        draws = {"one": truth + a, "two": truth + b, "louder": truth + 2 * a}
        ranking = rank(agent(), obs, draws, ref)
        wrong += ranking.told_apart("one", "two")
        told += ranking.told_apart("one", "louder")
    assert wrong <= 9  # 3 expected; more than 9 of 60 has a probability of 1e-3
    assert told == 60


@pytest.mark.parametrize("names", [("quiet",), ("quiet", "loud")])
def test_says_what_it_needs(names: tuple[str, ...]):
    case = Case(0)
    draws = {name: case.draws[name][: 2 if len(names) > 1 else D] for name in names}
    with pytest.raises(GradlabError, match="two or more"):
        rank(agent(), case.obs, draws, case.ref)
    with pytest.raises(GradlabError, match="no difference of"):
        rank(agent(), case.obs, case.draws, case.ref).difference("quiet", "quieter")
