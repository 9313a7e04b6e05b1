"""The pictures of a landscape report: what is drawn is what was measured, where it belongs."""

import numpy as np
import pytest
import xarray as xr

from dashboards.figures.beside_truth import beside_truth
from dashboards.figures.gap_parts import gap_parts
from dashboards.figures.persistence import persistence
from gradlab.estimate import Estimate


def test_counts_over_persistence_with_their_bands():
    curve = {0.001: Estimate(3.0, 0.5, 30), 0.01: Estimate(2.0, 0.2, 30), 1.0: Estimate(1.0, 0.0, 30)}
    figure = persistence({"A-v0": {"1 step": curve, "2 steps": curve}, "B-v0": {"1 step": curve}}, threshold=0.01)
    line, band = figure.data[:2]
    assert list(line.x) == [0.001, 0.01, 1.0]
    assert list(line.y) == [3.0, 2.0, 1.0]
    # There and back: the upper ends from left to right, the lower ones from right to left.
    assert list(band.x) == [0.001, 0.01, 1.0, 1.0, 0.01, 0.001]
    low, high = curve[0.01].interval()
    assert band.y[1] == pytest.approx(high)
    assert band.y[4] == pytest.approx(low)
    assert [trace.xaxis for trace in figure.data] == ["x", "x", "x", "x", "x2", "x2"]
    assert [trace.legend for trace in figure.data[::2]] == ["legend", "legend", "legend2"]
    assert {shape.x0 for shape in figure.layout.shapes} == {0.01}
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]


def test_parts_of_the_gap_add_up_and_the_whisker_is_the_gaps():
    numbers = {
        "relative_own_fit": Estimate(0.2, 0.01, 30),
        "relative_basin_choice": Estimate(0.1, 0.01, 30),
        "relative_gap": Estimate(0.3, 0.02, 30, ends=(0.27, 0.4)),
    }
    own, choice = gap_parts({("A-v0", "1"): numbers, ("A-v0", "2"): numbers}).data
    assert list(own.y) == [0.2, 0.2]
    assert list(choice.y) == [0.1, 0.1]
    assert list(own.x[1]) == ["1", "2"]
    top = own.y[0] + choice.y[0]
    assert top + choice.error_y.array[0] == pytest.approx(0.4)
    assert top - choice.error_y.arrayminus[0] == pytest.approx(0.27)


def plane(shift=0.0):
    x, y = np.linspace(-1, 1, 5), np.linspace(-2, 2, 3)
    grid = np.add.outer(y, x)
    true = grid.copy()
    true[0, 0] = np.nan
    return xr.Dataset(
        {
            "q": (("critic", "y", "x"), grid[None] + shift),
            "true": (("y", "x"), true),
            "actor_place": ("component", [0.5, 1.0]),
            "actor_q": 1.5 + shift,
            "actor_true": 1.0,
            "optimum_place": (("optimum", "component"), [[1.0, 2.0], [-1.0, 2.0], [np.nan, np.nan]]),
            "optimum_q": ("optimum", [3.0, 1.0, np.nan]),
            "optimum_true": ("optimum", [3.0, 1.0, np.nan]),
        },
        coords={"x": x, "y": y},
    )


def test_the_critic_above_the_truth_relative_to_the_actor():
    figure = beside_truth({"1 step": plane(), "2 steps": plane(shift=100.0)})
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [(trace.xaxis, trace.name) for trace in maps] == [
        ("x", "critic"), ("x3", "truth"), ("x2", "critic"), ("x4", "truth"),
    ]  # fmt: skip
    # A constant does no harm.
    np.testing.assert_allclose(maps[0].z, maps[2].z)
    assert maps[0].z[1, 2] == pytest.approx(0.0 - 1.5)
    assert maps[1].z[1, 2] == pytest.approx(0.0 - 1.0)
    assert np.isnan(maps[1].z[0, 0])
    optima = [trace for trace in figure.data if "optima" in trace.name]
    assert all(list(trace.x) == [1.0, -1.0] and list(trace.marker.symbol) == ["star", "diamond"] for trace in optima)
    # The rows are above each other and the columns side by side.
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis3.domain[1]
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    assert "spans 6" in figure.layout.annotations[0].text


def test_one_action_is_drawn_as_lines():
    one = plane().isel(y=0, component=[0], drop=True)
    one["true"] = ("x", np.linspace(0, 1, 5))
    critic, true, optima, actor = beside_truth({"1 step": one}).data
    np.testing.assert_allclose(critic.y, one.q.values[0] - 1.5)
    np.testing.assert_allclose(true.y, one.true.values - 1.0)
    # Optima stand on the critic's line.
    np.testing.assert_allclose(optima.y, [1.5, -0.5])
    assert (list(actor.x), list(actor.y)) == ([0.5], [0.0])
