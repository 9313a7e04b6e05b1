"""Means and shares over states: values by hand, intervals by repetition."""

import math

import numpy as np
import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.statistics.state_means import bounded_state_mean, count_mean, optima_mean, state_mean, state_share


def test_means_leave_out_states_without_a_number():
    found = state_mean(torch.tensor([1.0, math.nan, 4.0]))
    assert (found.value, found.samples) == (2.5, 2)
    assert found.stderr == pytest.approx(np.std([1, 4], ddof=1) / math.sqrt(2))
    none = state_mean(torch.full((3,), math.nan))
    assert math.isnan(none.value)
    assert none.samples == 0
    assert math.isnan(state_mean(torch.ones(1)).interval()[0])


def test_states_of_one_episode_count_once():
    values, episode = torch.tensor([1.0, 1.0, 1.0, 5.0, 5.0, 5.0]), torch.tensor([4, 4, 4, 9, 9, 9])
    found = state_mean(values, episode)
    assert (found.value, found.samples) == (3.0, 2)
    assert found.stderr == pytest.approx(2.0)
    assert state_mean(values).stderr < 1.0


def test_intervals_end_where_the_quantity_does():
    few = torch.zeros(20)
    few[3] = 1.0
    assert state_mean(few).interval()[0] < 0
    assert state_mean(few, least=0).interval()[0] == 0
    assert state_mean(few, least=0).interval()[1] == state_mean(few).interval()[1]


@pytest.mark.parametrize("zeros", [0.0, 0.4])
def test_skewed_means_are_covered(zeros):
    # A gap: zero in some states, exponential in the others.
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(300):
        gap = torch.empty(64).exponential_(generator=generator)
        gap[torch.rand(64, generator=generator) < zeros] = 0.0
        low, high = state_mean(gap, least=0).interval()
        held += low <= 1 - zeros <= high
    assert 0.9 <= held / 300 <= 0.985


def test_shares_are_covered():
    generator = torch.Generator().manual_seed(0)
    for share in (0.03, 0.5):
        held = 0
        for _ in range(300):
            low, high = state_share(torch.rand(64, generator=generator) < share).interval()
            held += low <= share <= high
        assert 0.9 <= held / 300 <= 0.99


@pytest.mark.parametrize(
    ("mean", "least", "share"),
    [(optima_mean, 1, 0.01), (optima_mean, 1, 0.02), (optima_mean, 1, 0.05), (count_mean, 0, 0.02)],
)
def test_rare_counts_are_covered(mean, least, share):
    # One more in a small share of the states: half the samples show none.
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        low, high = mean(least + (torch.rand(64, generator=generator) < share).long()).interval()
        assert least <= low < high
        held += low <= least + share <= high
    assert held / 400 >= 0.93


def test_states_that_agree_leave_a_width():
    # What n zeros of at most 1 exclude, by Clopper and Pearson.
    end = 1 - 0.025 ** (1 / 64)
    for found, low, width in (
        (optima_mean(torch.ones(64)), 1.0, 1.0),
        (optima_mean(torch.zeros(64)), 0.0, 1.0),
        (count_mean(torch.zeros(64)), 0.0, 1.0),
        (bounded_state_mean(torch.zeros(64), least=0.0, most=0.1), 0.0, 0.1),
    ):
        assert found.value == found.interval()[0] == low
        assert found.interval()[1] == pytest.approx(low + end * width, rel=0.03)
    none = count_mean(torch.full((3,), math.nan))
    assert math.isnan(none.value)
    assert none.samples == 0


def test_wrong_shapes_are_refused():
    for call in (lambda: state_mean(torch.zeros(2, 2)), lambda: state_share(torch.zeros(2), torch.zeros(3))):
        with pytest.raises(GradlabError, match="one of each a state"):
            call()
