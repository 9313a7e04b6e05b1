"""The ledger's statistics where a vector is one number: means, variances and Johnson's interval by their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import skew
from scipy.stats import t as student
from torch import Tensor

from gradlab.ledger.moments import Source, products
from gradlab.ledger.statistics import Statistics


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


def of_means(*samples: Tensor, exact: tuple[float, ...] = ()) -> Statistics:
    """Vectors that are the means of samples [n, 1, P], then exact ones of one number."""
    sources = [
        Source(sample, torch.ones(sample.shape[:2], dtype=torch.float64), (k,), "draws")
        for k, sample in enumerate(samples)
    ]
    means = [source.means() for source in sources]
    waypoints = torch.cat([*means, *(torch.full((1, 1), x, dtype=torch.float64) for x in exact)])
    return Statistics(products(waypoints, sources, torch.eye(len(waypoints), dtype=torch.float64)))


@pytest.mark.parametrize("tail", [9.0, -7.0])
def test_a_mean_has_students_interval_that_a_tail_pulls_out(tail: float) -> None:
    values = [0.3, -0.2, 0.1, 0.6, 0.2, tail, 0.5, 0.0, -0.1, 0.4]
    share = of_means(column(values), exact=(1.0,)).share(0, 1)
    x = torch.tensor(values, dtype=torch.float64)
    n, stderr = len(x), float(x.std()) / math.sqrt(len(x))
    assert share.value == pytest.approx(float(x.mean()), rel=1e-12)
    assert share.stderr == pytest.approx(stderr, rel=1e-10)
    centred = x - x.mean()
    excess = float(centred.pow(4).mean() / centred.square().mean() ** 2) - 1
    assert share.samples == 1 + math.floor(min(n - 1, 2 * n / excess))
    quantile = float(student.ppf(0.975, share.samples - 1))
    # μ₃/(6σ²n)(1 + 2t²), with the plain third moment and the unbiased variance.
    third = float(skew(x.numpy())) * float(centred.square().mean()) ** 1.5
    shift = third / (6 * float(x.var()) * n) * (1 + 2 * quantile**2)
    half = quantile * stderr
    shift = max(-half, min(half, shift))
    low, high = share.interval()
    assert low == pytest.approx(share.value - half + min(shift, 0), rel=1e-9)
    assert high == pytest.approx(share.value + half + max(shift, 0), rel=1e-9)
    assert (shift > 0) == (tail > 0)


def test_a_squared_mean_is_the_mean_over_pairs_and_its_interval_holds_it() -> None:
    values = [1.0, 2.0, 4.0, 1.5]
    squared = of_means(column(values)).squared_norm(0)
    pairs = [a * b for i, a in enumerate(values) for j, b in enumerate(values) if i != j]
    assert squared.value == pytest.approx(sum(pairs) / 12)
    low, high = squared.interval()
    assert low < squared.value < high


def test_sources_add_their_noise() -> None:
    one, two = column([1.0, 2.0, 4.0]), column([3.0, 3.5, 5.0, 4.0, 4.1])
    sources = [
        Source(sample, torch.ones(sample.shape[:2], dtype=torch.float64), (k,), "draws")
        for k, sample in enumerate((one, two))
    ]
    waypoints = torch.cat([source.means() for source in sources])
    difference = Statistics(products(waypoints, sources, torch.tensor([[1.0, -1.0]], dtype=torch.float64)))
    noise = float(one.var()) / 3 + float(two.var()) / 5
    expected = float(one.mean() - two.mean()) ** 2 - noise
    assert difference.squared_norm(0).value == pytest.approx(expected, rel=1e-12)


def test_parallel_vectors_have_a_cosine_of_one_and_no_rest() -> None:
    rows = torch.tensor([1.0, 2.0, 4.0, 3.0], dtype=torch.float64)[:, None, None] * torch.tensor([3.0, -1.0]).double()
    source = Source(rows, torch.ones(4, 1, dtype=torch.float64), (0,), "draws")
    combinations = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    cosine = Statistics(products(source.means(), [source], combinations)).cosine(0, 1)
    assert cosine.value == pytest.approx(-1, abs=1e-12)
    low, high = cosine.interval()
    assert low <= -1 + 1e-12
    assert high == pytest.approx(-1, abs=1e-6)


def test_two_units_tell_a_variance_but_no_jackknife_of_a_ratio() -> None:
    statistics = of_means(column([1.0, 2.0]), exact=(1.0,))
    assert statistics.squared_norm(0).value == pytest.approx(2.0)
    assert math.isnan(statistics.share(0, 1).stderr)


def test_one_unit_tells_nothing() -> None:
    statistics = of_means(column([2.0]), exact=(1.0,))
    for estimate in (statistics.squared_norm(0), statistics.share(0, 1), statistics.cosine(0, 1)):
        assert math.isnan(estimate.value)
        assert math.isnan(estimate.interval()[0])
    exact = statistics.squared_norm(1)
    assert (exact.value, exact.stderr) == (1.0, 0.0)


def test_norms_far_below_the_others_survive() -> None:
    """A difference 1e-12 as large as its ends, whose square no difference of float64 products could hold."""
    big = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    waypoints = torch.cat([big, big + torch.tensor([[1e-12, 0.0]], dtype=torch.float64)])
    difference = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    squared = Statistics(products(waypoints, [], difference)).squared_norm(0)
    assert squared.value == pytest.approx(1e-24, rel=1e-3)
