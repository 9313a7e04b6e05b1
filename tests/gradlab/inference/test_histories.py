"""Scores against a history: the slow formulas, autocorrelation, and thresholds as quantiles."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest

from gradlab.inference.histories import autocorrelation, jump_score, jump_threshold, scatter_score, scatter_threshold


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
