"""Intervals of medians, by simulation."""

import math

import pytest
import torch

from gradlab.statistics.medians import median


@pytest.mark.parametrize("count", [8, 30, 64])
def test_intervals_hold_the_median_of_two_heaps(count):
    generator, hits = torch.Generator().manual_seed(count), 0
    # The median lies at the share .5/.55 of the first heap.
    truth = 0.1 * math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * 0.5 / 0.55 - 1)))
    for _ in range(300):
        noise = 0.1 * torch.randn(count, generator=generator)
        low, high = median(torch.where(torch.rand(count, generator=generator) < 0.55, noise, noise + 10)).interval()
        hits += low <= truth <= high
    assert hits / 300 > 0.925


def test_few_values_bound_no_median():
    assert math.isnan(median(torch.arange(5.0)).interval()[0])
    assert median(torch.arange(6.0)).interval() == (0.0, 5.0)
