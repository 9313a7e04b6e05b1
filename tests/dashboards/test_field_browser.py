"""The page Field in real Chromium: panels beside each other, playing through training, the state, and addresses."""

from __future__ import annotations

import base64
import sys

import numpy as np
import pytest
import xarray as xr
from conftest import Recorder, visiting

from gradlab.measurement import Measurement
from gradlab.simulation.rendering import png
from gradlab.store import open_store

pytestmark = pytest.mark.browser

PLOT = "document.querySelector('#field .js-plotly-plot')"


def white_share(page, box) -> float:
    return float((page.pixels(**box).min(axis=-1) > 170).mean())


def test_panels_of_critics_have_arrows_zoom_together_and_share_their_colours(open_runs):
    page = open_runs("field?run=1&beside=critics&step=3000")
    page.drawn()
    page.until(f"{PLOT}._fullData.filter(one => one.type === 'heatmap').length === 3")
    page.wait_for_timeout(700)
    limits = page.evaluate(f"{PLOT}._fullData.filter(one => one.type === 'heatmap').map(one => [one.zmin, one.zmax])")
    assert limits[0] == limits[1] == limits[2]
    page.get_by_text("Colours are the same Q in all panels.").wait_for()
    for number in range(3):
        box = page.locator("#field .nsewdrag").nth(number).bounding_box()
        inside = {"x": box["x"] + 4, "y": box["y"] + 4, "width": box["width"] - 8, "height": box["height"] - 8}
        assert 0.01 < white_share(page, inside) < 0.4
    box = page.locator("#field .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"], steps=5)
    page.mouse.up()
    page.until(f"Math.abs({PLOT}._fullLayout.xaxis3.range[0] + 0.5) < 0.02")
    page.until(f"Math.abs({PLOT}._fullLayout.yaxis6.range[1] - 0.5) < 0.02")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.reload()
    page.until(f"{PLOT}?._fullData?.filter(one => one.type === 'heatmap').length === 3")


def test_runs_are_beside_each_other_when_they_are_ticked(open_runs):
    page = open_runs("field?run=1&compare=2&beside=runs")
    page.drawn()
    page.until(f"{PLOT}._fullData.filter(one => one.type === 'heatmap').length === 2")
    page.get_by_text("each run is looked at in a state of its own").wait_for()
    page.get_by_role("textbox", name="Panels").click()
    page.get_by_role("option", name="learned and simulated").click()
    page.get_by_text("No simulated field is stored").wait_for()
    page.until("location.search.includes('beside=simulated')")


def test_it_plays_from_picture_to_picture_and_stops_at_the_end(open_runs):
    page = open_runs("field?run=1&step=1000&speed=100")
    page.drawn()
    page.said("step 1,000 (1 of 5)")
    asked = []
    page.on("request", lambda one: asked.append(one.url) if "/field/picture?" in one.url else None)
    page.keyboard.press("p")
    page.until("document.querySelector('#play').getAttribute('aria-pressed') === 'true'")
    page.said("step 5,000 (5 of 5)")
    page.until("document.querySelector('#play').getAttribute('aria-pressed') === 'false'")
    # At most a question a picture, and none twice: those that come next may be here already.
    assert len(set(asked)) == len(asked) <= 4
    # The trail of the actor goes through all of them.
    page.until(f"{PLOT}._fullData[2].x.length === 5")
    # Again from the beginning, slowly enough to be seen there; and whoever presses pause has it.
    page.get_by_text("2 a second").click()
    page.locator("#play").click()
    page.said("step 1,000 (1 of 5)")
    page.locator("#play").click()
    page.until("document.querySelector('#play').getAttribute('aria-pressed') === 'false'")


def test_the_state_is_shown_by_its_coordinates_where_nothing_else_is_stored(open_runs):
    page = open_runs("field?run=1")
    page.drawn()
    page.until("document.querySelector('#look .js-plotly-plot')?.data?.length === 2")
    page.get_by_text("state 1: s = (").wait_for()
    assert page.locator("#over-card").is_hidden()
    bar, plane = page.locator("#field .cbfills").bounding_box(), page.locator("#field .nsewdrag").first.bounding_box()
    assert 0 < bar["x"] - plane["x"] - plane["width"] < 60


def test_of_one_action_there_is_a_curve_and_no_plane(one_action_recorder, open_page):
    for step in (1000, 2000):
        one_action_recorder.record(step)
    page = open_page("field?beside=critics")
    page.drawn()
    page.until(f"{PLOT}._fullData.length === 21")
    ranges = page.evaluate(f"[1, 3].map(n => {PLOT}._fullLayout['xaxis' + (n > 1 ? n : '')].range)")
    assert np.allclose(ranges[0], ranges[1])


def test_a_state_is_rendered_where_it_can_be_and_drawn_with_the_reason_where_not(browser, tmp_path, monkeypatch):
    """The process that renders is another one here: it has a picture of states whose first number is positive."""
    bodies = pytest.importorskip("gradlab.simulation.bodies").bodies
    from dashboards import Server

    picture = base64.b64encode(png(np.full((90, 120, 3), (10, 200, 30), dtype=np.uint8))).decode()
    script = (
        "import json, sys\nprint('{}', flush=True)\nfor line in sys.stdin:\n"
        "    first = json.loads(line)['obs'][0]\n"
        f"    print(json.dumps({{'png': {picture!r}}} if first > 0 else {{'why': 'no <b>state</b>'}}), flush=True)"
    )
    monkeypatch.setattr("dashboards.renders._COMMAND", (sys.executable, "-c", script))
    with open_store(tmp_path / "gradlab.db") as store:
        run = store.start_run(algorithm="TD3", environment="Reacher-v5")
        arrays = dict(Recorder(run).field(1000, states=2).arrays)
        obs = np.array([[1, 1, 0, 0, 0.1, 0.1, 0, 0, 0, 0], [-1, 1, 0, 0, 0.1, 0.1, 0, 0, 0, 0]])
        shapes = bodies("Reacher-v5", obs)
        arrays |= {str(name): shapes[name] for name in shapes.data_vars}
        arrays["obs"] = xr.DataArray(obs, dims=("state", "feature"))
        side = np.linspace(-1, 1, 11)
        hill = np.add.outer(-side, side)[None].repeat(2, 0)
        arrays["simulated_q"] = xr.DataArray(hill, dims=("state", "y", "x"), coords={"x": side, "y": side})
        arrays["simulated_stderr"] = xr.full_like(arrays["simulated_q"], 0.25)
        run.record(1000, "field", Measurement(arrays=arrays))
    with Server(str(tmp_path / "gradlab.db"), port=0) as server, visiting(browser, server) as visit:
        page = visit("field?run=1")
        image = page.locator("#render img")
        image.wait_for()
        page.until("document.querySelector('#render img').naturalWidth === 120")
        assert page.locator("#look").is_hidden()
        page.get_by_role("textbox", name="State").click()
        page.get_by_role("option", name="state 2").click()
        image.wait_for(state="detached")
        page.until("document.querySelector('#look .js-plotly-plot')?.data?.length > 2")
        assert page.locator("#look").is_visible()
        page.until("document.querySelector('#state-title').title === 'Drawn from its shapes: no <b>state</b>.'")
        # Learned less simulated has colours of its own on both sides of zero, and is said how sure it is.
        page.get_by_role("textbox", name="Panels").click()
        page.get_by_role("option", name="learned and simulated").click()
        page.get_by_text("have a standard error of 0.25 (median)").wait_for()
        page.until(f"{PLOT}._fullData.filter(one => one.type === 'heatmap').length === 3")
        page.wait_for_timeout(700)
        box = page.locator("#field .nsewdrag").nth(2).bounding_box()
        seen = page.pixels(box["x"] + 4, box["y"] + 4, box["width"] - 8, box["height"] - 8)
        red, blue = seen[..., 0] - seen[..., 2] > 60, seen[..., 2] - seen[..., 0] > 60
        assert min(red.mean(), blue.mean()) > 0.05
        assert (seen.max(axis=-1) < 110).mean() > 0.005
