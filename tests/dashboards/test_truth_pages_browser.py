"""Landscape, curvature and critic in Chromium with what the later probes store, beside a run that has none of it."""

from __future__ import annotations

import pytest

from dashboards.run_figures import of_run
from dashboards.style import PALETTE

pytestmark = pytest.mark.browser


def shown(page, what: str, color: str) -> bool:
    """Whether a figure has pixels of a colour, which may be three tenths white."""
    page.locator(f"#{what}").scroll_into_view_if_needed()
    box = page.locator(f"#{what} .nsewdrag").first.bounding_box()
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((abs(page.pixels(**box) - rgb).max(axis=-1) < 90).mean() > 0.0005)


def test_figures_of_a_moment_follow_the_slider(open_truth):
    page = open_truth("critic?run=1&step=1000")
    page.drawn("improvement")
    lines = "document.querySelector('#improvement .js-plotly-plot').data"
    gains = f"{lines}.find(one => one.name?.startsWith('predicted')).y[2]"
    page.until(f"Math.abs({gains} - 0.1) < 1e-6")
    page.locator("#answer").get_by_text("promises 0.03").wait_for()
    page.keyboard.press("ArrowRight")
    page.until(f"Math.abs({gains} - 0.2) < 1e-6")
    page.locator("#answer").get_by_text("promises 0.06").wait_for()
    page.drawn("calibration")
    assert shown(page, "calibration", PALETTE[0][0])
    assert shown(page, "calibration", PALETTE[1][0])
    page.locator("#what-calibration").click()
    page.locator("#terms-calibration").get_by_text("n = 12 episodes at step").first.wait_for()


@pytest.mark.parametrize("path", ["landscape", "curvature", "critic"])
def test_where_they_are_missing_the_cards_say_so_and_compared_runs_lie_over_each_other(open_truth, path):
    cards = {
        "landscape": ["persistence", "surrogates", "phantoms"],
        "curvature": ["spectrum", "smoothness", "bound"],
        "critic": ["value-error", "calibration", "improvement"],
    }[path]
    page = open_truth(f"{path}?run=3", "dark", 400)
    for card in cards:
        page.locator(f"#{card}").get_by_text("not measured in this run").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page = open_truth(f"{path}?run=1&compare=2")
    for card in cards:
        page.until(
            f"new Set(document.querySelector('#{card} .js-plotly-plot')?.data?.map(one => one.name)"
            ".filter(one => one?.startsWith('TD3 Reacher-v5 #')).map(one => one.slice(0, 17))).size === 2"
        )


def test_the_same_figures_are_there_for_python(truth_store):
    found, old = of_run(truth_store, 1), of_run(truth_store, "old")
    names = {
        "calibration", "value-error", "improvement", "optima-over-persistence", "surrogates", "phantoms", "spectrum",
        "bound-and-observed", "smoothness", "critic-gradient",
    }  # fmt: skip
    assert names <= set(found.names())
    assert names - set(old.names()) == names - {"critic-gradient"}
    for name in sorted(names):
        assert len(found.figure(name, "dark").data) > 1
    assert found.improvement(1500).data[1].y[2] == pytest.approx(0.1)
    # The mean return of the middle fifth of Q, which is uniform on [−5, 5], is that at its middle.
    assert found.calibration().data[-1].y[2] == pytest.approx(found.calibration().data[-1].x[2] / 2 - 2)
