"""Probes that no figure is made for: they appear, grouped and page by page, whatever they are called."""

from __future__ import annotations

import numpy as np
import pytest

from dashboards import figures
from dashboards.answer import answer, tiles
from dashboards.figures.any_probe import PANELS, height, keys, paged
from dashboards.own import CARDS, needed, others
from dashboards.series import collect
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


def read(path):
    with open_store(path, readonly=True) as store:
        return collect(store.scalars(run=1))


def lines(figure):
    return {trace.name: trace for trace in figure.data if trace.name}


def recorded(recorder, probe, numbers, steps=(1000, 2000)):
    for step in steps:
        recorder.run.record(step, probe, Measurement(numbers))


def test_each_number_has_a_line_with_its_band_n_and_reference(store_path, recorder):
    for step, value in ((1000, 0.5), (2000, 0.75)):
        one = Estimate(value, 0.1, 40, "an oracle", "discounted", ends=(value - 0.25, value + 0.5))
        recorder.run.record(step, "mine", Measurement({"part/share": one, "size": Estimate(-3.0, 0.5, 20)}))
    figure = figures.any_probe(read(store_path), "mine")
    found = lines(figure)
    assert list(found) == ["size", "part/share"]
    share = found["part/share"]
    assert share.x.tolist() == [1000, 2000]
    assert share.y.tolist() == [0.5, 0.75]
    assert share.customdata.tolist() == [[0.5, 0.25, 1.0, 40.0], [0.75, 0.5, 1.25, 40.0]]
    assert "n = %{customdata[3]:.0f} samples" in share.hovertemplate
    band = figure.data[[trace.name for trace in figure.data].index("part/share") - 1]
    assert band.fill == "toself"
    assert sorted(band.y.tolist()) == [0.25, 0.5, 1.0, 1.25]
    size, part = figure.layout.annotations[:2]
    assert "against" not in size.text
    assert "part/" in part.text
    assert "against an oracle" in part.text
    assert "objective: discounted" in part.hovertext
    # Each has an axis of its own, and all have one range of steps.
    assert (found["size"].yaxis, share.yaxis) == ("y", "y2")
    assert figure.layout.xaxis2.matches == "x"


def test_one_name_against_two_references_is_two_panels(store_path, recorder):
    for reference in ("a", "b"):
        recorded(recorder, "mine", {"error": Estimate(1.0, 0.1, 9, reference)})
    figure = figures.any_probe(read(store_path), "mine")
    assert [note.text.count("against") for note in figure.layout.annotations] == [1, 1]
    assert [trace.yaxis for trace in figure.data if trace.name] == ["y", "y2"]


def test_numbers_of_one_group_are_beside_each_other_in_one_colour(store_path, recorder):
    one = Estimate(1.0, 0.1, 9)
    recorded(recorder, "mine", dict.fromkeys(("b/y", "alone", "a/x", "b/x", "a/y"), one))
    found = lines(figures.any_probe(read(store_path), "mine", columns=3))
    assert list(found) == ["alone", "a/x", "a/y", "b/x", "b/y"]
    colour = {name: trace.line.color for name, trace in found.items()}
    assert colour["a/x"] == colour["a/y"] != colour["b/x"] == colour["b/y"]
    assert colour["alone"] not in (colour["a/x"], colour["b/x"])


def test_groups_of_two_fill_the_width_with_two_columns(store_path, recorder):
    recorded(recorder, "mine", {f"layer {i}/{name}": Estimate(1.0, 0.1, 9) for i in range(5) for name in "xy"})
    figure = figures.any_probe(read(store_path), "mine", columns=3)
    assert figure.layout.xaxis2.domain[1] == 1.0
    assert figure.layout.xaxis3.domain == figure.layout.xaxis.domain
    assert height(read(store_path), "mine", 3) == height(read(store_path), "mine", 2)


def test_numbered_groups_are_in_the_order_of_their_numbers(store_path, recorder):
    recorded(recorder, "mine", {f"layer {i}/norm": Estimate(1.0, 0.1, 9) for i in (10, 2, 1)})
    assert list(lines(figures.any_probe(read(store_path), "mine"))) == [f"layer {i}/norm" for i in (1, 2, 10)]


@pytest.mark.parametrize(("columns", "count"), [(1, 3), (3, 12), (3, 30), (2, 200)], ids=str)
def test_many_numbers_are_shown_page_by_page_without_one_panel_over_another(store_path, recorder, columns, count):
    one = Estimate(1.0, 0.1, 9)
    recorded(recorder, "mine", {f"layer {i // 4:02}/n{i % 4}": one for i in range(count)}, steps=(1,))
    series = read(store_path)
    pages = paged(keys(series, "mine"))
    assert [key for page in pages for key in page] == keys(series, "mine")
    assert len(pages) == -(-count // PANELS)
    assert height(series, "mine", columns) <= 128 * -(-PANELS // columns) * 2
    for number, page in enumerate(pages):
        figure = figures.any_probe(series, "mine", columns=columns, page=number)
        assert list(lines(figure)) == [key.name for key in page]
        assert len(page) <= PANELS
        axes = figure.layout.to_plotly_json()
        places = []
        for index in range(len(page)):
            end = "" if index == 0 else str(index + 1)
            x, y = axes[f"xaxis{end}"]["domain"], axes[f"yaxis{end}"]["domain"]
            assert 0 <= x[0] < x[1] <= 1
            assert 0 <= y[0] < y[1] <= 1
            places.append((round(x[0], 6), round(y[0], 6)))
        assert len(set(places)) == len(page)


def test_a_page_that_is_none_is_the_last_one(store_path, recorder):
    recorded(recorder, "mine", {"x": Estimate(1.0, 0.1, 9)})
    assert list(lines(figures.any_probe(read(store_path), "mine", page=7))) == ["x"]


@pytest.mark.parametrize(
    ("values", "kind"), [((1.0, 2.0), None), ((0.01, 10.0), "log"), ((-5.0, 100.0), None)], ids=["near", "wide", "sign"]
)
def test_only_what_is_positive_and_spans_much_is_on_a_logarithm(store_path, recorder, values, kind):
    for step, value in enumerate(values):
        recorder.run.record(step, "mine", Measurement({"x": Estimate(value, abs(value) / 10, 99)}))
    assert figures.any_probe(read(store_path), "mine").layout.yaxis.type == kind


def test_what_gave_no_number_is_marked_or_said(store_path, recorder):
    absent = [(1500, "<b>no</b> gate")]
    assert "&lt;b&gt;no&lt;/b&gt; gate" in figures.any_probe({}, "mine", absent=absent).layout.annotations[0].text
    recorded(recorder, "mine", {"x": Estimate(1.0, 0.1, 9), "y": Estimate(np.nan, np.nan, 0)})
    figure = figures.any_probe(read(store_path), "mine", absent=absent)
    crosses = [note for note in figure.layout.annotations if note.text == "×"]
    assert [(note.xref, note.x) for note in crosses] == [("x", 1500), ("x2", 1500)]
    assert ["not a finite number" in str(note.hovertext) for note in figure.layout.annotations if note.text != "×"] == [
        False,
        True,
    ]


def test_names_are_text(store_path, recorder):
    name = "<img src=x onerror=alert(1)>"
    recorded(recorder, name, {f"{name}/{name}": Estimate(1.0, 0.1, 9, name)})
    figure = figures.any_probe(read(store_path), name)
    shown = [*figure.layout.annotations, *(trace.hovertemplate for trace in figure.data), *lines(figure)]
    assert "<img" not in str(shown)
    assert "&lt;img" in str(shown)


def test_a_probe_with_a_known_name_and_numbers_of_its_own_is_another(store_path, recorder):
    recorder.run.record(1, "landscape", Measurement({"roughness": Estimate(1.0, 0.1, 9)}))
    recorder.run.record(1, "gradient", recorder.gradient(1))
    recorder.run.record(1, "field", recorder.field(1))
    recorder.run.record(1, "mine", status="failed", message="no")
    series, measured = read(store_path), ["landscape", "gradient", "field", "mine"]
    assert others(series, {}, measured) == ["landscape", "mine"]
    assert not needed("landscape", series, {}, measured)
    assert needed("gradient", series, {}, measured)
    assert "gradient" not in answer({key: one for key, one in series.items() if key.probe == "landscape"}).text


#: Cards that are beside others, and say so where their own numbers are missing.
BESIDE_GRADIENT = [
    "error-parts", "ranking", "error-ledger", "ledger-terms", "variance-split", "batch-size", "radius", "layers",
]  # fmt: skip
BESIDE_WRONG = ["value-error", "calibration", "critic-gradient", "improvement"]
BESIDE_LANDSCAPE, BESIDE_CURVATURE = ["persistence", "surrogates", "phantoms"], ["spectrum", "smoothness", "bound"]


def test_a_run_has_the_figures_of_what_it_measures_and_one_that_does_not_say_has_the_usual_ones():
    ppo = {"probes": {"on-policy": {"every": 2000}}}
    assert [name for name in CARDS if needed(name, {}, ppo, [])] == ["rollout-gradient", "rollout-value"]
    td3 = {"probes": {"gradient": {}, "simulator": {}}}
    assert [name for name in CARDS if needed(name, {}, td3, [])] == [
        "gradient",
        *BESIDE_GRADIENT,
        "wrong",
        *BESIDE_WRONG,
    ]
    usual = [
        "field",
        "gradient",
        *BESIDE_GRADIENT,
        "wrong",
        "landscape",
        "curvature",
        *BESIDE_LANDSCAPE,
        *BESIDE_CURVATURE,
        *BESIDE_WRONG,
    ]
    assert [name for name in CARDS if needed(name, {}, {}, [])] == usual
    assert others({}, {"probes": {"mine": {}, "field": {}}}, []) == ["mine"]


def test_the_answer_of_a_run_with_only_other_probes_concludes_nothing(store_path, recorder):
    recorded(recorder, "mine", {"x": Estimate(1.0, 0.1, 9)})
    recorded(recorder, "yours", {"a/b": Estimate(1.0, 0.1, 9)})
    said = answer(read(store_path))
    assert said.verdict == "unknown"
    assert "so far are those of mine and yours" in said.text
    assert tiles(read(store_path)) == []
    recorder.record(1000)
    assert "points the wrong way" in answer(read(store_path)).text
    assert len(tiles(read(store_path))) == 5
