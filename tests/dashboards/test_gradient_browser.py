"""The page of gradients in Chromium: its tabs, the step of the slider, several runs, and pixels."""

from __future__ import annotations

import pytest
from gradient_numbers import apart, simulated

from gradlab.store import open_store

TABS = {
    "ledger": ("error-ledger", "ledger-terms"),
    "noise": ("variance-split", "batch-size", "radius", "layers"),
    "error": ("error-parts", "ranking"),
}


@pytest.fixture
def measured(recorder):
    for step in (1000, 2000):
        recorder.record(step)
        recorder.run.record(step, "estimators", apart(step), cost=0.9, where="background")
        recorder.run.record(step, "simulator", simulated(step), cost=9.0, where="background")
    return recorder


def coloured(page, figure):
    """How many pixels of a figure's plot are of a colour, neither grey nor white."""
    box = page.locator(f"#{figure} .nsewdrag").first.bounding_box()
    page.evaluate(f"document.querySelector('#{figure}').scrollIntoView({{block: 'center'}})")
    page.wait_for_timeout(100)
    box = page.locator(f"#{figure} .nsewdrag").first.bounding_box()
    seen = page.pixels(box["x"], box["y"], box["width"], box["height"])
    return int((seen.max(2) - seen.min(2) > 60).sum())


def test_tabs_draw_what_is_behind_them_and_follow_the_slider(open_page, measured):
    page = open_page("gradient?view=ledger&step=1000")
    for tab, names in TABS.items():
        if tab != "ledger":
            page.get_by_text({"noise": "Noise and batch size", "error": "Error"}[tab], exact=True).first.click()
        for name in names:
            page.until(f"document.querySelector('#{name} .js-plotly-plot')?.data?.length > 0")
            page.wait_for_timeout(300)
            if name != "ranking":
                assert coloured(page, name) > 150, name
        # What is behind the other tabs is not mounted.
        others = [name for other, found in TABS.items() if other != tab for name in found]
        assert not page.evaluate(f"{others!r}.some(name => document.getElementById(name))")
        assert page.evaluate("document.querySelectorAll('.js-plotly-plot').length") <= 12
    assert "step 1,000" in page.locator("#error-parts").inner_text()
    page.locator("#after").click()
    page.until("document.querySelector('#error-parts').textContent.includes('step 2,000')")
    page.locator("#answer").get_by_text("the largest known term").wait_for()
    assert "view=" not in page.url


def test_runs_are_compared_behind_every_tab(open_page, measured, store_path):
    with open_store(store_path) as store:
        other = store.start_run(algorithm="SAC", environment="Reacher-v5")
        other.record(1000, "estimators", apart(1000))
        other.record(1000, "simulator", simulated(1000))
        other.record(1000, "gradient", measured.gradient(1000))
    page = open_page("gradient?view=noise&run=1&compare=1,2", "dark")
    for name in ("variance-split", "batch-size", "radius", "layers"):
        page.until(
            f"document.querySelector('#{name} .js-plotly-plot')?.data?.filter(one => one.showlegend).length === 2"
        )  # fmt: skip
    page.get_by_text("Where it comes from", exact=True).first.click()
    page.until(
        "document.querySelector('#error-ledger .js-plotly-plot')?.data?.some(one => one.name?.startsWith('SAC'))"
    )


def test_a_run_without_the_new_records_says_so_on_a_narrow_screen(open_page, recorder):
    recorder.record(1000)
    page = open_page("gradient?view=ledger", width=400)
    page.locator("#error-ledger").get_by_text("no error ledger has been measured").wait_for()
    page.get_by_text("Noise and batch size", exact=True).first.click()
    page.locator("#layers").get_by_text("waiting for the first measurement").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
