"""Scores against a history: the slow formulas, autocorrelation, and thresholds as quantiles."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr

from gradlab.inference.histories import (
    autocorrelation,
    autocorrelations_along,
    jump_score,
    jump_threshold,
    jumps_along,
    scatter_score,
    scatter_threshold,
    scatters_along,
)
from gradlab.inference.history_thresholds import MEMORIES, USUAL_RATE, USUAL_RECENT, simulated


def test_scores_are_the_formulas():
    values = np.random.default_rng(0).standard_normal(40)
    errors = np.linspace(0.1, 0.5, 40)
    found = jump_score(values[:20], errors[:20], 7.0, 2.0)
    centre = statistics.median(values[:20])
    spread = 1.4826022 * statistics.median(abs(v - centre) for v in values[:20])
    known = statistics.fmean(e**2 for e in errors[:20])
    assert found.spread == pytest.approx(math.sqrt(max(spread**2, known) + max(4 - known, 0)))
    assert found.score == pytest.approx((7.0 - centre) / found.spread)
    scatter = scatter_score(values, np.zeros(40), 20)
    changes = [abs(b - a) for a, b in pairwise(values)]
    late, before = statistics.median(changes[-10:]), statistics.median(changes[-30:-10])
    assert (scatter.recent_length, scatter.length) == (10, 20)
    assert scatter.score == pytest.approx(math.log(late / before))
    assert scatter.recent == pytest.approx(late * 1.4826022 / math.sqrt(2))
    assert scatter_score(values[:12], np.zeros(12), 20) is None
    # What larger errors of late explain is no growth.
    errors = np.where(np.arange(40) >= 30, 5.0, 0.0)
    assert scatter_score(values, errors, 20).score == -math.inf


def test_typical_changes_are_the_standard_deviation_of_independent_values():
    values = 3.0 * np.random.default_rng(1).standard_normal(2000)
    assert scatter_score(values, np.zeros(2000), 160).recent == pytest.approx(3.0, rel=0.2)


def test_thresholds_are_quantiles_under_an_autoregression():
    generator = np.random.default_rng(5)
    chains = generator.standard_normal((20_000, 21))
    for i in range(1, 21):
        chains[:, i] = 0.6 * chains[:, i - 1] + 0.8 * chains[:, i]
    limit, exceeded = jump_threshold(20, 0.6, 0.02), 0
    zeros = np.zeros(20)
    for chain in chains[:5000]:
        exceeded += abs(jump_score(chain[:20], zeros, chain[20], 0.0).score) > limit
    assert exceeded / 5000 == pytest.approx(0.02, abs=0.006)
    limit = scatter_threshold(10, 20, 0.0, 0.02)
    runs = generator.standard_normal((5000, 31))
    exceeded = sum(scatter_score(run, np.zeros(31), 20).score > limit for run in runs)
    assert exceeded / 5000 == pytest.approx(0.02, abs=0.006)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_autocorrelations_are_bounded_from_above_most_of_the_time(memory):
    found = []
    for seed in range(200):
        shocks = np.random.default_rng(seed).standard_normal(150)
        for i in range(1, 150):
            shocks[i] += memory * shocks[i - 1]
        found.append(autocorrelation(shocks[50:]))
    assert np.mean(np.array(found) >= memory - 0.02) > 0.75
    assert np.mean(found) < memory + 0.2


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("window", [8, 20, 50])
def test_along_a_series_they_are_those_of_each_history(window, ties):
    generator = np.random.default_rng(window)
    values = generator.standard_normal(170).cumsum()
    values = values.round() if ties else values
    errors = generator.random(170)
    for start in (0, 3, 100, 169):
        jumps, scatters = jumps_along(values, errors, window, start), scatters_along(values, errors, window, start)
        memories = autocorrelations_along(values, 2 * window, start)
        for k in range(start, 170):
            place = k - start
            past = slice(max(0, k - window), k)
            if k < 8:
                assert np.isnan(jumps.score[place])
                assert jumps.length[place] == 0
            else:
                one = jump_score(values[past], errors[past], values[k], errors[k])
                assert [part[place] for part in jumps] == pytest.approx(list(one))
            scatter = scatter_score(values[: k + 1], errors[: k + 1], window) if k else None
            if scatter is None:
                assert np.isnan(scatters.score[place])
            else:
                assert [part[place] for part in scatters[:3]] == pytest.approx(list(scatter[:3]))
                assert scatters.length[place] == scatter.length
            assert memories[place] == pytest.approx(autocorrelation(values[max(0, k - 2 * window) : k]))


@pytest.mark.parametrize("kind", ["distinct", "ties", "constant", "few"])
def test_autocorrelation_is_the_formula(kind):
    values = np.random.default_rng(3).standard_normal(30).cumsum()
    values = {"distinct": values, "ties": values.round(), "constant": np.full(30, 2.0), "few": values[:5]}[kind]
    pairs = len(values) - 1
    if kind == "constant":
        expected = 0.0
    elif kind == "few":
        expected = 0.95
    else:
        rho = spearmanr(values[:-1], values[1:]).statistic
        rho = min(rho + (1 + 3 * rho) / (pairs - 3), 1.0)
        expected = min(max(rho + math.sqrt((1 - rho**2) / pairs), 0.0), 0.95)
    assert autocorrelation(values) == pytest.approx(expected)


def test_the_thresholds_that_are_kept_are_those_of_the_simulation():
    for length in (8, 20):
        for memory in (MEMORIES[0], MEMORIES[5], MEMORIES[-1]):
            kept = jump_threshold(length, memory, USUAL_RATE)
            assert kept == pytest.approx(simulated(None, length, memory, USUAL_RATE), rel=1e-6)
            kept = scatter_threshold(USUAL_RECENT, length, memory, USUAL_RATE)
            assert kept == pytest.approx(simulated(USUAL_RECENT, length, memory, USUAL_RATE), rel=1e-6)
    # Another rate is not the usual one's, nor is another number of recent changes.
    assert jump_threshold(20, 0.0, 0.01) < jump_threshold(20, 0.0, USUAL_RATE) < jump_threshold(20, 0.0, 0.001)
    assert scatter_threshold(4, 8, 0.0, USUAL_RATE) > scatter_threshold(USUAL_RECENT, 8, 0.0, USUAL_RATE)


@pytest.mark.slow
def test_all_that_are_kept_are():
    for length in (8, 12, 16, 20):
        for memory in MEMORIES:
            for recent, kept in (
                (None, jump_threshold(length, memory, USUAL_RATE)),
                (USUAL_RECENT, scatter_threshold(USUAL_RECENT, length, memory, USUAL_RATE)),
            ):
                assert kept == pytest.approx(simulated(recent, length, memory, USUAL_RATE), rel=1e-6)
