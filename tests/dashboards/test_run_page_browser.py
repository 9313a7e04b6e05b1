"""The page Run in real Chromium: records, a failed one, files that are those of the store, the report."""

from __future__ import annotations

import csv
import json
import re
import time
import traceback

import pytest
from conftest import Recorder, visiting

from dashboards import of_run
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import Entry, open_store
from gradlab.store.export import export_configuration, export_measurements, export_scalars

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=alert(1)>"
CONFIG = {"learning_rate": 3e-4, "probes": {"gradient": {"every": 500}}, "note": EVIL, "net": [400, 300]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A store of two runs, served: of the first 73 records, a probe and a number that are elements, and a failure."""
    from dashboards import Server

    path = tmp_path_factory.mktemp("lab") / "gradlab.db"
    with open_store(path) as store:
        run = store.start_run("first <b>run</b>", algorithm="TD3", environment="Reacher-v5", seed=1, config=CONFIG)
        recorder = Recorder(run)
        for step in range(1000, 15_000, 1000):
            recorder.record(step)
        strange = Measurement({f"{EVIL}/x": Estimate(0.5, 0.125, 12, "critic")}, notes=(EVIL,))
        run.record(15_000, EVIL, strange, cost=99.0)
        run.record(15_000, "gradient", None, status="skipped", message="the budget is spent")
        try:
            raise ValueError(f"no {EVIL}")
        except ValueError as error:
            trace = "".join(traceback.format_exception(error))
        entry = Entry("landscape", None, 0.5, "background", "failed", f"ValueError: no {EVIL}")
        run.record_once("token", 16_000, entry, when=time.time(), traceback=trace)
        run.finish()
        store.start_run("second", algorithm="SAC").finish()
    with Server(str(path), port=0, refresh=0.5) as running:
        running.store = path
        yield running


@pytest.fixture
def open_lab(browser, lab):
    with visiting(browser, lab) as visit:
        yield visit


def rows(page) -> list[str]:
    return page.locator("#records .record").all_inner_texts()


def test_records_are_there_newest_first_and_stand_on_pages(open_lab):
    page = open_lab("run?run=1")
    page.locator("#records-count").get_by_text("1 to 25 of 73").wait_for()
    assert len(rows(page)) == 25
    assert rows(page)[0].split("\t")[1:3] == ["landscape", "16,000"]
    page.locator("#records-page").get_by_role("button", name="3", exact=True).click()
    page.locator("#records-count").get_by_text("51 to 73 of 73").wait_for()
    page.until("document.querySelectorAll('#records .record').length === 23")
    assert rows(page)[-1].split("\t")[2] == "1,000"
    # A text from the store is text.
    assert page.locator("#records img, #run-config img").count() == 0


def test_a_filter_and_an_order_are_in_the_address_and_lead_to_a_traceback(open_lab):
    page = open_lab("run?run=1")
    page.locator("#records-count").get_by_text("of 73").wait_for()
    page.locator("#outcome").get_by_text("failed").click()
    page.locator("#records-count").get_by_text("1 to 1 of 1").wait_for()
    page.until("location.search.includes('outcome=failed')")
    opens = page.locator("#records .open")
    assert opens.get_attribute("aria-expanded") == "false"
    opens.focus()
    page.keyboard.press("Enter")
    held = page.locator("#records .held")
    held.get_by_text("Traceback (most recent call last)").wait_for()
    assert f"ValueError: no {EVIL}" in held.locator(".trace").inner_text()
    assert "test_run_page_browser.py" in held.locator(".trace").inner_text()
    assert held.locator("img").count() == 0
    page.keyboard.press("Enter")
    held.wait_for(state="detached")
    # Reloaded it is looked at in the same way.
    page.reload()
    page.locator("#records-count").get_by_text("1 to 1 of 1").wait_for()
    page.locator("#outcome").get_by_text("all").click()
    page.locator(".order[data-order=cost]").click()
    page.until("document.querySelector('#records .record td:nth-child(2)').innerText.startsWith('<img')")
    page.until("location.search.includes('order=-cost')")
    page.locator(".order[data-order=cost]").click()
    page.until("document.querySelector('[aria-sort]').getAttribute('aria-sort') === 'ascending'")
    page.until("!document.querySelector('#records .record td:nth-child(2)').innerText.startsWith('<img')")
    page.get_by_role("textbox", name="Records of").click()
    page.get_by_role("option", name="curvature").click()
    page.locator("#records-count").get_by_text("1 to 14 of 14").wait_for()
    page.until("location.search.includes('probe=curvature')")


def test_a_record_shows_its_numbers_with_n_and_errors_its_arrays_and_notes(open_lab):
    page = open_lab("run?run=1&order=-cost")
    page.until("document.querySelector('#records .record td:nth-child(2)').innerText.startsWith('<img')")
    page.locator("#records .open").first.click()
    held = page.locator("#records .held")
    held.locator("tbody td").first.wait_for()
    cells = held.locator("tbody td").all_inner_texts()
    assert cells == [f"{EVIL}/x", "0.5", "0.125", "0.22488 to 0.77512", "12 samples", "critic", ""]
    assert EVIL in held.inner_text()
    assert held.locator("img").count() == 0
    page.goto(page.url.replace("order=-cost", "probe=field"))
    page.locator("#records-count").get_by_text("of 14").wait_for()
    page.locator("#records .open").first.click()
    held.get_by_text("q", exact=True).wait_for()
    assert "critic 3 × state 4 × y 33 × x 33" in held.inner_text()


def test_the_configuration_is_a_list_that_can_be_searched(open_lab):
    page = open_lab("run?run=1")
    page.locator("#config-count").get_by_text("4 settings").wait_for()
    assert page.locator("#run-config").inner_text().split("\n")[:2] == ["learning_rate", "0.0003"]
    assert EVIL in page.locator("#run-config").inner_text()
    page.get_by_label("Search the configuration").fill("GRADIENT 500")
    page.locator("#config-count").get_by_text("1 of 4 settings").wait_for()
    assert page.locator("#run-config dt").all_inner_texts() == ["probes.gradient.every"]
    page.get_by_label("Search the configuration").fill("none such")
    page.locator("#config-count").get_by_text("none of 4 settings has all of these words").wait_for()


@pytest.mark.parametrize("form", ["CSV", "Parquet", "JSON lines", "JSON"])
def test_a_file_from_the_page_is_that_of_the_store(open_lab, lab, tmp_path, form):
    if form == "Parquet":
        pytest.importorskip("pyarrow")
    page = open_lab("run?run=1")
    offered = [("Configuration", export_configuration)]
    if form != "JSON":
        offered = [("Every number", export_scalars), ("Every measurement", export_measurements)]
    for title, export in offered:
        with page.expect_download() as download:
            page.get_by_role("link", name=f"{title} as {form}", exact=True).click()
        name = download.value.suggested_filename
        assert re.fullmatch(r"first-b-run-b-(scalars|measurements|configuration)\.\w+", name)
        page.locator("#export-said").get_by_text(name).wait_for()
        download.value.save_as(tmp_path / f"page-{name}")
        with open_store(lab.store, readonly=True) as store:
            export(store, tmp_path / name, [1])
        assert (tmp_path / f"page-{name}").read_bytes() == (tmp_path / name).read_bytes()
    if form == "CSV":
        with (tmp_path / "page-first-b-run-b-scalars.csv").open(encoding="utf-8", newline="") as file:
            found = [row for row in csv.DictReader(file) if row["name"] == f"{EVIL}/x"]
        assert [(row["value"], row["stderr"], row["samples"]) for row in found] == [("0.5", "0.125", "12")]


def test_an_export_that_fails_is_a_line_on_the_page(open_lab, monkeypatch):
    from dashboards.records import Records
    from gradlab.errors import GradlabError

    def gone(*_):
        raise GradlabError("store lab: is gone; put it back")

    page = open_lab("run?run=1")
    page.get_by_role("link", name="Every number as CSV").wait_for()
    monkeypatch.setattr(Records, "asked", gone)
    # The browser itself complains of an answer that is none.
    open_lab.away.append(True)
    with page.expect_response(lambda answer: "/export/" in answer.url) as answer:
        page.evaluate("document.querySelector('[data-export]').click()")
    assert answer.value.status == 500
    page.locator("#export-said").get_by_text("store lab: is gone; put it back").wait_for()
    monkeypatch.undo()


def test_the_report_is_made_comes_by_itself_and_says_the_same(open_lab, browser, lab, tmp_path):
    page = open_lab("run?run=1")
    with page.expect_download() as download:
        page.get_by_role("button", name="Make the report").click()
    assert download.value.suggested_filename == "first-b-run-b-report.html"
    page.locator("#report-said").get_by_text("The report is made").wait_for()
    path = tmp_path / "report.html"
    download.value.save_as(path)
    answer = of_run(lab.store, 1).answer.text.replace(" %", "\u00a0%")
    opened = browser.new_page()
    opened.goto(path.as_uri())
    opened.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
    assert opened.locator(".answer").first.inner_text().endswith(answer)
    opened.close()
    # The other run has none, and this one's is there still, a click away.
    page.get_by_text("second").first.click()
    page.until("!document.querySelector('#report-file')")
    page.get_by_text("first <b>run</b>").first.click()
    with page.expect_download() as again:
        page.locator("#report-file a").click()
    again.value.save_as(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_saved_as_it_is_seen(open_lab, tmp_path, scheme):
    image = pytest.importorskip("PIL.Image")
    page = open_lab("landscape?run=1&step=5000", scheme)
    page.drawn("landscape")
    page.said("step 5,000")
    menu = page.locator(".figure:has(#landscape) .save")
    assert page.locator(".figure").count() == page.locator(".dash-graph").count()
    for form in ("PNG", "SVG", "JSON") if scheme == "light" else ("PNG",):
        menu.locator("summary").focus()
        page.keyboard.press("Enter")
        with page.expect_download() as download:
            menu.get_by_role("button", name=form).click()
        name = download.value.suggested_filename
        assert name == f"first-b-run-b-step-5000-landscape.{form.lower()}"
        download.value.save_as(tmp_path / name)
    ground = {"light": (255, 255, 255), "dark": (31, 32, 36)}[scheme]
    drawn = image.open(tmp_path / "first-b-run-b-step-5000-landscape.png").convert("RGB")
    box = page.locator("#landscape").bounding_box()
    assert drawn.size == (2 * round(box["width"]), 2 * round(box["height"]))
    colors = {color: count for count, color in drawn.getcolors(2**24)}
    assert max(colors, key=colors.get) == ground
    assert len(colors) > 50
    if scheme == "dark":
        return
    vector = (tmp_path / "first-b-run-b-step-5000-landscape.svg").read_text(encoding="utf-8")
    assert vector.startswith("<svg")
    assert "local optima" in vector
    spec = json.loads((tmp_path / "first-b-run-b-step-5000-landscape.json").read_text(encoding="utf-8"))
    known = page.evaluate(
        "document.querySelector('#landscape .js-plotly-plot')._fullData.map(one => Array.from(one.y || []))"
    )
    assert [trace.get("y", []) for trace in spec["data"]] == known
    assert "bdata" not in json.dumps(spec)


def test_the_page_fits_a_narrow_screen(open_lab):
    page = open_lab("run?run=1", "dark", 400, 800)
    page.locator("#records .open").first.wait_for()
    page.locator("#records .open").first.click()
    page.locator("#records .held").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
