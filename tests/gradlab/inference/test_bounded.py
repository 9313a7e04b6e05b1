"""Intervals of means of bounded numbers: closed forms, and coverage where symmetric intervals fail."""

import math

import pytest
import torch
from scipy.stats import beta

from gradlab.errors import GradlabError
from gradlab.inference.bounded import bounded_mean
from gradlab.inference.confidence import skewed_interval

ZERO, ONE = torch.zeros(1), torch.ones(1)


def of(values, group=None, low=ZERO, high=ONE):
    mean, stderr, ends, samples = bounded_mean(values[:, None], low, high, group)
    return mean.item(), stderr.item(), ends[:, 0].tolist(), samples


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (1, 5), (3, 20), (40, 80), (80, 80)])
def test_shares_have_the_interval_of_clopper_and_pearson(successes, n):
    mean, _, (low, high), samples = of((torch.arange(n) < successes).double())
    assert (mean, samples) == (successes / n, n)
    exact = (
        beta.ppf(0.025, successes, n - successes + 1) if successes else 0.0,
        beta.ppf(0.975, successes + 1, n - successes) if successes < n else 1.0,
    )
    # Of 8,000 weightings the chance beyond an end is known within .007 at four standard errors; where a normal density
    # of standard deviation 1/(2√n) is .058·2√n, that moves the end by .06/√n, and by more where it is skewed.
    near = 0.08 / n**0.5
    for end, right in zip((low, high), exact, strict=True):
        assert end == pytest.approx(right, abs=near)


def test_one_number_says_what_one_number_can():
    """D is uniform on [0, 1] then: x + .975(1 − x), and .025 x."""
    mean, stderr, (low, high), samples = of(torch.tensor([0.2]))
    assert mean == pytest.approx(0.2)
    assert math.isnan(stderr)
    assert samples == 1
    assert low == pytest.approx(0.025 * 0.2, abs=0.002)
    assert high == pytest.approx(0.2 + 0.975 * 0.8, abs=0.007)


def test_bounds_scale_and_shift_the_interval():
    x = torch.rand(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, stderr, ends, _ = of(x)
    shifted = of(1e6 + 7 * x, low=ZERO + 1e6, high=7 * ONE.double() + 1e6)
    assert shifted[0] - 1e6 == pytest.approx(7 * mean, rel=1e-8)
    assert shifted[1] == pytest.approx(7 * stderr, rel=1e-8)
    assert [end - 1e6 for end in shifted[2]] == pytest.approx([7 * end for end in ends], rel=1e-6)


def draws(kind, n, repetitions):
    """[n, repetitions] numbers and their mean."""
    generator = torch.Generator().manual_seed(n)
    chance, value = torch.rand(2, n, repetitions, generator=generator, dtype=torch.float64)
    if kind == "one in twenty":
        return (chance < 0.05) * value, 0.025
    if kind == "half zero, skewed":
        return (chance < 0.5) * value**8, 0.5 / 9
    if kind == "skewed":
        return value**8, 1 / 9
    return (chance < 0.1).double(), 0.1


@pytest.mark.parametrize("n", [4, 16, 64])
@pytest.mark.parametrize("kind", ["one in twenty", "half zero, skewed", "skewed", "ones and zeros"])
def test_intervals_of_skewed_numbers_with_many_zeros_hold_the_mean(kind, n):
    repetitions = 300
    values, truth = draws(kind, n, repetitions)
    _, _, ends, _ = bounded_mean(values, torch.zeros(repetitions), torch.ones(repetitions))
    coverage = float(((ends[0] <= truth) & (truth <= ends[1])).double().mean())
    assert coverage >= 0.95 - 3.5 * math.sqrt(0.95 * 0.05 / repetitions)


def test_an_interval_from_the_scatter_alone_would_not():
    """Why gaps have intervals of their own: with 16 states and one in twenty not zero, most samples scatter little."""
    values, truth = draws("one in twenty", 16, 500)
    held = 0
    for x in values.T:
        low, high = skewed_interval(float(x.mean()), float(x.std()) / 4, x)
        held += low <= truth <= high
    assert held / 500 < 0.75


@pytest.mark.parametrize("groups", [6, 24])
def test_groups_are_what_is_independent(groups):
    generator = torch.Generator().manual_seed(groups)
    held = naive = 0
    for _ in range(100):
        sizes = torch.randint(4, 12, (groups,), generator=generator)
        group = torch.arange(groups).repeat_interleave(sizes)
        chance = torch.rand(groups, generator=generator, dtype=torch.float64) ** 3
        x = (torch.rand(len(group), generator=generator) < chance[group]).double()
        _, _, (low, high), samples = of(x, group + 100)
        assert samples == groups
        held += low <= 0.25 <= high
        _, _, (low, high), _ = of(x)
        naive += low <= 0.25 <= high
    assert held / 100 >= 0.95 - 3.5 * math.sqrt(0.95 * 0.05 / 100)
    assert naive / 100 < 0.8


def test_the_standard_error_is_that_of_a_ratio_of_sums():
    x = torch.tensor([0.0, 0.5, 1.0, 0.25])
    assert of(x)[1] == pytest.approx(float(x.std()) / 2)
    doubled = of(x.repeat_interleave(3), torch.arange(4).repeat_interleave(3))
    assert doubled[1] == pytest.approx(float(x.std()) / 2)


def test_wrong_input_is_one_line_and_randomness_is_its_own():
    before = torch.random.get_rng_state()
    first = of(torch.rand(5, generator=torch.Generator().manual_seed(0)))
    assert first == of(torch.rand(5, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(before, torch.random.get_rng_state())
    for match, call in [
        ("beyond its bounds", lambda: of(torch.tensor([1.5]))),
        ("NaN", lambda: of(torch.tensor([math.nan]))),
        ("not empty", lambda: of(torch.empty(0))),
        ("2 samples", lambda: of(torch.zeros(2), torch.zeros(3))),
        ("bounds", lambda: bounded_mean(torch.zeros(2, 2), ZERO, ONE)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
