"""The shell and every page in real Chromium: what is on them, addresses, keys, and runs beside each other."""

from __future__ import annotations

import pytest

from dashboards.style import run_look

pytestmark = pytest.mark.browser

#: Page → its graph, words of its answer, and a word that its definitions define.
PAGES = {
    "": ("cost", "points the wrong way on", "budget"),
    "gradient": ("gradient", "smallest mean squared error", "norm ratio"),
    "field": ("field", "following the arrows", "arrows"),
    "landscape": ("landscape", "local optima a state", "basin choice"),
    "curvature": ("curvature", "the best action moves at most", "states with μ > 0"),
    "critic": ("wrong", "points the wrong way on", "obtuse angle"),
    "run": ("", "TD3 Reacher-v5 #1 is finished", ""),
}
NAMES = ["Overview", "Gradient", "Field", "Landscape", "Curvature", "Critic", "Run"]


#: Text whose contrast with what is behind it is below 4.5 (WCAG 2.2, 1.4.3), plots apart: class and text → contrast.
FAINT = r"""() => {
  const parse = (text) => {
    const numbers = text.match(/[\d.]+/g).map(Number);
    const color = numbers.slice(0, 3).map((one) => text.startsWith("color(") ? 255 * one : one);
    return [...color, numbers.length > 3 ? numbers[3] : 1];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const ground = (node) => {
    const layers = [];
    for (let one = node; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const linear = (one) => one <= 0.03928 * 255 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4;
  const light = (color) => {
    const [red, green, blue] = color.map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const faint = {}, walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), node = walk.currentNode.parentElement;
    if (!text || !node.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (node.closest("svg, .js-plotly-plot, script, style")) continue;
    const under = ground(node), ink = over(parse(getComputedStyle(node).color), under);
    const [low, high] = [light(ink), light(under)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    count += 1;
    if (contrast < 4.5) faint[`${node.className}: ${text}`] = contrast;
  }
  return [count, faint];
}"""


def graphs(page) -> list[str]:
    return page.evaluate("Array.from(document.querySelectorAll('.dash-graph')).map(e => e.id)")


def test_each_page_has_its_answer_figure_and_definitions_and_nothing_of_the_others(open_runs):
    page = open_runs("?run=1")
    shown = set()
    for number, (path, (graph, said, defined)) in enumerate(PAGES.items(), 1):
        page.keyboard.press(str(number))
        page.locator("#answer").get_by_text(said).wait_for()
        page.until(f"location.pathname === '/{path}' && location.search.startsWith('?run=1')")
        assert page.locator("#tabs [aria-current=page]").inner_text() == NAMES[number - 1]
        assert page.title() == f"{NAMES[number - 1]} · gradlab"
        if graph:
            page.drawn(graph)
            page.locator(f"#what-{graph}").click()
            page.locator(f"#terms-{graph}").get_by_text(defined).first.wait_for()
            if path not in ("", "field"):
                assert "n = " in page.locator(f"#terms-{graph}").inner_text()
            page.keyboard.press("Escape")
        here = set(graphs(page))
        assert not here & shown
        shown |= here
    assert {"gradient", "field", "landscape", "curvature", "wrong", "cost"} <= shown
    assert "learning_rate" in page.locator("#run-config").inner_text()
    page.locator("#probes").get_by_text("5 measured").first.wait_for()


def test_pages_that_are_not_open_are_not_asked_for(open_runs):
    page = open_runs("landscape?run=1")
    asked = []
    questions = ("_dash-update", "/field/picture")
    page.on(
        "request", lambda one: asked.append(one.post_data or one.url) if any(q in one.url for q in questions) else None
    )
    page.drawn("landscape")
    page.wait_for_timeout(1500)
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    page.said("step 4,000 (4 of 5)")
    page.wait_for_timeout(700)
    assert asked
    assert not [one for one in asked if "/field/picture" in one or '"output":"..gradient.figure' in one]


def test_an_address_is_what_was_looked_at_and_back_goes_back(open_runs):
    page = open_runs("field?run=2&step=3000&critic=1&state=2")
    page.drawn()
    page.said("step 3,000 (3 of 5)")
    page.get_by_text("state 3: s = (").wait_for()
    assert page.locator("#critic input:checked").get_attribute("value") == "1"
    assert not page.locator("#follow").is_checked()
    assert page.locator(".run[data-checked]").inner_text().startswith("SAC")
    page.keyboard.press("ArrowRight")
    page.said("step 4,000 (4 of 5)")
    page.until("location.search.includes('step=4000')")
    page.keyboard.press("2")
    page.drawn("gradient")
    page.get_by_text("against the simulator", exact=True).click()
    page.until("location.search.includes('reference=simulator')")
    assert "step=4000" in page.url
    assert "critic" not in page.url
    page.go_back()
    page.drawn()
    page.until("location.pathname === '/field' && location.search.includes('critic=1')")
    page.said("step 4,000 (4 of 5)")
    page.get_by_text("state 3: s = (").wait_for()
    page.go_forward()
    page.drawn("gradient")
    page.until("document.querySelector('#gradient .js-plotly-plot')?.layout?.uirevision?.includes('simulator')")
    before = page.url
    page.reload()
    page.drawn("gradient")
    page.said("step 4,000 (4 of 5)")
    page.until("document.querySelector('#gradient .js-plotly-plot')?.layout?.uirevision?.includes('simulator')")
    assert page.url == before
    # Another run is another place to go back to.
    page.get_by_text("TD3 Reacher-v5 #1").first.click()
    page.until("location.search.includes('run=1')")
    page.go_back()
    page.until("location.search.includes('run=2')")
    page.until("document.querySelector('#gradient .js-plotly-plot')?.layout?.uirevision?.includes('gradient 2')")


@pytest.mark.parametrize(
    "where",
    ["field?critic=<b>&state=-1&step=x", "gradient?reference=no&metrics=,&estimator=%22", "?run=99&compare=7,x"],
)
def test_addresses_that_make_no_sense_show_what_goes_without_saying(open_runs, where):
    page = open_runs(where)
    page.get_by_text("PPO Pendulum-v1").first.wait_for()
    page.get_by_text("of a rollout's gradient is noise").or_(page.get_by_text("Nothing is measured")).first.wait_for()
    page.wait_for_timeout(500)


def test_there_is_a_page_that_says_that_there_is_none(open_runs):
    page = open_runs("nowhere")
    page.get_by_text("There is no page").wait_for()
    page.keyboard.press("1")
    page.drawn("cost")


def test_ticked_runs_are_drawn_over_each_other_in_their_colours(open_runs):
    page = open_runs("curvature?run=1")
    page.drawn("curvature")
    page.get_by_label("Compare SAC Reacher-v5 #2").check()
    page.get_by_text("2 runs are drawn over each other").wait_for()
    page.until("location.search === '?run=1&compare=2'")
    plot = "document.querySelector('#curvature .js-plotly-plot')"
    page.until(
        f"{plot}.data.some(one => one.name?.startsWith('SAC')) && {plot}.data.some(one => one.name?.startsWith('TD3'))"
    )
    lines = page.evaluate(f"{plot}.data.filter(one => one.name).map(one => [one.name.slice(0, 3), one.line.color])")
    assert {tuple(line) for line in lines} == {("TD3", run_look(1).light), ("SAC", run_look(2).light)}
    box = page.locator("#curvature .nsewdrag").first.bounding_box()
    seen = page.pixels(**box)
    for color in (run_look(1).light, run_look(2).light):
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (abs(seen - rgb).max(axis=-1) < 30).mean() > 0.001
    # Reloaded, and on another page, they are compared still.
    page.reload()
    page.until(f"{plot}?.data?.some(one => one.name?.startsWith('SAC'))")
    page.keyboard.press("2")
    page.until("document.querySelector('#gradient .js-plotly-plot')?.data?.some(one => one.name?.startsWith('SAC'))")
    page.get_by_role("textbox", name="Estimator to compare").wait_for()
    page.get_by_label("Compare SAC Reacher-v5 #2").uncheck()
    page.until("document.querySelector('#gradient .js-plotly-plot').data.some(one => one.name?.startsWith('score'))")
    assert page.locator("#estimator").is_hidden()


def test_runs_are_found_by_a_search(open_runs):
    page = open_runs()
    page.get_by_text("PPO Pendulum-v1").first.wait_for()
    page.keyboard.press("/")
    page.keyboard.type("reacher sac")
    page.until("document.querySelectorAll('.run-row').length === 1")
    assert page.locator(".run-row").inner_text().startswith("SAC")
    page.get_by_label("Search runs").fill("<b>no</b>")
    page.get_by_text("no run is called '<b>no</b>'").wait_for()
    # The run that is looked at stays that.
    page.locator("#answer").get_by_text("of a rollout's gradient").wait_for()


def test_keys_do_what_the_help_says(open_runs):
    page = open_runs("landscape?run=1")
    page.drawn("landscape")
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("search runs").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.keyboard.press(" ")
    page.until("!document.querySelector('#live-on').checked")
    page.keyboard.press(" ")
    page.until("document.querySelector('#live-on').checked")
    page.keyboard.press("ArrowLeft")
    page.said("step 4,000 (4 of 5)")
    page.until("document.querySelectorAll('#landscape .cursor i').length === 1")
    line = page.locator("#landscape .cursor i").bounding_box()
    orange = page.pixels(line["x"] - 1, line["y"], 4, 200)
    assert ((orange[..., 0] > 150) & (orange[..., 2] < 120)).mean() > 0.1
    color = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(color)
    page.keyboard.press("t")
    page.until(f"{color} !== '{before}'")
    page.until("document.querySelector('#landscape .js-plotly-plot')?.layout.font.color === '#ced4da'")


def test_answers_and_tiles_speak_of_the_step_that_the_slider_shows(open_runs):
    page = open_runs("landscape?run=1&step=2000")
    page.locator("#answer").get_by_text("Step 2,000: Q(s, ·) has").wait_for()
    page.keyboard.press("ArrowRight")
    page.locator("#answer").get_by_text("Step 3,000: Q(s, ·) has").wait_for()
    page.keyboard.press("1")
    page.locator("#answer").get_by_text("Step 3,000: the critic's action gradient").wait_for()
    page.locator("#tiles").get_by_text("step 3,000").first.wait_for()
    assert "step 5,000" not in page.locator("#tiles").inner_text()
    page.locator("#follow").check()
    page.locator("#answer").get_by_text("Step 5,000: the critic's action gradient").wait_for()
    page.locator("#tiles").get_by_text("step 5,000").first.wait_for()


def test_a_page_without_use_for_a_run_says_why(open_runs):
    page = open_runs("field?run=3")
    page.get_by_text("Nothing is measured for this page").wait_for()
    page.get_by_text("field: no critic of (obs, act)").wait_for()
    assert page.locator("#field").is_hidden()
    page.get_by_text("out of memory").first.wait_for()
    page.keyboard.press("2")
    page.drawn("rollout-gradient")
    assert page.locator("#gradient").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_pages_fit_a_narrow_screen(open_runs, scheme):
    page = open_runs("?run=1", scheme, 400, 800)
    page.drawn("cost")
    for path, (graph, said, _) in PAGES.items():
        page.evaluate(f"window.dash_clientside.gradlabAddress.open('{path}')")
        page.locator("#answer").get_by_text(said).wait_for()
        if graph:
            page.drawn(graph)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
    ground = page.pixels(2, 110, 8, 300).mean()
    assert ground < 60 if scheme == "dark" else ground > 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_either_scheme(open_runs, scheme):
    page = open_runs("?run=3", scheme)
    page.drawn("cost")
    for number in (1, 2, 7):
        page.keyboard.press(str(number))
        page.until(f"document.querySelectorAll('#tabs a')[{number - 1}].hasAttribute('aria-current')")
        page.wait_for_timeout(1500)
        count, faint = page.evaluate(FAINT)
        assert count > 30
        assert faint == {}
