"""What travels to the browser is what plotly would send: a figure, and what turns the one on screen into it."""

from __future__ import annotations

import copy
import json

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboards import figures
from dashboards.drawn import Drawn, plain, sent
from dashboards.figures.compared import Number
from dashboards.increment import increment
from dashboards.records import Records
from dashboards.words import METRICS


def known(store_path):
    records = Records(str(store_path), patience=0.0)
    records.looking_at([1])
    series, pictures = records.series(1), [records.arrays(number) for _, number in records.fields(1)]
    records.close()
    return series, pictures


def drawings(series, picture):
    """Figures of every kind of trace, with what makes each."""
    numbers = [Number(f"deterministic/{name}", METRICS[name]) for name in ("cosine", "bias_squared")]
    return {
        "field": figures.field(picture, 1, 2),
        "gradient": figures.gradient_error(series),
        "simulator": figures.gradient_error(series, ["cosine", "mse"], "simulator", "dark"),
        "wrong": figures.wrong_direction(series),
        "landscape": figures.landscape(series),
        "curvature": figures.curvature(series),
        "rollout": figures.rollout_value(series),
        "compared": figures.compared({(1, "one"): series, (2, "two"): series}, "gradient", numbers),
    }


def applied(whole, patch):
    """A figure after a Patch, as the browser applies it."""
    result = copy.deepcopy(whole)
    for step in patch.to_plotly_json()["operations"]:
        assert step["operation"] == "Assign"
        *path, name = step["location"]
        target = result
        for part in path:
            target = target[part]
        target[name] = step["params"]["value"]
    return result


def written(value):
    # What plotly leaves as an array, Dash writes as a list.
    return json.loads(json.dumps(value, default=np.ndarray.tolist))


def test_what_is_sent_is_what_plotly_would_send(store_path, recorder):
    for step in range(1000, 9000, 1000):
        recorder.record(step)
    series, pictures = known(store_path)
    for name, figure in drawings(series, pictures[0]).items():
        assert isinstance(figure, Drawn), name
        spec = plain(figure)
        assert vars(figure).keys() == {"spec"}, "plotly made its own already"
        ours = written({"data": sent(spec["data"]), "layout": sent(spec["layout"])})
        theirs = figure.to_dict()
        assert written(theirs) == ours, name
        assert written(plain(figure)) == ours


@pytest.mark.parametrize("later", [(9000,), (9000, 10_000, 8500)], ids=["next", "late"])
def test_a_patch_makes_the_whole_figure(store_path, recorder, later):
    """The slow way is the oracle: the figure drawn anew."""
    for step in range(1000, 9000, 1000):
        recorder.record(step)
    before = drawings(known(store_path)[0], known(store_path)[1][0])
    shown = {name: increment(figure, None) for name, figure in before.items()}
    for step in later:
        recorder.record(step)
    series, pictures = known(store_path)
    patched = set()
    for name, figure in drawings(series, pictures[-1]).items():
        change, form = increment(figure, shown[name][1])
        result = change if isinstance(change, dict) else applied(shown[name][0], change)
        patched |= set() if isinstance(change, dict) else {name}
        assert written(result) == written(increment(figure, None)[0]), name
        assert increment(figure, None)[1] == form
    # All of them change what a Patch can change.
    assert patched >= {"field", "gradient", "simulator", "landscape", "curvature", "rollout"}


def test_a_part_of_the_layout_is_patched_and_other_traces_are_not():
    def drawn(title, color="red", **more):
        trace = {"type": "bar", "x": [1], "error_y": {"array": np.ones(1), "color": color}, **more}
        return Drawn({"data": [trace], "layout": {"title": {"text": title}, "xaxis": {"range": [0, 1]}}})

    whole, form = increment(drawn("before"), None)
    change, _ = increment(drawn("after"), form)
    assert [step["location"] for step in change.to_plotly_json()["operations"]] == [
        ["data", 0, "x"],
        ["data", 0, "error_y", "array"],
        ["layout", "title"],
    ]
    assert applied(whole, change) == increment(drawn("after"), None)[0]
    assert isinstance(increment(drawn("before", "blue"), form)[0], dict)
    assert isinstance(increment(drawn("before", width=[2]), form)[0], dict)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(-3, 3), np.array([1, 200]), np.array([1, 70_000]), np.array([-(2**40), 1]), np.array([2**31 - 1]),
        np.array([3], np.uint64), np.array([1.5, np.nan]), np.ones((2, 3), np.float32), np.array(["a", "b"]),
        np.array([]), np.array([True]), np.arange(6)[::2], np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ],
    ids=str,
)  # fmt: skip
def test_arrays_are_encoded_as_plotly_encodes_them(values):
    trace = go.Figure({"data": [{"type": "scatter", "customdata": values}]}, _validate=False).to_dict()["data"][0]
    theirs = trace["customdata"]
    assert sent(values) == (theirs.tolist() if isinstance(theirs, np.ndarray) else theirs)


def test_a_drawn_figure_is_one_of_plotly_s_when_it_is_used_so(recorder, store_path):
    recorder.record(1000)
    series, _ = known(store_path)
    assert figures.curvature(series).layout.uirevision
    assert len(copy.deepcopy(figures.curvature(series)).data) == len(figures.curvature(series).data)
    figure = figures.curvature(series)
    figure.update_layout(title={"text": "mine"}).add_scatter(y=[1])
    assert figure.layout.title.text == "mine"
    assert "mine" in figure.to_json()
    assert plain(figure)["layout"]["title"] == {"text": "mine"}
    with pytest.raises(AttributeError):
        _ = figure.nothing_like_it
