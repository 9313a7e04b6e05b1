"""The pictures of a curvature report: what is drawn is what was measured; what is missing does not break them."""

import math
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from dashboards.figures.over_training import SENSITIVITY, over_training
from dashboards.figures.predicted_and_seen import predicted_and_seen
from dashboards.log_ticks import log_ticks
from gradlab.estimate import Estimate

RATIO = [("ratio", "M/μ", "log")]
SHARE = [("share", "fast power", "linear")]


def accepted(figure):
    """The figure, which plotly checks in every part."""
    go.Figure(figure.to_dict())
    return figure


def numbers(values, name="ratio", spread=0.1):
    """step → numbers, a measurement each thousand steps."""
    return {
        1000 * (i + 1): {name: one if isinstance(one, Estimate) else Estimate(one, spread, 30)}
        for i, one in enumerate(values)
    }


def predictions(ratio, actor):
    return SimpleNamespace(ratio=torch.tensor(ratio).double(), actor_norm=torch.tensor(actor).double())


def test_lines_and_bands_of_every_run_are_where_they_belong():
    measured = {1: {"a": Estimate(2.0, 0.1, 30), "b": Estimate(0.3, 0.01, 30)},
                5: {"a": Estimate(4.0, 0.3, 30), "b": Estimate(0.1, 0.02, 30)}}  # fmt: skip
    runs = {"A-v0, smooth": measured, "A-v0, piecewise linear": measured, "B-v0, smooth": measured}
    figure = accepted(over_training(runs, [("a", "M/μ", "log"), ("b", "fast power", "linear")]))
    places = [(trace.name, trace.xaxis, trace.yaxis) for trace in figure.data[::2]]
    assert places == [
        ("smooth", "x", "y"), ("piecewise linear", "x", "y"),
        ("smooth", "x2", "y2"), ("piecewise linear", "x2", "y2"),
        ("smooth", "x3", "y3"), ("smooth", "x4", "y4"),
    ]  # fmt: skip
    line, band = figure.data[:2]
    assert list(line.x) == [1, 5]
    assert list(line.y) == [2.0, 4.0]
    assert list(band.x) == [1, 5, 5, 1]
    intervals = [measured[step]["a"].interval() for step in (1, 5)]
    assert list(band.y) == [intervals[0][1], intervals[1][1], intervals[1][0], intervals[0][0]]
    # One kind of run has one colour everywhere, and one entry in the legend.
    colors = {trace.name: set() for trace in figure.data[::2]}
    for trace in figure.data[::2]:
        colors[trace.name].add(trace.line.color)
    assert [len(one) for one in colors.values()] == [1, 1]
    assert colors["smooth"] != colors["piecewise linear"]
    assert [trace.showlegend for trace in figure.data[::2]] == [True, True, False, False, False, False]
    assert [note.text for note in figure.layout.annotations] == [
        "<b>A-v0</b>: M/μ", "fast power", "<b>B-v0</b>: M/μ", "fast power"
    ]  # fmt: skip
    low, high = figure.layout.yaxis.range
    assert 10**low < intervals[0][0]
    assert 10**high > intervals[1][1]
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis3.domain[1]
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]


def test_steps_are_drawn_in_order_and_one_checkpoint_is_a_mark():
    figure = accepted(over_training({"A, x": dict(reversed(numbers([1.0, 2.0, 3.0]).items()))}, RATIO))
    assert list(figure.data[0].x) == [1000, 2000, 3000]
    assert list(figure.data[0].y) == [1.0, 2.0, 3.0]
    line, band = accepted(over_training({"A, x": numbers([2.0])}, RATIO)).data
    assert (list(line.x), list(line.y), line.mode) == ([1000], [2.0], "lines+markers")
    assert list(band.x) == [1000, 1000]


def test_an_interval_without_an_end_reaches_the_edge_and_one_that_is_not_known_breaks_the_band():
    given = [
        Estimate(2.0, 0.1, 30, ends=(1.0, 3.0)),
        Estimate(3.0, 0.1, 30, ends=(-math.inf, math.inf)),
        Estimate(2.5, math.nan, 1),
        Estimate(2.2, 0.1, 30, ends=(2.0, 2.5)),
    ]
    line, band = accepted(over_training({"A, x": numbers(given)}, RATIO)).data
    assert list(line.y) == [2.0, 3.0, 2.5, 2.2]
    assert list(band.x) == [1000, 2000, 2000, 1000, None, 4000, 4000]
    assert len(band.y) == 7
    low, high = (10**end for end in over_training({"A, x": numbers(given)}, RATIO).layout.yaxis.range)
    assert [y for y in band.y if y is not None] == pytest.approx([3.0, high, low, 1.0, 2.5, 2.0])
    assert band.y[4] is None
    # On a logarithm zero is no end either; on a linear axis it is one.
    with_zero = numbers([Estimate(2.0, 0.1, 30, ends=(0.0, 3.0))])
    figure = over_training({"A, x": with_zero}, RATIO)
    assert figure.data[1].y[1] == pytest.approx(10 ** figure.layout.yaxis.range[0])
    (_, band) = over_training({"A, x": numbers([Estimate(0.2, 0.1, 30, ends=(0.0, math.inf))], "share")}, SHARE).data
    assert list(band.y) == [0.2, 0.0]


def test_a_band_far_wider_than_the_line_does_not_flatten_it():
    given = [Estimate(2.0, 0.1, 30, ends=(1e-9, 1e9)), Estimate(4.0, 0.1, 30, ends=(3.0, 5.0))]
    figure = over_training({"A, x": numbers(given)}, RATIO)
    low, high = figure.layout.yaxis.range
    assert high - low < 3
    assert 10**low < 2.0 < 4.0 < 10**high
    assert list(figure.data[1].y) == [1e9, 5.0, 3.0, 1e-9]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_that_are_not_there_are_left_out_and_said(theme):
    nothing = Estimate(math.nan, math.nan, 0)
    given = [1.0, nothing, Estimate(0.0, 0.1, 30), Estimate(math.inf, math.nan, 3), 2.0]
    figure = accepted(over_training({"A, x": numbers(given)}, RATIO, theme))
    assert list(figure.data[0].x) == [1000, 5000]
    for runs in ({"A, x": numbers([nothing] * 3)}, {"A, x": {1: {}}}, {"A, x": {}}):
        figure = accepted(over_training(runs, theme=theme))
        assert not any(len(trace.x) for trace in figure.data)
        assert len(figure.data) == 2 * len(SENSITIVITY)
        assert all(note.text.endswith("no number") for note in figure.layout.annotations)
    assert not accepted(over_training({}, theme=theme)).data
    assert not accepted(over_training({"A, x": numbers([1.0])}, [], theme)).data


def test_names_are_no_markup():
    figure = over_training({"<b>A</b>, <i>x</i>": numbers([1.0])}, RATIO)
    assert figure.data[0].name == "&lt;i&gt;x&lt;/i&gt;"
    assert figure.layout.annotations[0].text == "<b>&lt;b&gt;A&lt;/b&gt;</b>: M/μ"
    figure = predicted_and_seen({"<b>A</b>": predictions([1.0], [1.0])})
    assert figure.layout.annotations[0].text.startswith("<b>&lt;b&gt;A&lt;/b&gt;</b>")


def test_points_are_the_states_and_the_line_is_equality():
    ratio, actor = [1.0, math.nan, 4.0, 0.0, math.inf, 2.0], [0.5, 1.0, 8.0, 1.0, 1.0, 0.0]
    figure = accepted(predicted_and_seen({"one": predictions(ratio, actor), "two": predictions([3.0], [1.0])}))
    equality, points, _, others = figure.data
    # Not where M/μ is not defined, is zero or infinite, or the actor does not move.
    assert (list(points.x), list(points.y)) == ([1.0, 4.0], [0.5, 8.0])
    assert (list(others.x), list(others.y)) == ([3.0], [1.0])
    assert list(equality.x) == list(equality.y)
    assert [(trace.xaxis, trace.yaxis) for trace in figure.data] == [("x", "y"), ("x", "y"), ("x2", "y2"), ("x2", "y2")]
    # Both axes have one range, so that equality is the diagonal, and it holds every point.
    assert figure.layout.xaxis.range == figure.layout.yaxis.range
    low, high = (10**end for end in figure.layout.xaxis.range)
    assert low < 0.5 < 8.0 < high
    assert [note.text.split("<br>")[1] for note in figure.layout.annotations] == ["2 of 6 states", "1 of 1 states"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_where_no_state_is_valid_the_panel_says_so(theme):
    nothing = predictions([math.nan, math.nan], [1.0, 2.0])
    figure = accepted(predicted_and_seen({"one": nothing}, theme))
    assert len(figure.data[1].x) == 0
    assert "0 of 2 states" in figure.layout.annotations[0].text
    assert np.isfinite(figure.layout.xaxis.range).all()
    assert not accepted(predicted_and_seen({}, theme)).data
    alike = accepted(predicted_and_seen({"one": predictions([2.0] * 3, [2.0] * 3)}, theme))
    assert alike.layout.xaxis.range[0] < math.log10(2.0) < alike.layout.xaxis.range[1]


def test_more_than_three_checkpoints_take_more_rows():
    for count in range(1, 14):
        accepted(predicted_and_seen({str(i): predictions([1.0], [1.0]) for i in range(count)}))
        accepted(over_training({f"{i}, x": numbers([1.0]) for i in range(count)}))
    layout = predicted_and_seen({str(i): predictions([1.0], [1.0]) for i in range(5)}).layout
    assert layout.yaxis.domain[0] > layout.yaxis4.domain[1]
    assert layout.xaxis.domain == layout.xaxis4.domain
    assert layout.xaxis3.title.text == layout.xaxis4.title.text == layout.xaxis5.title.text == "M/μ"
    assert layout.xaxis.title.text is None
    assert layout.yaxis4.title.text == "‖∂π/∂s‖"


@pytest.mark.parametrize(("low", "high"), [(0.3, 4.0), (1e-5, 1e5), (1.01, 1.9), (2e-9, 3e-8), (1.0, 9e12), (5, 7)])
@pytest.mark.parametrize("most", [4, 6, 9])
def test_ticks_are_within_the_axis_and_read_as_what_they_are(low, high, most):
    ticks = log_ticks(low, high, most)
    values, texts = ticks["tickvals"], ticks["ticktext"]
    assert values == sorted(set(values))
    assert all(low <= value <= high for value in values)
    assert 1 <= len(values) <= 2 * most
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    for value, text in zip(values, texts, strict=True):
        if "10" in text and text[-1] in "⁰¹²³⁴⁵⁶⁷⁸⁹":
            factor, _, power = text.rpartition("10")
            read = float(factor.rstrip("·") or 1) * 10.0 ** int(power.translate(digits))
        else:
            read = float(text)
        assert read == pytest.approx(value)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 2.0), (3.0, 1.0), (1.0, math.inf), (math.nan, 1.0)]
)
def test_no_ticks_where_there_is_no_logarithm(low, high):
    assert log_ticks(low, high) == {}
