"""Estimates of what a search has missed: intervals' coverage by simulation, and a search whose basins are known."""

import itertools
import math

import numpy as np
import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.landscape import local_optima, unseen
from gradlab.landscape.unseen_optima.missed import unseen_from_visits
from gradlab.worlds.landscapes import SeparableSum, SineRamp

REPEATS = 2_000
#: Shares of basins, from one optimum to hundreds, equal, uneven, and a few beside dust.
BASINS = {
    "one": [1.0],
    "one and a rare one": [0.97, 0.03],
    "one and a very rare one": [0.99, 0.01],
    "four equal": [0.25] * 4,
    "twenty equal": [0.05] * 20,
    "a hundred equal": [0.01] * 100,
    "halving": [0.5**k for k in range(1, 12)],
    "falling as 1/k": [1 / k for k in range(1, 51)],
    "a long tail": [1 / k for k in range(1, 501)],
    "three and dust": [0.3] * 3 + [0.1 / 200] * 200,
    "a few and rare ones": [0.4, 0.3, 0.2, 0.07, 0.02, 0.01],
}


def draws(shares, starts, repeats=REPEATS, seed=0):
    """Visits of each optimum [repeats, k] by independent uniform starts, and the shares, which add up to one."""
    shares = np.array(shares) / np.sum(shares)
    return np.random.default_rng(seed).multinomial(starts, shares, size=repeats), shares


def holds(interval, truth):
    low, high = interval.numpy().T
    return (low <= truth + 1e-9) & (truth <= high + 1e-9)


@pytest.mark.parametrize(("name", "starts"), itertools.product(BASINS, (16, 32, 64, 256)))
def test_intervals_hold_as_often_as_they_say(name, starts):
    """Multinomial draws are all that independent uniform starts are; 2,000 repeats tell 95 % from 94 % hardly."""
    counts, shares = draws(BASINS[name], starts)
    left = unseen_from_visits(list(torch.from_numpy(counts)), starts)
    gone = counts == 0
    assert left.seen.tolist() == (counts > 0).sum(-1).tolist()
    assert holds(left.coverage_interval, 1 - (shares * gone).sum(-1)).mean() >= 0.935
    low, high = left.missed_interval.numpy().T
    missed = gone.sum(-1)
    assert (low <= missed).mean() >= 0.935
    # Above the number of those that are not too small to leave a trace.
    assert ((gone & (shares >= 1 / starts)).sum(-1) <= high + 1e-9).mean() >= 0.975
    assert ((low <= left.missed.numpy() + 1e-9) & (left.missed.numpy() <= high + 1e-9)).all()


@pytest.mark.parametrize("name", BASINS)
def test_good_turing_is_almost_unbiased_and_chao_is_a_lower_bound(name):
    starts = 64
    counts, shares = draws(BASINS[name], starts, repeats=20_000)
    left = unseen_from_visits(list(torch.from_numpy(counts)), starts)
    apart = left.coverage.numpy() - (1 - (shares * (counts == 0)).sum(-1))
    # E f₁/n exceeds the expected share of what is not seen by the sum of p²(1 − p)^(n−1).
    bias = -(shares**2 * (1 - shares) ** (starts - 1)).sum()
    assert apart.mean() == pytest.approx(bias, abs=4 * apart.std() / math.sqrt(len(apart)) + 1e-6)
    over = left.missed.numpy() - (counts == 0).sum(-1)
    assert over.mean() <= 4 * over.std() / math.sqrt(len(over)) + 1e-12
    if "equal" in name:  # then the bound is sharp
        assert abs(over.mean()) <= max(4 * over.std() / math.sqrt(len(over)), 0.05 * (counts == 0).sum(-1).mean())


def test_means_over_states_of_several_kinds():
    """States drawn from all families: the truth is the mean over the families, and over the very states."""
    starts, states, repeats = 64, 32, 400
    rng = np.random.default_rng(1)
    kinds = [np.array(shares) / np.sum(shares) for shares in BASINS.values()]
    expected = np.mean([1 - (p * (1 - p) ** starts).sum() for p in kinds])
    wanted = np.mean([((1 - p) ** starts).sum() for p in kinds])
    population, here, below = [], [], []
    for _ in range(repeats):
        chosen = rng.integers(len(kinds), size=states)
        visits = [rng.multinomial(starts, kinds[k]) for k in chosen]
        left = unseen_from_visits([torch.from_numpy(v) for v in visits], starts)
        low, high = left.mean_coverage().interval()
        population.append(low <= expected <= high)
        here.append(
            low <= 1 - np.mean([(kinds[k] * (v == 0)).sum() for k, v in zip(chosen, visits, strict=True)]) <= high
        )
        below.append(left.mean_missed().interval()[0] <= wanted)
    assert np.mean(population) >= 0.92
    assert np.mean(here) >= 0.935
    assert np.mean(below) >= 0.97


def mean_coverages(kinds, starts, states, repeats, seed=0):
    """How often the interval of ``mean_coverage`` holds the mean over all kinds, and that over the very states.

    Independent multinomial draws of states whose kind is drawn from ``kinds``; both truths are in closed form.
    """
    rng = np.random.default_rng(seed)
    shares = [np.array(BASINS[kind]) / np.sum(BASINS[kind]) for kind in kinds]
    expected = np.mean([1 - (p * (1 - p) ** starts).sum() for p in shares])
    held = []
    for _ in range(repeats):
        chosen = [shares[k] for k in rng.integers(len(shares), size=states)]
        visits = [rng.multinomial(starts, p) for p in chosen]
        estimate = unseen_from_visits([torch.from_numpy(v) for v in visits], starts).mean_coverage()
        here = 1 - np.mean([(p * (v == 0)).sum() for p, v in zip(chosen, visits, strict=True)])
        low, high = estimate.interval()
        assert low <= estimate.value <= high
        held.append([low <= expected <= high, low <= here <= high])
    return np.mean(held, 0)


@pytest.mark.parametrize(("starts", "states"), [(16, 64), (64, 16)])
@pytest.mark.parametrize("name", BASINS)
def test_the_mean_coverage_of_alike_states_holds_as_often_as_it_says(name, starts, states):
    """Where all states are alike they hardly scatter, and what is uncertain is what their starts did not see."""
    population, here = mean_coverages([name], starts, states, repeats=200)
    assert population >= 0.93
    assert here >= 0.91


@pytest.mark.parametrize("name", ["twenty equal", "a hundred equal", "halving", "falling as 1/k", "a long tail"])
def test_the_interval_of_alike_states_is_not_too_wide_either(name):
    """Of these very states, with 64 starts each so that many optima are reached once: 90 to 98 % for 95 %."""
    assert 0.90 <= mean_coverages([name], 64, 48, repeats=300, seed=2)[1] <= 0.985


@pytest.mark.parametrize(("starts", "states"), [(16, 4), (64, 4), (64, 8), (256, 8), (64, 16), (64, 40)])
def test_the_mean_coverage_of_a_few_states_that_differ(starts, states):
    assert min(mean_coverages(list(BASINS), starts, states, repeats=200)) >= 0.93


def test_states_without_a_trace_are_not_sure_together():
    """One optimum in every state: a rare one in one state of a hundred cannot be excluded."""
    left = unseen_from_visits([torch.tensor([64])] * 20, 64)
    coverage, missed = left.mean_coverage(), left.mean_missed()
    assert (coverage.value, missed.value) == (1.0, 0.0)
    assert coverage.interval()[1] == 1.0
    assert 1 - coverage.interval()[0] == pytest.approx(3.84 / (20 * 64), rel=0.01)
    assert missed.interval() == pytest.approx((0.0, 3.84 / 20), rel=0.01)
    assert "lower bound" in missed.caveat


def test_through_the_search_on_a_landscape_whose_basins_are_known():
    """Sobol starts are more even than independent ones: coverage errs downwards, and what is said is one-sided."""
    world = SeparableSum([SineRamp(frequency=16.0, slope=0.5), SineRamp(frequency=16.0, slope=-0.5)])
    known = world.optima()
    starts, held, apart, below = 24, [], [], []
    for seed in range(40):
        found = local_optima(
            world.q, world.low, world.high, starts=starts, generator=torch.Generator().manual_seed(seed)
        )
        left = unseen(found)
        assert int(left.seen[0]) == len(found.values[0])
        distance = np.abs(found.actions[0].numpy()[:, None] - known.actions).max(-1)
        assert distance.min(-1).max() < 1e-3
        gone = np.ones(len(known.values), dtype=bool)
        gone[distance.argmin(-1)] = False
        share = known.shares[gone].sum()
        low, high = left.coverage_interval[0].tolist()
        held.append(low <= 1 - share <= high)
        apart.append(float(left.coverage[0]) - (1 - share))
        below.append(gone.sum() <= float(left.missed_interval[0, 1]))
        assert (high, float(left.missed_interval[0, 0])) == (1.0, 0.0)
        assert gone.sum() >= 5, "too many starts to miss anything"
    assert np.mean(held) >= 0.975
    assert np.mean(below) >= 0.975
    assert np.mean(apart) < -0.1


def test_lesser_optima_do_not_count():
    found = local_optima(lambda a: (9 * a).sin().sum(-1) + 0.4 * a.sum(-1), [-1.0], [1.0])
    fewer = unseen(found, threshold=0.5)
    assert fewer.seen.tolist() == found.count(0.5).tolist()
    assert int(fewer.seen) < int(unseen(found).seen)


def test_a_constant_critic_has_none_to_miss():
    left = unseen(local_optima(lambda a: 0.0 * a.sum(-1), [-1.0], [1.0]))
    assert (left.seen.tolist(), left.missed.tolist(), left.coverage.tolist()) == ([0], [0.0], [1.0])


def test_wrong_input():
    for visits in ([torch.tensor([3, -1])], [torch.tensor([0.5])], [torch.tensor([9])]):
        with pytest.raises(GradlabError, match="visits: give whole numbers") as caught:
            unseen_from_visits(visits, 8)
        assert "\n" not in str(caught.value)
    with pytest.raises(GradlabError, match="visits: none"):
        unseen_from_visits([], 8)
    with pytest.raises(GradlabError, match="starts"):
        unseen_from_visits([torch.tensor([1])], 0)
    found = local_optima(lambda a: a.sum(-1), [-1.0], [1.0])
    with pytest.raises(GradlabError, match="threshold"):
        unseen(found, threshold=-0.1)
