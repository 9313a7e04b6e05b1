"""Quantiles over states: coverage, independent and in episodes, and ends where a sample says nothing."""

import math

import pytest
import torch
from scipy.stats import binom, norm

from gradlab.errors import GradlabError
from gradlab.statistics.state_quantiles import state_quantile


@pytest.mark.parametrize(
    ("share", "episodes", "steps", "alike"),
    [(0.5, 64, 1, 0.0), (0.9, 64, 1, 0.0), (0.5, 24, 16, 0.5), (0.9, 32, 8, 0.3), (0.99, 32, 32, 0.2)],
)
def test_intervals_hold_the_truth(share, episodes, steps, alike):
    truth, hits, repeats = math.exp(norm.ppf(share)), 0, 200
    for seed in range(repeats):
        generator = torch.Generator().manual_seed(seed)
        common = torch.randn(episodes, 1, generator=generator, dtype=torch.float64)
        own = torch.randn(episodes, steps, generator=generator, dtype=torch.float64)
        values = (math.sqrt(alike) * common + math.sqrt(1 - alike) * own).exp().flatten()
        low, high = state_quantile(values, share, torch.arange(episodes).repeat_interleave(steps)).interval()
        hits += low <= truth <= high
    # Order statistics are discrete, so that independent samples' intervals hold more than they must.
    assert 0.90 <= hits / repeats <= (0.995 if steps == 1 else 0.98), hits


def test_ends_are_order_statistics_of_independent_states():
    values = torch.randn(80, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, ordered = state_quantile(values, 0.75), values.sort().values
    low, high = (int((ordered == end).nonzero()) + 1 for end in found.ends)
    assert binom.cdf(high - 1, 80, 0.75) - binom.cdf(low - 1, 80, 0.75) >= 0.95
    assert binom.cdf(high - 2, 80, 0.75) - binom.cdf(low, 80, 0.75) < 0.95
    assert found.value == pytest.approx(float(values.quantile(0.75)))


def test_one_value_for_each_episode_counts_episodes():
    per_episode = torch.randn(20, generator=torch.Generator().manual_seed(2))
    once, often = (
        state_quantile(per_episode.repeat_interleave(n), 0.5, torch.arange(20).repeat_interleave(n)) for n in (1, 9)
    )
    assert once.samples == often.samples == 20
    assert often.ends[0] >= once.ends[0] - 0.3
    assert often.ends[1] - often.ends[0] > 0.6 * (once.ends[1] - once.ends[0])


def test_what_cannot_be_bounded_is_infinite_and_nothing_is_nothing():
    few = state_quantile(torch.arange(10.0), 0.99)
    assert few.ends[1] == math.inf
    assert math.isnan(state_quantile(torch.full((3,), math.nan)).value)
    alone = state_quantile(torch.arange(5.0), episode=[3] * 5)
    assert (alone.value, alone.samples) == (2.0, 1)
    assert math.isnan(alone.interval()[0])
    for share in (0.0, 1.0, math.nan):
        with pytest.raises(GradlabError, match="share"):
            state_quantile(torch.arange(5.0), share)
    with pytest.raises(GradlabError, match="values"):
        state_quantile(torch.zeros(2, 2))
    with pytest.raises(GradlabError, match="episode"):
        state_quantile(torch.zeros(4), episode=[1, 2])
