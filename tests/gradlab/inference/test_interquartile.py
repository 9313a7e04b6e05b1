"""Interquartile means over seeds: against scipy's trimmed mean, closed forms, and coverage by simulation."""

import numpy as np
import pytest
from scipy.stats import trim_mean

from gradlab.errors import GradlabError
from gradlab.inference.interquartile import difference, interquartile_mean, over_runs


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8, 30])
def test_it_is_the_mean_without_a_quarter_at_either_end(count):
    values = np.random.default_rng(count).standard_t(2, size=(count, 3))
    assert interquartile_mean(values) == pytest.approx(trim_mean(values, 0.25, axis=None), rel=1e-12)


def test_one_run_that_failed_does_not_move_it():
    assert interquartile_mean([1.0, 2.0, 3.0, 4.0, -1e9]) == 2.0


@pytest.mark.parametrize("count", [2, 3])
def test_of_few_runs_the_standard_error_is_that_of_the_mean(count):
    values = np.random.default_rng(5).normal(size=count)
    found = over_runs([values])
    assert found.value == pytest.approx(values.mean())
    # The bootstrap's own error of 2000 draws is 2 %.
    assert found.stderr == pytest.approx(values.std(ddof=1) / np.sqrt(count), rel=0.08)
    assert found.samples == count


def test_runs_are_drawn_within_their_task():
    # Between the tasks lie 100 units: drawn all together the mean of four of them would scatter by tens.
    found = over_runs([[0.0, 1.0], [100.0, 101.0]])
    assert found.stderr < 1.0


@pytest.mark.parametrize(("runs", "seeds"), [(3, 1), (5, 2), (10, 3)])
def test_intervals_hold_the_truth(runs, seeds):
    rng = np.random.default_rng(seeds)
    trials = 400
    held = differ = 0
    for seed in range(trials):
        low, high = over_runs([rng.normal(2.0, 1.0, runs)], seed).interval()
        held += low <= 2.0 <= high
        low, high = difference([rng.normal(0.0, 1.0, runs)], [rng.normal(0.0, 3.0, runs)], seed).interval()
        differ += low <= 0.0 <= high
    assert 0.92 * trials <= held
    assert 0.92 * trials <= differ


def test_differences_that_are_there_are_resolved():
    rng = np.random.default_rng(0)
    resolved = sum(
        difference([rng.normal(2.0, 1.0, 10)], [rng.normal(0.0, 1.0, 10)], seed).resolved for seed in range(100)
    )
    assert resolved > 90


def test_of_a_single_run_nothing_is_known_of_another():
    found = difference([[1.0, 2.0]], [[5.0]])
    assert found.value == -3.5
    assert np.isnan(found.stderr)
    assert not found.resolved


def test_of_runs_that_all_gave_the_same_nothing_is_known_of_another():
    found = over_runs([[0.99] * 3])
    assert found.value == pytest.approx(0.99)
    assert np.isnan(found.stderr)
    assert not difference([[0.25, 0.25]], [[0.5, 0.5]]).resolved


def test_a_group_without_scatter_is_taken_to_scatter_as_the_other():
    other = np.array([0.0, 0.1, 0.05, 0.15])
    found = difference([[0.25] * 2], [other])
    per_run = over_runs([other]).stderr * np.sqrt(4)
    # The bootstrap's own error of 2000 draws is 2 %.
    assert found.stderr == pytest.approx(per_run * np.sqrt(1 / 2 + 1 / 4), rel=0.08)
    low, high = difference([other], [[0.25] * 2]).interval()
    assert found.interval() == pytest.approx((-high, -low), rel=0.1)


def test_shares_of_a_few_states_are_not_resolved_more_often_than_they_may():
    """Of 16 states two seeds often agree: as many as one in ten pairs here, of one share in truth."""
    rng = np.random.default_rng(7)
    shares = rng.binomial(16, 0.95, (2000, 2, 2)) / 16
    assert np.mean(shares[:, 0, 0] == shares[:, 0, 1]) > 0.1
    wrong = sum(difference([one], [two], seed).resolved for seed, (one, two) in enumerate(shares))
    assert wrong < 0.06 * len(shares)


@pytest.mark.parametrize("strata", [[], [[]], [[1.0], []]])
def test_a_task_without_a_run_is_refused(strata):
    with pytest.raises(GradlabError, match="a task has none"):
        over_runs(strata)


def test_groups_of_other_tasks_are_refused():
    with pytest.raises(GradlabError, match="1 tasks against 2"):
        difference([[1.0]], [[1.0], [2.0]])


def test_no_values_have_no_mean():
    with pytest.raises(GradlabError, match="of no values"):
        interquartile_mean([])
