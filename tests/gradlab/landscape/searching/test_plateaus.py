"""Plateaus, also those whose slopes are rounding instead of zero, and tops that are merely wide, which are none."""

import pytest
import torch

from gradlab.landscape import local_optima
from gradlab.landscape.searching.ascent import begin
from gradlab.landscape.searching.plateaus import level
from gradlab.landscape.surface import Surface


def table(a):
    """A table mountain, level where Σ|a| ≤ ½, whose top has a slope of 1e-9."""
    return (0.5 - a.abs().sum(-1)).clamp(max=0.0) + 1e-9 * a.sum(-1)


def cancelling(a):
    """Up to −½, level to 0.4, down: the slopes of the first two units cancel but for a last digit."""
    return (0.3 * (a + 0.5).relu() - 0.3 * (1 + 1e-7) * (a + 0.3).relu() - (a - 0.4).relu()).sum(-1)


def saturated(a):
    return 100 + (12 * (1 - a.square().sum(-1))).tanh()


def box(size, dtype=torch.float32):
    return -torch.ones(size, dtype=dtype), torch.ones(size, dtype=dtype)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("q", [table, lambda a: 5 + table(a), cancelling, saturated])
def test_a_top_whose_slope_is_rounding_is_no_optimum(q, size):
    found = local_optima(q, *box(size))
    assert [len(values) for values in found.values] == [0]
    assert float(found.value_range) > 0.4
    assert float(found.basin_share[0].sum()) == 0.0


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_same_slope_is_none_of_rounding_in_float64(size):
    found = local_optima(table, *box(size, torch.float64))
    assert [len(values) for values in found.values] == [1]


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(
    "q",
    [
        lambda a: 100 - 0.1 * a.square().sum(-1),
        lambda a: 1000 - a.square().sum(-1),
        lambda a: -a.pow(4).sum(-1),
        lambda a: 100 - a.pow(4).sum(-1),
        lambda a: 100 - 0.1 * (a - 0.1).square().sum(-1),
    ],
    ids=["bowl on 100", "bowl on 1000", "quartic", "quartic on 100", "bowl on 100 beside the centre"],
)
def test_a_wide_top_is_no_plateau_though_its_values_agree_nearby(q, size):
    """In float32 the values within 1 % of the box are the same; the slopes are not, and the first start is the top."""
    found = local_optima(q, *box(size))
    assert [len(values) for values in found.values] == [1]


@pytest.mark.parametrize(
    ("at", "flat"),
    [
        ([0.0, 0.0], True),
        ([0.3, -0.3], True),
        ([0.5, 0.0], True),  # on the edge
        ([0.5, -0.5], True),  # in a corner of it
        ([0.6, 0.0], False),  # on the slope
        ([1.0, 0.0], False),  # where the box ends
    ],
)
def test_inside_on_the_edge_and_beside_a_plateau(at, flat):
    def mesa(state, act):
        return (0.5 - act.abs()).clamp(max=0.0).sum(-1)

    surface = Surface(mesa, 1, *box(2, torch.float64))
    rows = begin(surface, torch.zeros(1, dtype=torch.long), surface.unit(torch.tensor([at])).double(), 0.1)
    span = torch.ones(1, dtype=torch.float64)
    assert level(surface, rows, radius=0.01, span=span, rounding=1e-15 * span).tolist() == [flat]


def test_a_face_that_q_rises_to_is_none():
    for corner in ([1.0, 1.0], [1.0, 0.2]):
        surface = Surface(lambda state, act: act[:, 0] - 0 * act[:, 1], 1, *box(2, torch.float64))
        rows = begin(surface, torch.zeros(1, dtype=torch.long), surface.unit(torch.tensor([corner])).double(), 0.1)
        span = torch.ones(1, dtype=torch.float64)
        assert level(surface, rows, radius=0.01, span=span, rounding=1e-15 * span).tolist() == [False]
