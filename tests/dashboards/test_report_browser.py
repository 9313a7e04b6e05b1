"""The report in real Chromium, from a file: painted figures, no complaint, nothing asked, light, dark, paper."""

from __future__ import annotations

import io
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from dashboards.reports import write_report
from gradlab.cli import main
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store

pytestmark = pytest.mark.browser

_PATIENCE = 60_000  # ms


@pytest.fixture
def report(store_path, recorder, tmp_path):
    """A run of TD3, with a probe of its own that is called like an element."""
    for step in (1000, 2000):
        recorder.record(step)
        recorder.run.record(step, "<b>mine</b>", Measurement({"<i>depth</i>": Estimate(3.0, 0.5, 9)}), cost=0.1)
    return write_report(tmp_path / "report.html", store_path)


@pytest.fixture
def open_page(browser):
    """Opens a file; at the end nothing may have been complained about, and nothing asked but the file itself."""
    pages, complaints, asked = [], [], []

    def visit(path, scheme: str = "light", width: int = 1280):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(_PATIENCE)
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn]", state="attached")
        page.wait_for_timeout(500)
        pages.append(page)
        return page

    yield visit
    urls = {page.url.partition("#")[0] for page in pages}
    for page in pages:
        page.close()
    assert complaints == []
    assert {url.partition("#")[0] for url in asked if not url.startswith(("blob:", "data:"))} == urls


def pixels(page, selector: str) -> np.ndarray:
    """What is seen of an element: [height, width, 3] bytes."""
    image = pytest.importorskip("PIL.Image")
    shot = page.locator(selector).first.screenshot()
    return np.asarray(image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def test_every_figure_is_painted_and_nothing_is_asked(report, open_page):
    page = open_page(report)
    count = page.locator(".plot").count()
    assert page.evaluate("document.documentElement.dataset.drawn") == str(count) == "13"
    for number in range(count):
        seen = pixels(page, f".plot >> nth={number}")
        # Ink on white: lines, bands, text.
        assert 0.01 < (seen.min(axis=-1) < 235).mean() < 0.9, number
    # Arrows are white, over a heat map that has no colour with a component above 191.
    plane = pixels(page, "#run-1-field .nsewdrag")
    assert 0.01 < (plane.min(axis=-1) > 170).mean() < 0.4
    assert (plane[..., 2] > plane[..., 0] + 15).mean() > 0.3
    assert page.locator("a[data-title*='hare']").count() == 0
    assert page.locator("main b, main i").count() == 0
    assert "<b>mine</b>" in page.locator("h3").all_inner_texts()


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_itself_never_scrolls_sideways(report, open_page, width):
    page = open_page(report, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    inside = page.evaluate(
        "Array.from(document.querySelectorAll('.card')).every(one => one.getBoundingClientRect().right <= innerWidth)"
    )
    assert inside


def test_dark_and_light_by_preference_also_when_it_changes(report, open_page):
    page = open_page(report, scheme="dark")
    text = "getComputedStyle(document.querySelector('#run-1-landscape .xtick text')).fill"
    line = "document.querySelector('#run-1-landscape .plot').data.find(one => one.line?.color).line.color"
    dark = pixels(page, "#run-1-landscape")
    assert np.median(dark.max(axis=-1)) < 60
    before = page.evaluate(text), page.evaluate(line)
    page.emulate_media(color_scheme="light")
    page.wait_for_selector("html[data-drawn]", state="attached")
    page.wait_for_timeout(1500)
    light = pixels(page, "#run-1-landscape")
    assert np.median(light.min(axis=-1)) > 200
    assert (page.evaluate(text), page.evaluate(line)) != before


def test_definitions_and_numbers_open_by_keyboard(report, open_page):
    page = open_page(report)
    summary = page.locator("#run-1-landscape summary")
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("#run-1-landscape dl").is_visible()
    assert "Mean number of local maxima" in page.locator("#run-1-landscape dl").inner_text()
    link = page.locator("ul.findings a").first
    target = link.get_attribute("href")
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(800)
    assert page.locator(target).bounding_box()["y"] < 900


def test_on_paper_it_is_light_and_open(report, open_page):
    page = open_page(report, scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_timeout(800)
    assert page.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    widths = page.evaluate("Array.from(document.querySelectorAll('.plot')).map(one => one._fullLayout.width)")
    assert set(widths) == {680}
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_selector("html[data-drawn]", state="attached")
    assert page.evaluate("document.querySelectorAll('details[open]').length") == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_an_index_leads_to_its_runs(store_path, recorder, tmp_path, open_page):
    recorder.record(1000)
    with open_store(store_path) as store:
        other = store.start_run("second")
        other.record(1, "mine", Measurement({"depth": Estimate(3.0, 0.5, 9)}))
        path = write_report(tmp_path / "two.html", store, [1, 2])
    page = open_page(path)
    page.get_by_role("link", name="second").click()
    page.wait_for_timeout(800)
    assert page.url.endswith("#run-2")
    assert -5 < page.locator("#run-2").bounding_box()["y"] < 900


@pytest.mark.parametrize("name", ["f.png", "f.svg"])
def test_a_figure_as_a_picture(store_path, recorder, tmp_path, chromium, monkeypatch, name):
    recorder.record(1000)
    recorder.record(2000)
    arguments = ["export", "--figure", "wrong-direction", "--store", str(store_path), "--to", str(tmp_path / name)]
    monkeypatch.setattr(sys, "argv", ["gradlab", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    if name.endswith("png"):
        image = pytest.importorskip("PIL.Image")
        drawn = image.open(tmp_path / name).convert("RGB")
        assert drawn.size == (2000, 540)
        assert (0x00, 0x72, 0xB2) in {color for _, color in drawn.getcolors(2**24)}  # of the deterministic estimator
        return
    root = ElementTree.parse(tmp_path / name).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "training step" in "".join(root.itertext())
