"""Verdicts on draws whose truth is known: how often noise makes a wrong one."""

import math

import pytest
import torch

from gradlab.landscape.truth.verdicts import Differences, Verdict, differences, judge_slopes, judge_values

ROWS = 20_000
CHANCE = 0.025
SLACK = 3.5 * math.sqrt(CHANCE * (1 - CHANCE) / ROWS)


def noisy(truth, seeds, seed):
    """Draws of optimum and base around means that differ by ``truth``; most of the noise is common to both."""
    generator = torch.Generator().manual_seed(seed)
    common = 5 * torch.randn(seeds, *[1] * (truth.ndim - 1), ROWS, generator=generator, dtype=torch.float64)
    own = torch.randn(seeds, *truth.shape, generator=generator, dtype=torch.float64)
    whole, base = truth + common + own, common.expand(seeds, *truth.shape)
    return differences(whole, whole, base, base, 1.0, seeds)


@pytest.mark.parametrize("seeds", [2, 4, 16])
@pytest.mark.parametrize("truth", [1e-6, 0.3, -0.3])
def test_values_are_judged_wrongly_at_most_one_time_in_forty(seeds, truth):
    found = judge_values(noisy(torch.full((ROWS,), truth).double(), seeds, seeds), torch.ones(ROWS, dtype=torch.bool))
    wrong = Verdict.PHANTOM if truth > 0 else Verdict.REAL
    assert float((found == wrong).double().mean()) <= CHANCE + SLACK
    right = Verdict.REAL if truth > 0 else Verdict.PHANTOM
    if seeds == 16 and abs(truth) == 0.3:
        # Power of Student's t at a noncentrality of 1.2 is about 0.2.
        assert float((found == right).double().mean()) > 0.15


@pytest.mark.parametrize("points", [2, 13])
@pytest.mark.parametrize("seeds", [4, 16])
def test_slopes_are_judged_wrongly_at_most_one_time_in_forty(points, seeds):
    there = torch.ones(points, ROWS, dtype=torch.bool)
    # Level to rounding at every point is the hardest case for PHANTOM ...
    level = torch.full((points, ROWS), -1e-6).double()
    found = judge_slopes(noisy(level, seeds, 1), there)
    assert float((found == Verdict.PHANTOM).double().mean()) <= CHANCE + SLACK
    # ... and one point just above, all others far below, for REAL.
    level[1:] = -100.0
    level[0] = 1e-6
    found = judge_slopes(noisy(level, seeds, 2), there)
    assert float((found == Verdict.REAL).double().mean()) <= CHANCE + SLACK
    assert float((found == Verdict.REAL).double().mean()) >= CHANCE - SLACK


def test_points_that_do_not_count_decide_nothing():
    rise = torch.tensor([[5.0, -1.0, -1.0], [-1.0, 2.0, 7.0]])
    none = torch.zeros_like(rise)
    there = torch.tensor([[False, True, False], [True, True, False]])
    found = judge_slopes(Differences(rise, none, none, none, 0), there)
    assert found.tolist() == [Verdict.REAL, Verdict.PHANTOM, Verdict.UNRESOLVED]


def test_nan_and_what_lies_beyond_are_unresolved():
    value = torch.tensor([math.nan, 0.5, 0.5, -0.5])
    none = torch.zeros(4)
    truncation = torch.tensor([0.0, 0.6, 0.4, math.inf])
    gain = Differences(value, none, truncation, none, 0)
    claimed = torch.ones(4, dtype=torch.bool)
    assert judge_values(gain, claimed).tolist() == [
        Verdict.UNRESOLVED,
        Verdict.UNRESOLVED,
        Verdict.REAL,
        Verdict.UNRESOLVED,
    ]
    assert judge_slopes(
        Differences(value[None], none[None], truncation[None], none[None], 0), claimed[None]
    ).tolist() == [
        Verdict.UNRESOLVED,
        Verdict.UNRESOLVED,
        Verdict.PHANTOM,
        Verdict.UNRESOLVED,
    ]
    assert judge_values(gain, ~claimed).tolist() == [Verdict.NOT_CLAIMED] * 4


def test_a_level_true_value_is_no_slope():
    zero = torch.zeros(2, 3)
    found = judge_slopes(Differences(zero, zero, zero, zero + 1e-12, 0), torch.ones(2, 3, dtype=torch.bool))
    assert found.tolist() == [Verdict.REAL] * 3


def test_rewards_that_have_stopped_to_differ_leave_nothing_beyond_even_undiscounted():
    whole, part = torch.tensor([[2.0, 2.0]]).double(), torch.tensor([[2.0, 1.5]]).double()
    found = differences(whole, part, torch.zeros(1, 2).double(), torch.zeros(1, 2).double(), math.inf, 0)
    assert found.truncation.tolist() == [0.0, math.inf]
