"""Pictures of the field that the browser keeps: each is of what the page says, and none is asked for twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dashboards

pytestmark = pytest.mark.browser

PLOT = "document.querySelector('#field .js-plotly-plot')"
SHOWN = "window.dash_component_api.getLayout('field-shown').props.data?.step"
SOURCE = Path(dashboards.__file__).parent / "assets" / "pictures.js"


@pytest.fixture
def records(runs_server):
    return runs_server.app.server.config["GRADLAB_RECORDS"]


def is_what_the_page_says(page, records, run: int = 1) -> int:
    """Compares the heat map that plotly holds with the store's; the step that the page says."""
    said = "document.getElementById('slider-text').textContent"
    step = int(page.evaluate(said).split()[1].replace(",", ""))
    for _ in range(40):
        if page.evaluate(SHOWN) == step:
            break
        page.wait_for_timeout(50)
    page.wait_for_timeout(250)
    assert page.evaluate(said).startswith(f"step {step:,} ")
    critic, state = (
        int(page.evaluate(f"window.dash_component_api.getLayout('{name}').props.value")) for name in ("critic", "state")
    )
    number = next(number for at, number in records.fields(run) if at == step)
    seen = np.array(page.evaluate(f"Array.from({PLOT}._fullData[0].z, row => Array.from(row))"))
    np.testing.assert_allclose(seen, records.arrays(number)["q"].values[critic, state], rtol=1e-5)
    return step


def walk(page, records) -> list[int]:
    """Back and forth, by keys and by what is chosen beside them; the steps that were seen."""
    found = []
    # Where a choice has the focus, these keys are its own.
    page.evaluate("document.activeElement.blur()")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
        found.append(is_what_the_page_says(page, records))
    return found


def test_each_picture_is_that_of_the_step_the_critic_and_the_state_that_the_page_says(open_runs, records):
    page = open_runs("field?run=1")
    page.drawn()
    asked = []
    page.on("request", lambda one: asked.append(one.url) if "/field/picture?" in one.url else None)
    assert walk(page, records) == [4000, 3000, 4000, 3000, 2000, 3000]
    page.get_by_text("critic 2", exact=True).click()
    page.wait_for_timeout(600)
    assert walk(page, records) == [2000, 1000, 2000, 1000, 1000, 2000]
    page.get_by_text("critic 1", exact=True).click()
    page.wait_for_timeout(600)
    assert walk(page, records)[-1] == 2000
    page.locator("#state").click()
    page.get_by_text("state 3", exact=True).click()
    page.wait_for_timeout(600)
    assert is_what_the_page_says(page, records) == 2000
    # Another run has pictures at the same steps.
    page.get_by_text("SAC Reacher-v5 #2").first.click()
    page.until("location.search.includes('run=2')")
    page.wait_for_timeout(1000)
    assert is_what_the_page_says(page, records, 2) == 2000
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    assert is_what_the_page_says(page, records, 2) == 3000
    assert len(set(asked)) == len(asked)


def test_pictures_kept_under_a_name_that_leaves_the_step_out_are_found_out(open_runs, records, browser):
    """What the test above must notice."""
    page = open_runs()
    source, wrong = SOURCE.read_text(), "where.replace(/&(step|place)=[^&]*/g, '')"
    for place in ("kept.set(where, picture)", "kept.get(where)"):
        assert place in source
        source = source.replace(place, place.replace("where", wrong))
    page.route("**/assets/pictures.js*", lambda route: route.fulfill(body=source, content_type="text/javascript"))
    page.goto(page.url.split("?")[0] + "field?run=1")
    page.drawn()
    with pytest.raises(AssertionError):
        walk(page, records)


def test_a_drag_asks_for_few_pictures_and_ends_at_the_one_that_is_said(open_runs, records):
    page = open_runs("field?run=1")
    page.drawn()
    asked = []
    page.on("request", lambda one: asked.append(one.url) if "/field/picture?" in one.url else None)
    thumb, track = page.get_by_role("slider").bounding_box(), page.locator("#slider").bounding_box()
    y = thumb["y"] + thumb["height"] / 2
    page.mouse.move(thumb["x"] + thumb["width"] / 2, y)
    page.mouse.down()
    for share in (0.8, 0.2, 0.9, 0.4, 0.6, 0.51):
        page.mouse.move(track["x"] + share * track["width"], y, steps=12)
    page.mouse.up()
    page.said("step 3,000 (3 of 5)")
    assert is_what_the_page_says(page, records) == 3000
    assert len(set(asked)) == len(asked) <= 5


def test_an_answer_that_was_on_its_way_does_not_take_the_slider_back(open_runs, records):
    page = open_runs("field?run=1")
    page.drawn()
    page.keyboard.press("ArrowLeft")
    # As a pulse does that was asked when the page followed still.
    page.evaluate(
        "window.dash_clientside.set_props('slider', { value: 5000 });"
        "window.dash_clientside.set_props('at', { data: [5000, 4, 5, [1000, 2000, 3000, 4000, 5000], 5000] });"
    )
    page.wait_for_timeout(400)
    page.said("step 4,000 (4 of 5)")
    assert page.get_by_role("slider").get_attribute("aria-valuenow") == "4000"
    assert is_what_the_page_says(page, records) == 4000


def test_where_the_page_does_not_know_the_stops_the_server_is_asked(open_runs, records):
    page = open_runs("field?run=1")
    page.drawn()
    page.evaluate("window.dash_clientside.set_props('stops', { data: null })")
    page.keyboard.press("ArrowLeft")
    page.said("step 4,000 (4 of 5)")
    assert is_what_the_page_says(page, records) == 4000


def test_zoom_is_kept_where_a_picture_comes_back_that_was_seen_before_it(open_runs, records):
    page = open_runs("field?run=1&step=3000")
    page.drawn()
    page.keyboard.press("ArrowLeft")
    assert is_what_the_page_says(page, records) == 2000
    box = page.locator("#field .nsewdrag").first.bounding_box()
    for near, far in ((0.25, 0.75), (0.3, 0.6)):
        page.mouse.move(box["x"] + near * box["width"], box["y"] + near * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + far * box["width"], box["y"] + far * box["height"], steps=5)
        page.mouse.up()
        page.wait_for_timeout(400)
        before = page.evaluate(f"{PLOT}._fullLayout.xaxis.range.slice()")
        for key in ("ArrowRight", "ArrowLeft"):
            page.keyboard.press(key)
            is_what_the_page_says(page, records)
            assert page.evaluate(f"{PLOT}._fullLayout.xaxis.range.slice()") == pytest.approx(before)
