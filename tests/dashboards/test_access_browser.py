"""Every page for those who do not use a mouse, do not see well, or do not see: in real Chromium."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from access import contrast, faint_in_graphs, nameless, walk

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: Page → its label, and graphs that are on it for a run that has everything.
PAGES = {
    "": ("Overview", ["cost"]),
    "gradient": ("Gradient", ["gradient"]),
    "field": ("Field", ["field", "look"]),
    "landscape": ("Landscape", ["landscape", "surrogates"]),
    "curvature": ("Curvature", ["curvature", "bound"]),
    "critic": ("Critic", ["wrong", "calibration"]),
    "run": ("Run", []),
}


def visit(opened, path: str, **how):
    """One page with all of its graphs drawn and put in words."""
    page = opened(f"{path}?run=1", **how)
    page.locator("#answer .answer").wait_for()
    for graph in PAGES[path][1]:
        page.until(f"document.querySelector('#{graph} .js-plotly-plot')?.data?.length > 0")
    page.wait_for_timeout(900)
    return page


def newest(page, graph: str, trace: int) -> list:
    """Value, ends, n and name of a line's newest point, as plotly has them."""
    line = f"document.querySelector('#{graph} .js-plotly-plot')._fullData[{trace}]"
    return page.evaluate(f"[...Array.from(Array.from({line}.customdata).at(-1)), {line}.name]")


def printed(value: float, digits: int) -> str:
    """A number in so many digits, without an exponent, as JavaScript has it."""
    return np.format_float_positional(float(f"{value:.{digits}g}"), trim="-").replace("-", "−")


def violations(page, part: str | None = None) -> list[str]:
    """What axe-core (MPL-2.0, in the package axe-playwright-python) finds against WCAG and good practice, in a part."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    # A dialog has a header of its own, as Mantine makes it, which axe takes for a second one of the page.
    rules = {"landmark-no-duplicate-banner": {"enabled": part is None}}
    found = axe.Axe().run(page.page, context=part, options={"rules": rules}).response
    assert len(found["passes"]) > 10
    return [
        f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:160]} … {len(one['nodes'])} times"
        for one in found["violations"]
    ]


def test_contrast_is_as_wcag_defines_it():
    assert contrast(np.zeros(3), np.full(3, 255)) == pytest.approx(21)
    assert contrast(np.full(3, 119), np.full(3, 255)) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_reached_by_tab_named_and_headed_and_axe_finds_nothing_in_it(open_whole, path):
    page = visit(open_whole, path)
    assert page.evaluate("document.documentElement.lang") == "en"
    headings = page.evaluate(
        "Array.from(document.querySelectorAll('h1, h2, h3, h4, h5, h6')).filter(e => e.checkVisibility())"
        ".map(e => [Number(e.tagName[1]), e.textContent])"
    )
    assert [text for level, text in headings if level == 1] == [PAGES[path][0]]
    levels = [level for level, _ in headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for landmark, count in (("main", 1), ("banner", 1), ("contentinfo", 1), ("navigation", 2)):
        assert page.get_by_role(landmark).count() == count, landmark
    count, without = nameless(page)
    assert count > 20
    assert without == []
    assert violations(page) == []
    found, missed = walk(page)
    assert found[0]["name"].endswith("Skip to the content")
    assert len(found) > 15
    assert missed == []
    assert [one["name"] for one in found if not one["ring"]] == []
    assert [one["name"] for one in found if one["covered"]] == []
    assert [one["name"] for one in found if one["backwards"]] == []


def test_axe_finds_nothing_in_the_dark_either_nor_in_what_opens(open_whole):
    page = visit(open_whole, "", scheme="dark")
    for number, (path, (label, _)) in enumerate(PAGES.items(), 1):
        page.keyboard.press(str(number))
        page.get_by_role("heading", name=label, level=1).wait_for()
        page.wait_for_timeout(1500)
        assert violations(page) == [], path
    page.keyboard.press("2")
    page.drawn("gradient")
    page.locator("#what-gradient").click()
    page.locator("#terms-gradient").get_by_text("norm ratio").first.wait_for()
    page.locator("#card-gradient details.numbers summary").click()
    page.locator("#card-gradient tbody tr").first.wait_for()
    assert violations(page) == []
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.wait_for_timeout(500)
    assert violations(page, "[role=dialog]") == []


def test_axe_would_find_what_is_wrong(open_whole):
    page = visit(open_whole, "run")
    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend',"
        " '<button></button><p style=\"color:#aaa;background:#fff\">too faint to be read</p>')"
    )
    assert {one.split(" ")[0] for one in violations(page)} == {"button-name", "color-contrast"}


def test_the_first_tab_leads_past_the_header_to_what_the_page_says(open_whole):
    page = visit(open_whole, "curvature")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.evaluate("one => one === document.activeElement && one.getBoundingClientRect().top >= 0")
    page.keyboard.press("Enter")
    page.until("document.activeElement.tagName === 'MAIN'")
    assert "#" not in page.url
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_a_ring_around_what_has_the_focus_is_there_in_pixels(open_whole):
    page = visit(open_whole, "critic", scheme="dark")
    for what in ("#tabs a:nth-child(3)", "#help-button", "details.numbers summary"):
        one = page.locator(what).first
        one.scroll_into_view_if_needed()
        box = one.bounding_box()
        around = {
            "x": max(box["x"] - 6, 0),
            "y": box["y"] - 6,
            "width": box["width"] + 12,
            "height": box["height"] + 12,
        }
        before = page.pixels(**around)
        # By keyboard: a pointer needs no ring.
        page.keyboard.press("Shift")
        one.focus()
        after = page.pixels(**around)
        changed = np.abs(after - before).max(axis=-1) > 60
        assert changed.mean() > 0.02, what
        ring = np.median(after[changed], axis=0)
        assert contrast(ring, before[changed].mean(axis=0)) > 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_in_graphs_stands_out_from_what_is_behind_it(open_whole, scheme):
    counted = 0
    for path, (_, graphs) in PAGES.items():
        if not graphs:
            continue
        page = visit(open_whole, path, scheme=scheme)
        count, faint = faint_in_graphs(page)
        counted += count
        assert faint == {}, path
        page.close()
    assert counted > 150


def test_a_graph_says_in_words_what_it_shows_now_and_the_next_measurement_with_it(recorder, open_page):
    for step in (1000, 2000):
        recorder.record(step)
    page = open_page("gradient")
    label = "document.querySelector('#gradient svg.main-svg[role=img]')?.getAttribute('aria-label')"
    page.until(f"({label} ?? '').includes('step 2,000')")
    said = page.evaluate(label)
    assert said.startswith("Gradient error of each estimator. ")
    # The panel, the estimator, the newest value with its interval, and what it rests on, as the hover has them.
    value, low, high, count, name = newest(page, "gradient", 3)
    assert (
        f"bias²: {name}, step 2,000, {printed(value, 4)} [{printed(low, 3)}, {printed(high, 3)}], n = {count:.0f} d"
        in said
    )
    assert "more in the table of its numbers" in said
    assert "<" not in said
    assert "%{" not in said
    assert page.locator("#gradient svg.main-svg:not([role=img]):not([aria-hidden=true])").count() == 0
    recorder.record(3000)
    page.until(f"{label}.includes('step 3,000')")


def test_the_numbers_of_a_graph_are_a_table_that_grows_while_it_is_open(recorder, open_page):
    for step in (1000, 2000):
        recorder.record(step)
    page = open_page("landscape")
    page.drawn("landscape")
    page.locator("#card-landscape details.numbers summary").click()
    rows = page.locator("#card-landscape details.numbers tbody tr")
    rows.first.wait_for()
    value, low, high, count, _ = newest(page, "landscape", 1)
    first = rows.first.locator("td").all_inner_texts()
    assert first[1] == "2,000"
    shown = [float(text.replace("−", "-").replace(",", "")) for text in first[2:]]
    assert shown == pytest.approx([value, low, high, count], rel=1e-4)
    before = rows.count()
    recorder.record(3000)
    page.until(f"document.querySelectorAll('#card-landscape details.numbers tbody tr').length > {before}")
    assert rows.first.locator("td").nth(1).inner_text() == "3,000"


def test_a_screen_reader_is_told_the_answer_once_and_not_at_each_measurement(recorder, open_page):
    recorder.record(1000)
    page = open_page()
    page.until("document.querySelector('#spoken')?.dataset.said?.includes('wrong way')")
    regions = page.evaluate(
        "Array.from(document.querySelectorAll('[role=status], [role=alert], [role=log], [aria-live]'))"
        ".filter(e => e.getAttribute('aria-live') !== 'off').map(e => e.id)"
    )
    assert set(regions) <= {"spoken", "offline"}
    page.evaluate(
        "window.heard = []; window.shown = [];"
        "const notify = document.ariaNotify?.bind(document);"
        "if (notify) document.ariaNotify = words => { heard.push(words); notify(words); };"
        "else new MutationObserver(() => heard.push(document.querySelector('#spoken').textContent))"
        ".observe(document.querySelector('#spoken'), {childList: true, characterData: true, subtree: true});"
        "new MutationObserver(() => shown.push(document.querySelector('#answer').textContent))"
        ".observe(document.querySelector('#answer'), {childList: true, characterData: true, subtree: true})"
    )
    for step in (2000, 3000, 4000, 5000):
        recorder.record(step)
        page.said(f"step {step:,}")
        page.wait_for_timeout(600)
    assert len(set(page.evaluate("shown"))) >= 3
    # None but for a verdict that is another.
    assert len(page.evaluate("heard")) <= 2
    page.get_by_role("link", name="Curvature").click()
    page.until("heard.some(words => words.includes('the best action moves at most'))")


def test_what_moves_by_itself_keeps_still_for_those_who_ask_for_it(open_runs):
    page = open_runs("field?run=1&step=1000&speed=100")
    page.emulate_media(reduced_motion="reduce")
    page.drawn()
    page.said("step 1,000 (1 of 5)")
    moving = page.evaluate(
        "Array.from(document.querySelectorAll('*')).filter(e => { const s = getComputedStyle(e);"
        "const long = t => t.split(',').some(one => parseFloat(one) > 0.001);"
        "return long(s.transitionDuration) || long(s.animationDuration); })"
        ".map(e => e.className)"
    )
    assert moving == []
    page.locator("#play").click()
    page.said("step 2,000 (2 of 5)")
    began = time.monotonic()
    page.said("step 4,000 (4 of 5)")
    # As fast as it can is a picture a second at most.
    assert time.monotonic() - began > 1.5
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()


@pytest.mark.parametrize(("width", "height"), [(640, 400), (400, 800)])
def test_a_page_is_of_use_at_twice_its_size_and_on_a_narrow_screen(open_whole, width, height):
    """A window of 1280 × 800 at 200 % is 640 × 400 CSS pixels."""
    for path in PAGES:
        page = visit(open_whole, path, width=width, height=height)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        found, missed = walk(page)
        assert missed == [], path
        assert [one["name"] for one in found if one["covered"]] == [], path
        operated = "main button, main input, main summary, main a[href], main h2"
        cut = page.evaluate(
            f"Array.from(document.querySelectorAll('{operated}'))"
            ".filter(e => e.checkVisibility() && !e.closest('.rows, .modebar, .records-frame'))"
            f".filter(e => e.getBoundingClientRect().right > {width} + 1)"
            ".map(e => e.id || e.className)"
        )
        assert cut == [], path
        page.close()
