"""Colours that share a figure are told apart by every kind of eye, or by a mark, a dash or a hatch as well."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from colour_vision import VISIONS, apart, delta_e, lab, linear, nearest

from dashboards import figures
from dashboards.drawn import plain
from dashboards.figures import panels
from dashboards.figures.composition import _HATCH, _MARKS
from dashboards.series import collect
from dashboards.style import _LOOKS, _OTHERS, PALETTE, run_look
from gradlab.store import open_store

#: CIEDE2000 from which two colours of lines are told apart at a glance; a just noticeable difference is 1 to 2.
APART = 12.0


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        # Rows 1, 5, 17, 18, 19, 25 and 34 of Sharma's table of test data.
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, -1.1848, -84.8006), (50.0, 0.0, -82.7485), 1.0000),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((50.0, 2.5, 0.0), (61.0, -5.0, 29.0), 22.8977),
        ((50.0, 2.5, 0.0), (56.0, -27.0, -3.0), 31.9030),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_distance_of_colours_is_that_of_the_published_data(one, other, distance):
    assert delta_e(np.array(one), np.array(other)) == pytest.approx(distance, abs=1e-4)
    assert delta_e(np.array(other), np.array(one)) == pytest.approx(distance, abs=1e-4)


def test_white_is_white_for_every_eye_and_red_is_green_for_some():
    assert lab(linear("#ffffff")) == pytest.approx([100, 0, 0], abs=0.02)
    for matrix in VISIONS.values():
        assert matrix @ np.ones(3) == pytest.approx(np.ones(3), abs=2e-3)
    # Of one lightness: far apart for most, alike for those whom a cone of red or green fails.
    red, green = "#c86464", "#7d8c3c"
    assert apart(red, green) > 40
    assert min(apart(red, green, "deuteranopia"), apart(red, green, "protanopia")) < APART


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_estimators_runs_and_parts_that_look_alike_to_some_have_another_mark(theme):
    looks = [*_LOOKS.values(), *_OTHERS]
    runs = [run_look(number) for number in range(1, 33)]
    alike = [
        (one, other)
        for group in (looks, runs)
        for one, other in combinations(group, 2)
        if nearest(one.color(theme), other.color(theme)) < APART
    ]
    # It is not colour that does it: some of them are alike.
    assert alike
    assert all(one.symbol != other.symbol or one.dash != other.dash for one, other in alike)
    of_parts = [color[theme == "dark"] for color in PALETTE]
    assert any(nearest(one, other) < APART for one, other in combinations(of_parts, 2))
    assert len(set(_HATCH)) == len(set(_MARKS)) == len(_HATCH) >= len(PALETTE)
    assert len({mark for mark, _ in panels._MARKS}) == len({dash for _, dash in panels._MARKS}) == len(panels._MARKS)


def lines(figure) -> dict[tuple[str, str], list[tuple[str, str, str, str]]]:
    """The panels of a figure → colour, dash, marks and name of each line in it that is told by its colour."""
    found: dict[tuple[str, str], list[tuple[str, str, str, str]]] = {}
    traces = plain(figure)["data"]
    apart = {
        (trace["legendgroup"], trace["xaxis"], trace["yaxis"]): trace["marker"]["symbol"]
        for trace in traces
        if trace.get("mode") == "markers" and "legendgroup" in trace
    }
    for trace in traces:
        color = trace.get("line", {}).get("color", "")
        if trace["type"] != "scatter" or "lines" not in trace.get("mode", "") or not color.startswith("#"):
            continue
        if trace.get("fill") or not len(trace["x"]):
            continue
        mark = trace.get("marker", {})
        symbols = np.ravel(mark.get("symbol", ""))
        if mark.get("maxdisplayed"):
            # A long line's marks are drawn apart; hollow ones are there only where it is not resolved.
            symbols = apart.get((trace["legendgroup"], trace["xaxis"], trace["yaxis"]), [])
        marks = ",".join(sorted({str(one).removesuffix("-open") for one in symbols}))
        place = trace.get("xaxis", "x"), trace.get("yaxis", "y")
        found.setdefault(place, []).append((color, trace["line"].get("dash", "solid"), marks, trace.get("name", "")))
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("count", [5, 130])
def test_lines_of_a_panel_are_told_apart_without_colour_however_long_they_are(recorder, store_path, theme, count):
    for step in range(1000, 1000 * (count + 1), 1000):
        recorder.run.record(step, "gradient", recorder.gradient(step))
        recorder.run.record(step, "curvature", recorder.curvature(step))
        recorder.run.record(step, "landscape", recorder.landscape(step))
        recorder.run.record(step, "simulator", recorder.simulator(step))
    with open_store(store_path, readonly=True) as store:
        series = collect(store.scalars())
    drawn = {
        "gradient": figures.gradient_error(series, ("variance", "cosine"), theme=theme),
        "curvature": figures.curvature(series, theme=theme),
        "landscape": figures.landscape(series, theme=theme),
        "error": figures.critic_gradient(series, theme=theme),
    }
    compared = 0
    for name, figure in drawn.items():
        for panel in lines(figure).values():
            for one, other in combinations(panel, 2):
                compared += 1
                if nearest(one[0], other[0]) < APART:
                    assert one[1:3] != other[1:3], f"{name}: {one[3]} and {other[3]}"
    assert compared > 20
