"""Rank correlations: against scipy, coverage over states in episodes and over checkpoints, and where there is none."""

import math

import numpy as np
import pytest
from scipy.stats import permutation_test, spearmanr

from gradlab.errors import GradlabError
from gradlab.inference.rank_correlation import rank_correlation, rank_correlation_over_training, spearman


def normal_pairs(rho, episodes, steps, alike, seed):
    """Two normal numbers of correlation ρ, each state's made of its episode's part and its own."""
    generator = np.random.default_rng(seed)
    mix = np.linalg.cholesky([[1, rho], [rho, 1]]).T
    common, own = (generator.standard_normal((episodes, size, 2)) @ mix for size in (1, steps))
    pairs = (math.sqrt(alike) * common + math.sqrt(1 - alike) * own).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1], np.arange(episodes).repeat(steps)


@pytest.mark.parametrize("ties", [False, True])
def test_it_is_scipys(ties):
    x, y, _ = normal_pairs(0.5, 40, 1, 0.0, 0)
    if ties:
        x, y = x.round(), y.round()
    expected = spearmanr(x, y).statistic
    assert spearman(x, y) == pytest.approx(expected)
    found = rank_correlation(x, y)
    assert found.value == pytest.approx(expected)
    assert found.interval()[0] < expected < found.interval()[1]
    assert rank_correlation(np.exp(x), y**3 if not ties else y).value == pytest.approx(expected)
    assert rank_correlation(-x, y).value == pytest.approx(-expected)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_intervals_over_episodes_hold_the_truth(rho):
    truth, hits, repeats = 6 / math.pi * math.asin(rho / 2), 0, 200
    for seed in range(repeats):
        low, high = rank_correlation(*normal_pairs(rho, 24, 12, 0.5, seed)).interval()
        hits += low <= truth <= high
    assert 0.90 <= hits / repeats <= 0.98, hits


def test_steps_of_an_episode_are_no_samples_of_their_own():
    x, y, episode = normal_pairs(0.0, 12, 30, 0.9, 0)
    truth = 0.0
    wide, narrow = rank_correlation(x, y, episode), rank_correlation(x, y)
    assert (wide.samples, narrow.samples) == (12, 360)
    assert wide.stderr > 2 * narrow.stderr
    misses = 0
    for seed in range(60):
        x, y, _ = normal_pairs(0.0, 12, 30, 0.9, seed)
        low, high = rank_correlation(x, y).interval()
        misses += not low <= truth <= high
    assert misses > 15, "taking steps for samples did no harm; the test would see nothing"


def test_intervals_over_checkpoints_hold_the_truth():
    for rho, count in ((0.0, 8), (0.7, 8), (0.7, 20)):
        truth, hits, repeats = 6 / math.pi * math.asin(rho / 2), 0, 200
        for seed in range(repeats):
            x, y, _ = normal_pairs(rho, count, 1, 0.0, seed)
            low, high = rank_correlation_over_training(x[:count], y[:count]).correlation.interval()
            # In perfect order there is no interval.
            hits += math.isnan(low) or low <= truth <= high
        # Cautious for few: Student's quantile for a spread that is taken from a formula.
        assert hits / repeats >= 0.94


@pytest.mark.parametrize("count", [6, 12])
def test_p_values_are_the_permutation_tests(count):
    x, y, _ = normal_pairs(0.5, count, 1, 0.0, 3)
    found = rank_correlation_over_training(x, y)
    expected = permutation_test(
        (x,), lambda x: spearmanr(x, y).statistic, permutation_type="pairings", n_resamples=5000, rng=0
    ).pvalue
    assert found.p_value == pytest.approx(expected, abs=1e-9 if count == 6 else 0.03)


def test_numbers_that_drift_together_do_not_change_together():
    drift = np.arange(30.0)
    generator = np.random.default_rng(0)
    x, y = (drift + generator.standard_normal(30) for _ in range(2))
    found = rank_correlation_over_training(x, y)
    assert found.correlation.value > 0.9
    assert found.p_value < 1e-3
    assert "not independent" in found.correlation.caveat
    assert not found.of_changes.resolved
    assert found.of_changes.samples == 29


def test_where_resampling_says_nothing_there_is_no_interval():
    steps = np.arange(20.0)
    for x, y, group in [
        (steps, steps, None),
        (steps, np.sin(steps), steps // 10),
        (steps[:4], np.sin(steps[:4]), None),
    ]:
        found = rank_correlation(x, y, group)
        assert math.isfinite(found.value)
        assert math.isnan(found.interval()[0])
        assert not found.resolved
    assert math.isnan(rank_correlation(steps, np.ones(20)).value)
    assert math.isnan(rank_correlation(steps * np.nan, steps).value)
    few = rank_correlation_over_training([1, 2, 3, 4], [2, 1, 3, 4])
    assert not few.correlation.resolved
    assert few.p_value == pytest.approx(8 / 24)
    assert math.isnan(rank_correlation_over_training([1], [2]).p_value)


def test_pairs_with_nothing_in_them_are_left_out():
    x, y, episode = normal_pairs(0.5, 10, 4, 0.3, 0)
    gaps = x.copy()
    gaps[::5] = np.nan
    there = ~np.isnan(gaps)
    assert rank_correlation(gaps, y, episode) == rank_correlation(x[there], y[there], episode[there])


def test_wrong_input_is_refused_in_one_line():
    for call in (
        lambda: rank_correlation([1, 2, 3], [1, 2]),
        lambda: rank_correlation([1, 2, 3], [1, 2, 3], [0, 1]),
        lambda: rank_correlation(np.zeros((2, 2)), np.zeros((2, 2))),
    ):
        with pytest.raises(GradlabError, match="rank correlation: shapes") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_intervals_of_eight_pairs_of_a_strong_correlation_hold_it():
    generator, truth, hits, known = np.random.default_rng(0), 6 / math.pi * math.asin(0.45), 0, 0
    for _ in range(300):
        x, y = generator.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], size=8).T
        low, high = rank_correlation(x, y).interval()
        known += not math.isnan(low)
        hits += low <= truth <= high
    assert known > 250
    assert hits / known > 0.92
