"""Figures from a store written through its public API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboards import figures
from dashboards.figures.lines import line
from dashboards.figures.maps import scaled_arrows
from dashboards.increment import increment
from dashboards.scale import Scale
from dashboards.series import Series, collect, thin
from dashboards.style import look
from dashboards.words import METRICS
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


def read(path: Path) -> dict:
    with open_store(path, readonly=True) as store:
        return collect(store.scalars(run=1))


def fields(path: Path) -> list[dict]:
    with open_store(path, readonly=True) as store:
        return [store.arrays(info.id) for info in store.measurements(run=1, probe="field")]


def series(value: list[float], spread: float = 0.1, step: list[int] | None = None) -> Series:
    numbers = np.asarray(value, dtype=np.float64)
    width = np.full(len(numbers), spread)
    at = np.arange(len(numbers)) if step is None else np.asarray(step)
    return Series(at, numbers, width, numbers - 2 * width, numbers + 2 * width, np.full(len(numbers), 9))


def lines(figure: go.Figure) -> dict[str, list]:
    found: dict[str, list] = {}
    for trace in figure.data:
        if trace.name:
            found.setdefault(trace.name, []).append(trace)
    return found


def test_late_results_are_put_where_their_step_belongs(store_path, recorder):
    for step in (1000, 3000, 2000):
        recorder.run.record(step, "simulator", recorder.simulator(step))
    for one in read(store_path).values():
        assert one.step.tolist() == [1000, 2000, 3000]
    early, late = series([1.0, 3.0], step=[1, 3]), series([2.0], step=[2])
    joined = early.extended(late)
    assert joined.step.tolist() == [1, 2, 3]
    assert joined.value.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_gradient_error_has_a_line_and_a_band_for_each_estimator_and_metric(store_path, recorder, theme):
    for step in (1000, 2000):
        recorder.record(step)
    figure = figures.gradient_error(read(store_path), ("bias_squared", "variance", "cosine"), theme=theme)
    found = lines(figure)
    assert len(found) == 5
    for name, traces in found.items():
        assert [trace.yaxis for trace in traces] == ["y", "y2", "y3"], name
        assert [trace.showlegend for trace in traces] == [True, False, False]
    (curve, *_) = found["deterministic (DPG)"]
    assert curve.line.color == look("deterministic").color(theme)
    assert curve.x.tolist() == [1000.0, 2000.0]
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(bands) == 15
    assert all(METRICS[m].meaning in {a.hovertext for a in figure.layout.annotations} for m in ("variance", "cosine"))


def test_the_chosen_metrics_and_reference_are_drawn(store_path, recorder):
    recorder.record(1000)
    figure = figures.gradient_error(read(store_path), ["cosine"], probe="simulator")
    (curve,) = lines(figure)["deterministic (DPG)"]
    with open_store(store_path) as store:
        table = store.scalars(probe="simulator")
    assert curve.customdata[0][0] == np.float32(table.value[table.name == "deterministic/cosine"][0])
    assert "yaxis2" not in figure.layout.to_plotly_json()


def test_negative_bias_squared_is_drawn_below_zero_with_its_own_value_on_hover():
    bias = series([-2e-4, 5e-5, 3e-2], spread=1e-4)
    scale = Scale("signed-log", [bias])
    drawn = scale.height(bias.value)
    assert scale.kind == "signed-log"
    assert drawn[0] < 0 < drawn[1] < drawn[2]
    # sign(v)·log10(1 + |v|/unit) is undone by sign(h)·unit·(10^|h| − 1).
    back = np.sign(drawn) * scale.unit * (10 ** np.abs(drawn) - 1)
    np.testing.assert_allclose(back, bias.value, rtol=1e-12)
    ticks = scale.axis()
    assert "0" in ticks["ticktext"]
    assert len(ticks["tickvals"]) == len(ticks["ticktext"]) <= 9


def test_a_positive_number_gets_a_logarithmic_axis_and_one_that_is_not_does_not():
    assert Scale("log", [series([1.0, 10.0])]).kind == "log"
    assert Scale("log", [series([1.0, 10.0]), series([0.0, 0.0], spread=0.0)]).kind == "signed-log"


def test_unresolved_points_are_hollow_and_exact_zeros_are_not(store_path, recorder):
    for step, value, stderr in ((1, 0.5, 0.01), (2, 0.05, 0.1), (3, 0.0, 0.0)):
        measured = {"deterministic/bias_squared": Estimate(value, stderr, 64, "critic")}
        recorder.run.record(step, "gradient", Measurement(measured))
    (curve,) = lines(figures.gradient_error(read(store_path), ["bias_squared"]))["deterministic (DPG)"]
    assert curve.marker.symbol.tolist() == ["circle", "circle-open", "circle"]


@pytest.mark.parametrize("unsure", [[], [7], list(range(150))])
def test_a_long_line_has_marks_where_it_is_not_resolved_and_few_of_them(unsure):
    value = np.where(np.isin(np.arange(200), unsure), 0.01, 10.0)
    _, curve, marks = line(series(value.tolist(), spread=0.1), "a", "#0072b2", "circle")
    assert len(curve["x"]) == 200
    # Each mark is a thing to paint: the line's own is there for the legend.
    assert curve["marker"]["maxdisplayed"] == 1
    symbols = np.array(marks["marker"]["symbol"])
    hollow, full = marks["x"][symbols == "circle-open"], marks["x"][symbols == "circle"]
    assert len(hollow) == min(len(unsure), 40)
    assert set(hollow.tolist()) <= set(unsure)
    assert not len(unsure) or hollow[[0, -1]].tolist() == [unsure[0], unsure[-1]]
    # Here and there a full one, for colour alone tells no line.
    assert not set(full.tolist()) & set(unsure)
    assert 1 <= len(full) <= 12


def test_long_series_are_thinned_and_keep_spikes():
    value = np.zeros(50_000)
    value[12_345] = 7.0
    thinned = thin(series(value.tolist()), 300)
    assert len(thinned) <= 300
    assert thinned.value.max() == 7.0
    assert thinned.step[0] == 0
    assert thinned.step[-1] == 49_999


def test_wrong_direction_curvature_and_landscape(store_path, recorder):
    for step in (1000, 2000):
        recorder.record(step)
    known = read(store_path)
    wrong = figures.wrong_direction(known)
    (curve,) = lines(wrong)["deterministic (DPG)"]
    assert 0 < curve.y[0] < 1
    assert wrong.layout.yaxis.range == (-0.04, 1.04)
    assert set(lines(figures.curvature(known))) >= {"M/μ", "M", "μ", "states with μ &gt; 0"}
    assert set(lines(figures.landscape(known))) >= {
        "gap", "own fit", "basin choice", "local optima", "births", "deaths", "in best basin", "basin changed",
        "level",
    }  # fmt: skip


def test_an_empty_store_gives_figures_that_say_so():
    for figure in (
        figures.gradient_error({}),
        figures.wrong_direction({}),
        figures.curvature({}),
        figures.landscape({}),
    ):
        assert not figure.data
        (note,) = figure.layout.annotations
        assert "waiting" in note.text
        # Axes would show ranges that mean nothing.
        assert not any(figure.layout[name].visible for name in figure.layout.to_plotly_json() if name[1:5] == "axis")


def test_the_field_shows_the_stored_slice_with_arrows_on_an_overlaying_axis(store_path, recorder):
    recorder.record(1000)
    (arrays,) = fields(store_path)
    figure = figures.field(arrays, state=2, critic=1)
    heat, quiver, _, path, others, best, actor = figure.data
    np.testing.assert_array_equal(heat.z, arrays["q"].values[1, 2])
    assert (quiver.type, quiver.yaxis) == ("quiver", "y2")
    assert figure.layout.yaxis2.overlaying == "y"
    assert len(quiver.u) == 17 * 17
    # Every arrow points along the stored gradient.
    gradient = arrays["gradient"].values[1, 2].reshape(-1, 2).astype(np.float64)
    drawn = np.column_stack([quiver.u, quiver.v])
    cosine = (gradient * drawn).sum(1) / np.linalg.norm(gradient, axis=1) / np.linalg.norm(drawn, axis=1)
    np.testing.assert_allclose(cosine, 1.0, atol=1e-5)
    cell = float(np.diff(arrays["gradient"]["arrow_x"].values)[0])
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1).max(), 0.9 * cell, rtol=1e-5)
    values = arrays["optima_value"].values[1, 2]
    assert best.customdata.tolist() == [np.nanmax(values)]
    assert len(others.x) == np.isfinite(values).sum() - 1
    assert (actor.x[0], actor.y[0]) == tuple(arrays["actor"].values[2].astype(np.float64))
    assert len(path.x) == 30


def test_the_field_of_one_action_is_a_line(store_path, one_action_recorder):
    one_action_recorder.record(1000)
    (arrays,) = fields(store_path)
    figure = figures.field(arrays)
    curve, slope, _, path, others, best, actor = figure.data
    np.testing.assert_array_equal(curve.y, arrays["q"].values[0, 0].astype(np.float64))
    assert slope.yaxis == "y2"
    assert len(slope.x) == 17
    assert best.y[0] >= (others.y.max() if len(others.y) else -np.inf)
    assert np.interp(actor.x[0], curve.x, curve.y) == actor.y[0]
    assert len(path.x) == 30


def test_arrows_survive_what_is_not_finite_and_what_is_zero():
    gradient = np.array([[[np.nan, 1.0], [0.0, 0.0]], [[3.0, 4.0], [np.inf, 0.0]]])
    u, v = scaled_arrows(gradient, np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert np.isfinite(u).all()
    assert np.isfinite(v).all()
    assert u[0, 1] == v[0, 1] == 0
    zero, _ = scaled_arrows(np.zeros((2, 2, 2)), np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert not zero.any()


def test_more_data_travels_as_arrays_and_a_new_line_as_a_figure(store_path, recorder):
    recorder.record(1000)
    whole, form = increment(figures.field(fields(store_path)[0]), None)
    recorder.record(2000)
    patch, same = increment(figures.field(fields(store_path)[1]), form)
    assert isinstance(whole, dict)
    assert same == form
    steps = [operation["location"] for operation in patch.to_plotly_json()["operations"]]
    assert ["data", 0, "z"] in steps
    assert ["data", 1, "u"] in steps
    assert all(location[0] == "data" for location in steps)
    z = next(o["params"]["value"] for o in patch.to_plotly_json()["operations"] if o["location"] == ["data", 0, "z"])
    assert z["dtype"] == "f4"
    _, form = increment(figures.gradient_error(read(store_path)), None)
    recorder.run.record(3000, "gradient", Measurement({"my-own/cosine": Estimate(0.5, 0.1, 8, "critic")}))
    later, other = increment(figures.gradient_error(read(store_path)), form)
    assert isinstance(later, dict)
    assert other != form


def test_text_from_a_store_is_escaped(store_path, recorder):
    recorder.run.record(1, "gradient", Measurement({"<img src=x>/cosine": Estimate(0.5, 0.1, 8, "critic")}))
    figure = figures.gradient_error(read(store_path), ["cosine"])
    assert list(lines(figure)) == ["&lt;img src=x&gt;"]


def test_a_number_that_cannot_be_drawn_is_named(store_path, recorder):
    recorder.run.record(1, "gradient", Measurement({"deterministic/snr": Estimate(float("inf"), float("nan"), 8)}))
    figure = figures.gradient_error(read(store_path), ["snr"])
    assert "now deterministic (DPG) is infinite" in [note.text for note in figure.layout.annotations]


def test_a_cosine_whose_interval_is_lost_does_not_stretch_the_axis():
    axis = Scale("cosine", [series([0.3], spread=4.0)]).axis()
    assert axis["autorangeoptions"] == {"clipmin": -1.1, "clipmax": 1.1}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_plotly_accepts_every_part_of_every_figure(store_path, recorder, one_action_recorder, theme):
    for step in (1000, 2000):
        recorder.record(step)
    one_action_recorder.record(1000)
    known = read(store_path)
    drawn = [
        figures.gradient_error(known, list(METRICS), theme=theme),
        figures.gradient_error({}, theme=theme),
        figures.wrong_direction(known, theme=theme),
        figures.curvature(known, theme=theme),
        figures.landscape(known, theme=theme),
        figures.field({}, theme=theme),
    ]
    with open_store(store_path, readonly=True) as store:
        drawn += [figures.field(store.arrays(info.id), theme=theme) for info in store.measurements(probe="field")]
    assert len(drawn) == 9
    for figure in drawn:
        go.Figure(figure.to_dict())
        assert figure.layout.template.layout.font.family


@pytest.mark.parametrize("kind", ["linear", "log", "signed-log", "share", "cosine"])
def test_a_band_without_an_end_goes_to_the_edge_and_one_that_is_not_known_is_left_out(kind):
    none, numbers = np.nan, [0.2, 0.3, 0.4, 0.5, 0.6]
    one = Series(
        np.arange(5),
        np.array(numbers),
        np.full(5, 0.1),
        np.array([0.1, 0.2, none, 0.3, -np.inf]),
        np.array([0.3, np.inf, none, 0.7, np.inf]),
        np.full(5, 9),
    )
    scale = Scale(kind, [one])
    band, curve = line(one, "x", "#0072b2", "circle", scale=scale, unit="draws")
    least, largest = scale.height(np.array(scale.edges()))
    low, high = scale.height(np.array([0.1, 0.2, 0.3])), scale.height(np.array([0.3, 0.7]))
    # Two pieces, each forth along its upper and back along its lower edge.
    assert band["x"].tolist() == [0, 1, 1, 0, 1, 3, 4, 4, 3]
    heights = [high[0], largest, low[1], low[0], none, high[1], largest, least, low[2]]
    np.testing.assert_allclose(band["y"], heights, rtol=1e-6)
    assert curve["y"].tolist() == scale.height(np.array(numbers)).astype(np.float32).tolist()
    notes = ["", "no upper bound", "no interval", "", "no bound: not resolved"]
    assert [text.removeprefix("<br>") for text in curve["text"]] == notes
    assert "n = %{customdata[3]:.0f} draws%{text}" in curve["hovertemplate"]
    axis = scale.axis()
    assert all(np.isfinite(tick) for tick in axis.get("tickvals", []))


def test_an_infinite_value_does_not_break_a_signed_axis():
    scale = Scale("signed-log", [series([-1.0, 1.0]), series([np.inf, 2.0])])
    assert np.isfinite(scale.axis()["tickvals"]).all()


def test_ticks_of_a_signed_axis_keep_apart():
    for extent in (1e1, 1e2, 1e4, 1e5, 1e6):
        scale = Scale("signed-log", [series([-extent, extent], spread=extent / 10), series([0.1], spread=0.01)])
        ticks = np.array(scale.axis()["tickvals"])
        assert len(ticks) >= 3
        assert np.diff(ticks).min() > 0.13 * (ticks[-1] - ticks[0])


def test_a_missing_number_breaks_the_line():
    (_, curve) = line(series([1.0, np.nan, np.inf, 3.0]), "x", "#0072b2", "circle")
    np.testing.assert_array_equal(curve["y"], [1.0, np.nan, 3.0])


def test_a_cosine_above_one_is_printed_as_one_with_the_estimate_beside_it():
    one = series([1.02, 0.5, 1.5], spread=0.05)
    _, curve = line(one, "x", "#0072b2", "circle", scale=Scale("cosine", [one]))
    assert curve["customdata"][:, 0].tolist() == [1.0, 0.5, 1.5]
    assert curve["text"] == ["<br>estimate 1.02, unclipped", "", ""]
    np.testing.assert_allclose(curve["y"], one.value.astype(np.float32))


def test_n_says_what_it_counts(store_path, recorder):
    recorder.record(1000)
    known = read(store_path)
    for figure, unit in (
        (figures.gradient_error(known), "draws"),
        (figures.gradient_error(known, probe="simulator"), "episodes"),
        (figures.wrong_direction(known), "episodes"),
        (figures.landscape(known), "states"),
        (figures.curvature(known), "states"),
    ):
        templates = [trace.hovertemplate for trace in figure.data if trace.name]
        assert templates
        assert all(f"n = %{{customdata[3]:.0f}} {unit}<" in template for template in templates)


def test_a_measurement_without_a_number_is_shown_as_absent_with_its_reason(store_path, recorder):
    absent = [(2000, "no state passed its gate; return jumps or is <locally> constant")]
    for figure in (
        figures.wrong_direction({}, absent=absent),
        figures.gradient_error({}, probe="simulator", absent=absent),
    ):
        (text,) = [note.text for note in figure.layout.annotations if "no number" in note.text]
        assert "step 2,000" in text
        assert text.replace("<br>", " ").endswith(
            "no state passed its gate; return jumps or is &lt;locally&gt; constant"
        )
    recorder.record(1000)
    known = read(store_path)
    for figure in (
        figures.wrong_direction(known, absent=absent),
        figures.gradient_error(known, probe="simulator", absent=absent),
    ):
        (cross,) = [note for note in figure.layout.annotations if note.text == "×"]
        assert cross.x == 2000
        assert "no state passed its gate" in cross.hovertext
