"""The overview in real Chromium: what it says of sick runs, the card of their health, and where a probe failed."""

from __future__ import annotations

import pytest
from sick_numbers import CHANGES, healthy

from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store

pytestmark = pytest.mark.browser

SICK = {
    "frozen critic": ("The critic is frozen", "critic's optimizer holds the parameters"),
    "saturated": ("The actor is saturated", "Start it anew with a smaller last layer"),
    "not refreshed": ("The replay is far off policy", "new steps are added to the buffer"),
}


def test_the_top_sentence_and_the_first_finding_say_what_is_broken_and_nothing_bad_of_a_healthy_run(
    store_path, open_page
):
    # A young critic is no better than a coin, sick or not: that is not what is wrong.
    wrong = {"deterministic/wrong_direction": Estimate(0.5, 0.1, 16, "simulator")}
    runs = {}
    with open_store(store_path) as store:
        for name in ("healthy", *SICK):
            run = store.start_run(name, algorithm="TD3", environment="Reacher-v5")
            for step in (500, 1000, 1500, 2000, 2500):
                numbers = healthy(step) | (CHANGES[name] if step >= 1500 else {})
                run.record(step, "health", Measurement(numbers))
            run.record(2500, "simulator", Measurement(wrong))
            run.finish()
            runs[name] = run.id
    for name, (text, remedy) in SICK.items():
        page = open_page(f"?run={runs[name]}", width=1280, height=800)
        # In sight without scrolling, with a sign and a word as well as its colour.
        first = page.locator("#findings .finding").first
        first.get_by_text(text).wait_for()
        assert page.locator("#answer-text").inner_text().startswith(text)
        for card in (page.locator("#answer"), first):
            assert card.get_by_role("img", name="bad").is_visible()
            assert card.bounding_box()["y"] < 700
        assert remedy in first.inner_text()
        assert page.locator("#findings").get_by_role("img", name="bad").count() == 1
        page.close()
    page = open_page(f"?run={runs['healthy']}")
    page.locator("#findings .finding").get_by_text("That is early").wait_for()
    assert page.locator("#findings").get_by_role("img", name="bad").count() == 0
    assert page.locator("#answer").get_by_role("img", name="doubtful").is_visible()
    health = page.locator("#health")
    assert health.get_by_role("img", name="bad").count() == 3
    assert health.get_by_text("The replay is far off policy").is_visible()


def test_the_card_of_health_shows_what_the_finding_is_from_and_grows(store_path, open_page):
    with open_store(store_path) as store:
        run = store.start_run("sick")
        for step in (500, 1500, 2000):
            run.record(step, "health", Measurement(healthy(step) | CHANGES["frozen critic"]))
        page = open_page()
        page.drawn("health-course")
        names = page.locator("#health-course .infolayer").text_content()
        assert all(name in names for name in ("saturated", "gradient passed", "actor moved", "critics moved"))
        look = page.locator("#findings").get_by_role("link", name="look at the evidence: The critic is frozen").first
        look.focus()
        page.keyboard.press("Enter")
        # The card is in view and has the focus, and the page is the same.
        page.until("document.activeElement.id === 'card-health'")
        page.wait_for_timeout(600)
        top = page.locator("#card-health").bounding_box()["y"]
        assert 90 < top < 400
        assert "#" not in page.url
        plot = "document.querySelector('#health-course .js-plotly-plot')"
        moved = f"{plot}._fullData.find(one => one.name === 'critics moved')"
        page.until(f"{moved}.x.length === 3")
        assert page.evaluate(f"Array.from({moved}.customdata.at(-1))[0]") == 0
        # Its line is seen: what moved and what did not are apart.
        seen = page.pixels(**page.locator("#health-course .nsewdrag").nth(1).bounding_box())
        assert ((seen[..., 0] - seen[..., 2]) > 90).mean() > 0.0005
        assert ((seen[..., 2] - seen[..., 0]) > 90).mean() > 0.0005
        run.record(2500, "health", Measurement(healthy(2500)))
        page.until(f"{moved}.x.length === 4")


def test_a_failed_probe_has_its_traceback_behind_its_line(open_whole):
    page = open_whole("?run=1")
    line = page.locator("#cost-rows details.trouble")
    line.get_by_text("step 3,000 failed: ValueError: no room").wait_for()
    trace = line.locator("pre.trace")
    assert not trace.is_visible()
    line.locator("summary").focus()
    page.keyboard.press("Enter")
    trace.wait_for(state="visible")
    assert trace.inner_text().splitlines() == ["Traceback:", "  in a file", "ValueError: no room"]
    page.keyboard.press("Tab")
    assert trace.evaluate("one => one === document.activeElement")
    # It stays open while the page goes on asking.
    page.wait_for_timeout(1500)
    assert trace.is_visible()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    trace.wait_for(state="hidden")
