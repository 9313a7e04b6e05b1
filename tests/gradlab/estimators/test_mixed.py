"""Mixtures of a first-order and a zeroth-order estimator, and the weight that their variances give."""

import math

import pytest
import torch
from torch import nn

from gradlab import GradlabError
from gradlab.agent import Agent
from gradlab.estimators import Deterministic, Mixed, Naive, Reparameterized, ScoreFunction, ZerothOrder
from gradlab.policies import Gaussian, Softmax
from gradlab.tangent import materialised_kernel, parameter_gradient

P, B = 2, 4
OBS = torch.randn(B, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Critic(nn.Module):
    def forward(self, obs, act):
        return (act * obs[..., :P]).sum(-1) + 0.5 * act.sin().sum(-1) + 2.0


def make(stochastic=True, entropy=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2 * P if stochastic else P)).double()
    policy = Gaussian() if stochastic else None
    return Agent(actor, [Critic()], [-1] * P, [1] * P, policy=policy, entropy=entropy)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


PATH, SCORE = Reparameterized(), ScoreFunction(baseline="value")


def slow_variance(agent, estimator, draws, seed, states=slice(None)):
    """Trace of the covariance of the parameter gradient over draws, from one gradient per draw."""
    v = estimator.draw(agent, OBS, draws, generator(seed)).clone()
    keep = torch.zeros(B, 1)
    keep[states] = 1
    gradients = parameter_gradient(agent, OBS, v * keep)
    flat = torch.cat([g.flatten(1) for g in gradients.values()], 1)
    return float((flat - flat.mean(0)).square().sum() / (draws - 1))


# The weight --------------------------------------------------------------------------------------------------


def test_the_weight_is_by_inverse_variance_in_parameter_space():
    """Within its interval of the weight that many parameter gradients, formed one by one, give."""
    agent = make()
    first, zeroth = slow_variance(agent, PATH, 4000, 1), slow_variance(agent, SCORE, 4000, 2)
    truth = zeroth / (zeroth + first)
    (weight,) = Mixed(PATH, SCORE, pilot=400).weights(agent, OBS)
    low, high = weight.interval()
    assert low <= truth <= high
    assert high - low < 0.2
    assert weight.samples == 400
    # A reparameterised gradient has the smaller variance here: the interval excludes the middle.
    assert low > 0.5


def test_the_weight_is_exact_for_the_pilot_draws():
    """The same pilot by hand: materialised kernel blocks, explicit loops."""
    agent, mixed = make(), Mixed(PATH, SCORE, pilot=20)
    pilot, blocks = generator(6_939_502_117), materialised_kernel(agent, OBS).blocks
    totals = []
    for estimator in (PATH, SCORE):
        v = estimator.draw(agent, OBS, 20, pilot)
        total = 0.0
        for i in range(B):
            covariance = torch.cov(v[:, i].T)
            total += float(torch.trace(blocks[i] @ covariance))
        totals.append(total)
    (weight,) = mixed.weights(agent, OBS)
    assert weight.value == pytest.approx(totals[1] / sum(totals), rel=1e-9)
    per_state = Mixed(PATH, SCORE, pilot=20, per="state").weights(agent, OBS)
    assert len(per_state) == B
    pilot = generator(6_939_502_117)
    draws = [estimator.draw(agent, OBS, 20, pilot) for estimator in (PATH, SCORE)]
    for i, found in enumerate(per_state):
        one, other = (float(torch.trace(blocks[i] @ torch.cov(v[:, i].T))) for v in draws)
        assert found.value == pytest.approx(other / (one + other), rel=1e-9)


def test_the_interval_of_the_weight_covers(monkeypatch):
    """Two blocks of 200 pilots of 48 draws, 95 % intervals; they miss what standard deviations would give as weight."""
    agent = make()
    first, zeroth = (slow_variance(agent, e, 60_000, 3 + i) for i, e in enumerate((PATH, SCORE)))
    truth = zeroth / (zeroth + first)
    wrong = zeroth**0.5 / (zeroth**0.5 + first**0.5)
    for block in (11_000, 12_000):
        held, missed = 0, 0
        for seed in range(block, block + 200):
            monkeypatch.setattr("gradlab.estimators.mixed._SEED", seed)
            low, high = Mixed(PATH, SCORE, pilot=48).weights(agent, OBS)[0].interval()
            held += low <= truth <= high
            missed += not low <= wrong <= high
        assert 0.90 * 200 <= held <= 0.99 * 200, held
        assert missed > 0.9 * 200


def test_equal_estimators_get_about_half():
    (weight,) = Mixed(PATH, PATH, pilot=200).weights(make(), OBS)
    low, high = weight.interval()
    assert low < 0.5 < high


def test_an_estimator_without_variance_gets_all():
    agent = make(stochastic=False)
    exact, noisy = Deterministic(), ZerothOrder(0.1)
    assert Mixed(exact, noisy).weights(agent, OBS)[0].value == 1.0
    assert Mixed(noisy, exact).weights(agent, OBS)[0].value == 0.0
    assert Mixed(exact, exact).weights(agent, OBS)[0].value == 0.5
    assert torch.equal(Mixed(exact, noisy).draw(agent, OBS, 3), exact.draw(agent, OBS, 3))
    single = Agent(nn.Linear(3, P), [Critic()], [-1] * P, [1] * P)  # the mean of equal float32 draws can round
    assert Mixed(exact, noisy, pilot=49).weights(single, OBS)[0].value == 1.0


# The mixture -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_given_weight_mixes_draw_by_draw(alpha):
    agent = make()
    source = generator(5)
    first, zeroth = PATH.draw(agent, OBS, 6, source), SCORE.draw(agent, OBS, 6, source)
    got = Mixed(PATH, SCORE, alpha).draw(agent, OBS, 6, generator(5))
    assert torch.allclose(got, alpha * first + (1 - alpha) * zeroth, rtol=1e-12)


@pytest.mark.parametrize("per", ["batch", "state"])
def test_the_mixture_is_unbiased_and_has_the_smaller_variance(per):
    agent, n = make(), 20_000
    mixed = Mixed(PATH, SCORE, per=per)
    draws, path = mixed.draw(agent, OBS, n, generator(6)), PATH.draw(agent, OBS, n, generator(7))
    error = draws.mean(0) - path.mean(0)
    assert (error.abs() < 4.5 * ((draws.var(0) + path.var(0)) / n).sqrt()).all()
    one, other, both = (slow_variance(agent, e, 6000, 8 + i) for i, e in enumerate((PATH, SCORE, mixed)))
    best = one * other / (one + other)
    if per == "batch":
        # A weight off by δ costs δ²(V₀ + V₁); the rest is the scatter of three variances of some 5 %.
        weight = mixed.weights(agent, OBS)[0]
        off = weight.value - other / (one + other)
        assert both == pytest.approx(best + off**2 * (one + other), rel=0.15)
    assert both < 0.95 * min(one, other)


def test_per_state_weights_are_each_states_best():
    agent, mixed = make(), Mixed(PATH, SCORE, per="state", pilot=2000)
    for i, weight in enumerate(mixed.weights(agent, OBS)):
        one, other = (slow_variance(agent, e, 4000, 20 + i, slice(i, i + 1)) for e in (PATH, SCORE))
        low, high = weight.interval()
        assert low - 0.05 <= other / (one + other) <= high + 0.05


def test_the_pilot_is_independent_of_the_draws():
    """The weight does not move with the generator of the draws, and the draws' own noise is used once."""
    agent, mixed = make(), Mixed(PATH, SCORE)
    before = torch.get_rng_state()
    source = generator(9)
    mixed.draw(agent, OBS, 3, source)
    other = generator(9)
    PATH.draw(agent, OBS, 3, other)
    SCORE.draw(agent, OBS, 3, other)
    assert torch.equal(source.get_state(), other.get_state())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_small_variance_is_no_evidence_against_bias():
    """Suh et al. 2022: across a jump a pathwise gradient has no variance and no truth, and gets all the weight."""

    class Step(nn.Module):
        def forward(self, obs, act):
            return act.sum(-1).sign()

    agent = make()
    agent.critics = (Step(),)
    (weight,) = Mixed(PATH, SCORE).weights(agent, OBS)
    assert weight.value == 1.0
    assert not Mixed(PATH, SCORE).draw(agent, OBS, 5).any()
    assert SCORE.draw(agent, OBS, 5).any()


# Objective and wrong input -----------------------------------------------------------------------------------


def test_objective():
    agent = make(stochastic=False)
    assert Mixed(Deterministic(), ZerothOrder(0.2)).objective(agent).smoothing == pytest.approx(0.2)
    soft = make(entropy=0.3)
    assert Mixed(PATH, SCORE).objective(soft).entropy == 0.3
    with pytest.raises(GradlabError, match="entropy"):
        Mixed(Reparameterized(entropy=False), SCORE).draw(soft, OBS)


def test_notes_are_those_of_the_parts():
    agent = make(stochastic=False)
    parts = ZerothOrder(2.0)
    assert Mixed(Deterministic(), parts).notes(agent, OBS) == parts.notes(agent, OBS)
    assert parts.notes(agent, OBS)


@pytest.mark.parametrize("per", ["batch", "state"])
def test_names(per):
    suffix = "" if per == "batch" else "-per-state"
    assert Mixed(PATH, SCORE, per=per).name == f"mixed{suffix}-{PATH}-{SCORE}"
    assert Mixed(PATH, SCORE, 0.25).name == f"mixed-0.25-{PATH}-{SCORE}"


def test_values_that_are_not_finite_are_located():
    class Hole(nn.Module):
        def forward(self, obs, act):
            return act.sum(-1) / (obs[..., 0] != OBS[2, 0])

    agent = make(stochastic=False)
    agent.critics = (Hole(),)
    with pytest.raises(GradlabError, match="1 of 4 states, first in draw 0, state 2"):
        Mixed(ZerothOrder(0.1), ZerothOrder(0.1)).draw(agent, OBS)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Mixed(PATH, SCORE, 1.5),
        lambda: Mixed(PATH, SCORE, math.nan),
        lambda: Mixed(PATH, SCORE, per="epoch"),
        lambda: Mixed(PATH, SCORE, pilot=2),
    ],
)
def test_wrong_arguments(build):
    with pytest.raises(GradlabError, match="mixed"):
        build()


def test_discrete_actions_are_the_parts_to_refuse():
    agent = Agent(nn.Linear(3, P).double(), [Critic()], [-1] * P, [1] * P, policy=Softmax())
    with pytest.raises(GradlabError, match="continuous"):
        Mixed(PATH, SCORE).draw(agent, OBS)
    assert Mixed(Naive(), SCORE, 0.0).draw(agent, OBS, 2).shape == (2, B, P)
