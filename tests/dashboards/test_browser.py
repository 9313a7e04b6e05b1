"""The page in real Chromium: what is seen, by pixels; that it updates while a run goes on; that nothing leaves."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from dashboards import Server
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement

pytestmark = pytest.mark.browser


def test_arrows_are_seen_over_the_heat_map(recorder, open_page):
    recorder.record(1000)
    page = open_page("field")
    page.drawn()
    seen = page.plane()
    white = (seen.min(axis=-1) > 170).mean()
    # 289 arrows of a few hundred pixels; the heat map itself has no colour with a component above 191.
    assert 0.01 < white < 0.3
    blue = (seen[..., 2] > seen[..., 0] + 15).mean()
    assert blue > 0.3
    # Without the arrows nothing is white but the ring around the actor.
    page.evaluate(
        "document.querySelectorAll('#field .quiverlayer, #field .quiver').forEach(e => e.style.display = 'none')"
    )
    page.wait_for_timeout(200)
    assert (page.plane().min(axis=-1) > 170).mean() < white / 5


def test_the_page_waits_for_the_first_measurement_and_then_shows_it(store_path, recorder, open_page):
    page = open_page("field")
    page.get_by_text("Waiting for the first measurement of the critic's field.").wait_for()
    page.get_by_text("waiting for the first picture of the field").wait_for()
    recorder.record(1000)
    page.drawn()
    page.get_by_text("the arrows point the wrong way on").wait_for()
    page.said("step 1,000 (1 of 1)")


def test_it_updates_while_a_run_goes_on_and_keeps_the_zoom(recorder, open_page):
    for step in (1000, 2000):
        recorder.record(step)
    page, field = open_page("gradient"), open_page("field")
    field.drawn()
    page.drawn("gradient")
    page.said("step 2,000 (2 of 2)")
    first = field.plane()
    page.evaluate(
        "window.node = document.querySelector('#gradient .js-plotly-plot');"
        "document.querySelector('#gradient .modebar').closest('.js-plotly-plot');"
    )
    box = page.locator("#gradient .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    page.until("window.node.layout.xaxis.autorange === false")
    zoomed = page.evaluate("window.node._fullLayout.xaxis.range.slice()")
    points = len(page.data("gradient", 1, "x"))

    def train() -> None:
        for step in (3000, 4000, 5000):
            recorder.record(step)

    writer = threading.Thread(target=train)
    writer.start()
    writer.join()
    page.said("step 5,000 (5 of 5)")
    page.until(f"window.node._fullData[1].x.length === {points + 3}")
    assert page.get_by_role("slider").get_attribute("aria-valuemax") == "5000"
    # The same element, patched: no flicker; and looking at the same steps.
    assert page.evaluate("window.node === document.querySelector('#gradient .js-plotly-plot')")
    assert page.evaluate("window.node._fullLayout.xaxis.range.slice()") == zoomed
    field.said("step 5,000 (5 of 5)")
    field.wait_for_timeout(500)
    assert (np.abs(field.plane() - first).max(axis=-1) > 30).mean() > 0.02


def test_the_next_pulse_is_asked_when_the_last_is_answered(recorder, open_page):
    recorder.record(1000)
    page = open_page("landscape")
    page.drawn("landscape")
    page.evaluate(
        "window.dash_clientside.gradlabPulse.asked("
        "'[\"pulse.n_intervals\"]', new Promise(function (done) { window.answered = done; }))"
    )
    page.wait_for_timeout(500)
    asked = []
    page.on("request", lambda one: asked.append(1) if "pulse.n_intervals" in (one.post_data or "") else None)
    recorder.record(2000)
    page.wait_for_timeout(2500)
    assert not asked
    page.evaluate("window.answered()")
    page.said("step 2,000 (2 of 2)")


def test_moving_the_slider_back_stops_following(recorder, open_page):
    for step in (1000, 2000, 3000):
        recorder.record(step)
    page = open_page("field")
    page.drawn()
    page.said("step 3,000 (3 of 3)")
    lowest = "document.querySelector('#field .js-plotly-plot')._fullData[0].z[0][0]"
    newest = page.evaluate(lowest)
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    page.said("step 2,000 (2 of 3)")
    page.until("!document.querySelector('#follow').checked")
    page.until(f"{lowest} !== {newest}")
    recorder.record(4000)
    page.said("step 2,000 (2 of 4)")
    page.locator("#follow").check(force=True)
    page.said("step 4,000 (4 of 4)")


def test_a_new_picture_takes_the_slider_out_of_nobodys_hands(recorder, open_page):
    for step in (1000, 2000, 3000):
        recorder.record(step)
    page = open_page("field")
    page.drawn()
    page.said("step 3,000 (3 of 3)")
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    page.said("step 2,000 (2 of 3)")
    recorder.record(4000)
    page.said("step 2,000 (2 of 4)")
    page.keyboard.press("ArrowLeft")
    page.said("step 1,000 (1 of 4)")
    # The same with a mouse: what comes in while the thumb is held is shown when it is let go.
    box = page.get_by_role("slider").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    recorder.record(5000)
    page.wait_for_timeout(1500)
    track = page.locator("#slider").bounding_box()
    page.mouse.move(track["x"] + 0.66 * track["width"], y, steps=4)
    page.said("step 3,000 (3 of ")
    page.mouse.up()
    page.said("step 3,000 (3 of 5)")


def test_critic_state_reference_and_metrics_are_chosen(recorder, open_page):
    recorder.record(1000)
    page = open_page("field")
    page.drawn()
    lowest = "document.querySelector('#field .js-plotly-plot')._fullData[0].zmin"
    before = page.evaluate(lowest)
    page.get_by_text("critic 2", exact=True).click()
    # The second critic of these stores lies 0.2 above the first.
    page.until(f"Math.abs({lowest} - ({before})) > 0.05")
    page.locator("#state").click()
    page.get_by_text("state 3", exact=True).click()
    page.get_by_text("state 3: s = (").wait_for()
    page.get_by_role("link", name="Gradient").click()
    page.drawn("gradient")
    page.get_by_text("against the simulator", exact=True).click()
    page.until("document.querySelector('#gradient .js-plotly-plot').layout.uirevision.includes('simulator')")
    page.locator("span").get_by_text("cosine", exact=True).click()
    page.until("!document.querySelector('#gradient .js-plotly-plot').layout.yaxis3")


def test_names_with_html_are_text(store_path, recorder, open_page):
    from gradlab.store import open_store

    with open_store(store_path) as store:
        name = "<img src=x onerror=alert(1)> & <b>bold</b>"
        run = store.start_run(name=name)
        run.record(1, "gradient", status="failed", message="<script>alert(2)</script>")
        page = open_page()
        page.get_by_text(name).first.wait_for()
        page.get_by_text("<script>alert(2)</script>").first.wait_for()
        assert page.locator("img[src='x']").count() == 0


def test_dark_mode_is_dark_and_its_figures_are_too(recorder, open_page):
    recorder.record(1000)
    page = open_page("gradient", "dark")
    page.drawn("gradient")
    assert page.pixels(600, 98, 40, 6).mean() < 60
    assert page.evaluate("document.querySelector('#gradient .js-plotly-plot').layout.font.color") == "#ced4da"
    page.get_by_label("Light or dark").click()
    page.until("document.querySelector('#gradient .js-plotly-plot').layout.font.color === '#343a40'")
    assert page.pixels(600, 98, 40, 6).mean() > 200


def test_a_phone_has_the_runs_in_a_menu(recorder, open_page):
    recorder.record(1000)
    page = open_page("field", width=390, height=844)
    page.drawn()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Runs").click()
    page.get_by_text("TD3 Reacher-v5 #1").first.wait_for()


def test_the_page_says_that_the_dashboard_is_gone_and_goes_on_when_it_is_back(store_path, recorder, server, open_page):
    recorder.record(1000)
    page = open_page("gradient")
    page.drawn("gradient")
    gone = page.get_by_text("The dashboard is not answering")
    assert not gone.is_visible()
    page.evaluate("window.kept = true")
    open_page.away.append(True)
    server.stop()
    stopped = time.monotonic()
    gone.wait_for(state="visible")
    assert time.monotonic() - stopped < 6
    said = page.locator("#offline").inner_text()
    assert f"gradlab dashboard {store_path} --port {server.port}" in said
    assert not page.locator("#live").is_visible()
    recorder.record(2000)
    with Server(str(store_path), port=server.port, refresh=0.5):
        gone.wait_for(state="hidden")
        page.said("step 2,000 (2 of 2)")
        page.until("document.querySelector('#gradient .js-plotly-plot')._fullData[1].x.length === 2")
        assert page.locator("#live").is_visible()
        # The same page, not one that was loaded anew; and without complaints from here on.
        assert page.evaluate("window.kept") is True
        open_page.away.clear()
        recorder.record(3000)
        page.said("step 3,000 (3 of 3)")
        # While somebody still answers its questions.
        page.close()


def test_an_interval_without_an_end_is_said_in_the_hover_and_does_not_break_the_plot(recorder, open_page):
    for step, ends in ((1000, (0.5, 2.0)), (2000, (0.5, np.inf)), (3000, (0.6, 1.8))):
        one = Estimate(1.0, 0.2, 64, "critic", ends=ends)
        recorder.run.record(step, "gradient", Measurement({"zeroth-order-2/variance": one}))
    page = open_page("gradient")
    page.drawn("gradient")
    plot = "document.querySelector('#gradient .js-plotly-plot')"
    low, high = page.evaluate(f"{plot}._fullLayout.yaxis2.range.slice()")
    assert np.log10(0.5) - 0.3 < low < high < np.log10(2) + 0.3
    marks = page.locator("#gradient .scatterlayer .points path")
    hover = "document.querySelector('#gradient .hoverlayer').textContent"
    for mark, step, bounded in ((1, "2,000", False), (0, "1,000", True)):
        box = marks.nth(mark).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.until(f"{hover}.includes('step {step}')")
        said = page.evaluate(hover)
        assert "n = 64 draws" in said
        assert ("no upper bound" in said) != bounded
        assert "%{" not in said


def test_a_probe_of_ones_own_gets_a_panel_which_grows_with_its_numbers(recorder, open_page):
    recorder.record(1000)
    page = open_page()
    page.drawn("cost")
    assert page.locator("#others > *").count() == 0
    for step in (1000, 2000):
        recorder.run.record(step, "my <b>own</b>", Measurement({"share": Estimate(0.5, 0.1, 40, "an oracle")}))
    page.get_by_role("heading", name="my <b>own</b>").wait_for()
    plot = "document.querySelector('#others .js-plotly-plot')"
    page.until(f"{plot}?._fullData?.[1]?.x.length === 2")
    assert "against an oracle" in page.locator("#others .infolayer").text_content()
    mark = page.locator("#others .scatterlayer .points path").nth(0)
    # In the middle: at the lower edge the footer lies over it.
    mark.evaluate("one => one.scrollIntoView({block: 'center'})")
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.until("document.querySelector('#others .hoverlayer').textContent.includes('n = 40 samples')")
    # A new measurement is data for the same figure.
    page.evaluate(f"window.node = {plot}")
    recorder.run.record(3000, "my <b>own</b>", Measurement({"share": Estimate(0.6, 0.1, 40, "an oracle")}))
    page.until(f"{plot}._fullData[1].x.length === 3 && window.node === {plot}")
    # Other numbers than before are another card.
    many = {f"layer {i}/norm": Estimate(1.0 + i, 0.1, 40) for i in range(30)}
    recorder.run.record(4000, "my <b>own</b>", Measurement(many))
    page.until(f"{plot}?._fullData?.length === 24")
    page.get_by_role("textbox", name="Numbers of my").click()
    page.get_by_role("option").nth(2).click()
    page.until(f"{plot}._fullData.length === 14")
    seen = page.locator("#others .card").bounding_box()
    assert seen["width"] > 1000


def test_a_run_on_policy_has_panels_of_its_rollouts_and_none_that_stay_empty(store_path, open_page):
    from gradlab.store import open_store

    why = "the agent has no critic of (obs, act)"
    config = {"budget": 0.03, "probes": {"on-policy": {"every": 2000}}, "left_out": {"field": why}}
    with open_store(store_path) as store:
        run = store.start_run(algorithm="PPO", environment="Pendulum-v1", config=config)
        page = open_page("gradient", width=400, height=800)
        page.get_by_text("waiting for the first rollout").wait_for()
        assert not page.locator("#gradient").is_visible()
        for step, snr in ((2048, 0.5), (4096, 0.25)):
            scalars = {
                "score-function/snr": Estimate(snr, 0.1, 24),
                "score-function/noise_scale": Estimate(2048 / snr, 100.0, 24),
                "value/explained_variance": Estimate(0.8, 0.01, 24, "value targets"),
                "policy/entropy": Estimate(1.4, 0.01, 24),
            }
            run.record(step, "on-policy", Measurement(scalars), cost=0.25)
        run.record(6000, "on-policy", status="skipped", message="over the budget of 3% of wall time")
        run.record(8000, "on-policy", status="failed", message="ValueError: no row 7", cost=0.1)
        page.get_by_text("most of a rollout's gradient is noise (SNR 0.25").wait_for()
        page.get_by_text("4 times the rollout's 2,048").wait_for()
        for link, figure in (("Gradient", "rollout-gradient"), ("Critic", "rollout-value"), ("Overview", "cost")):
            page.get_by_role("link", name=link, exact=True).click()
            page.drawn(figure)
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.get_by_text("skipped once: over the budget").first.wait_for()
        page.get_by_text("step 8,000 failed: ValueError: no row 7").last.wait_for()
        page.get_by_text(why).wait_for()
        # The area of what was spent, and the bar beside it, are seen in the probe's colour.
        for where, share in (("#cost", 0.001), ("#cost-rows .spent", 0.8)):
            one = page.locator(where)
            one.scroll_into_view_if_needed()
            seen = page.pixels(**one.bounding_box())
            assert (seen[..., 2] > seen[..., 0] + 40).mean() > share


def test_the_page_takes_up_a_store_that_vanished_and_one_in_its_place(store_path, recorder, open_page):
    from gradlab.store import open_store

    recorder.record(1000)
    page = open_page("curvature?run=1")
    page.drawn("curvature")
    aside = store_path.with_name("aside")
    aside.mkdir()
    for file in store_path.parent.glob("gradlab.db*"):
        file.rename(aside / file.name)
    page.get_by_text("is gone").wait_for()
    page.get_by_text("What was read before is still shown.").wait_for()
    with open_store(store_path) as store:
        run = store.start_run(name="the next")
        page.get_by_text("Waiting for the first measurement of curvature.").wait_for()
        page.get_by_text("is gone").wait_for(state="hidden")
        for step, ratio in ((500, 3.0), (700, 7.5)):
            run.record(step, "curvature", Measurement({"ratio": Estimate(ratio, 0.1, 9)}))
        page.get_by_text("M/μ = 7.5").wait_for()
        page.said("step 700 (2 of 2)")
        page.until("document.querySelector('#curvature .js-plotly-plot')?._fullData?.[1]?.x?.length === 2")
        page.close()
