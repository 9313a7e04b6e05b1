"""The report as text: what it says first, that nothing in it can run, its size, and that it is the same each time."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import urlsplit

import pytest

from dashboards.finding import Facts
from dashboards.findings import findings
from dashboards.reports import report_html, write_report
from dashboards.reports.embedded import changes, plotly_js, unpacked
from dashboards.reports.markup import Markup, tag
from dashboards.run_figures import of_run
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@pytest.fixture
def known(store_path, recorder):
    for step in (1000, 2000):
        recorder.record(step)
    return store_path


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def drawn(page: str) -> dict:
    packed = re.finditer(r'<script type="text/plain" id="([^"]+)">[^<]*</script>', page)
    found = {one[1]: unpacked(one[0]) for one in packed}
    # As the page's script does.
    templates = found.pop("templates")
    for one in found.values():
        one["figure"]["layout"]["template"] = templates["light"]
        one["dark"].append([["layout", "template"], templates["dark"]])
    return found


def test_the_answer_comes_first_and_everything_else_after(known):
    page = report_html(known)
    text = html.unescape(without_scripts(page))
    answer = of_run(known).answer.text.replace(" %", "\u00a0%")
    order = [
        "TD3 Reacher-v5 #1</h1>", answer, ">Findings<", ">Figures<", "Figures that this run has no numbers for",
        "What measuring cost", "Every number, as last measured", "How to make it again",
    ]  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert f"gradlab report 1 --store {known}" in text
    assert "Seed: 1." in text


def test_each_figure_is_that_of_the_store_in_both_themes_with_its_caption(known):
    page = report_html(known)
    figures = of_run(known)
    found = drawn(page)
    assert list(found) == [
        f"run-1-{name}-data"
        for name in (
            "wrong-direction", "field-first", "field", "field-critics", "state-look",
            "gradient-error", "simulator-error", "error-parts", "landscape",
            "curvature", "critic-gradient", "cost",
        )
    ]  # fmt: skip
    whole = json.loads(figures.landscape("light").to_json(validate=False, engine="json"))
    dark = json.loads(figures.landscape("dark").to_json(validate=False, engine="json"))
    one = found["run-1-landscape-data"]
    assert one["figure"] == whole
    assert one["config"]["showSendToCloud"] is False
    for path, *value in one["dark"]:
        place = whole
        for key in path[:-1]:
            place = place[key]
        if value:
            place[path[-1]] = value[0]
        else:
            del place[path[-1]]
    assert whole == dark
    caption = re.search(r'id="run-1-landscape">.*?<figcaption>(.*?)</figcaption>', page, re.DOTALL)[1]
    assert "2 measurements, steps 1,000 to 2,000; n = 16 states each" in caption
    assert "<dt>relative gap: </dt><dd>The gap as a share of the range of Q over the action box.</dd>" in caption
    assert "against: simulator, H=50" in page


def test_changes_are_what_differs():
    old = {"a": {"b": [1, 2, {"c": 3}]}, "gone": 1, "same": "x"}
    new = {"a": {"b": [1, 2, {"c": 4}]}, "same": "x", "more": None}
    assert changes(old, new) == [[["gone"]], [["a", "b", 2, "c"], 4], [["more"], None]]
    assert changes([1, 2], [1]) == [[[], [1]]]


def test_the_same_store_gives_the_same_bytes_within_the_limit(known, tmp_path):
    first = write_report(tmp_path / "a.html", known).read_bytes()
    second = write_report(tmp_path / "b.html", known, [1]).read_bytes()
    assert first == second
    assert len(first) < 6e6
    # Eight of them are still a report.
    assert len(first) - len(plotly_js().encode()) < 148_000
    assert list(tmp_path.glob(".*")) == []


def test_nothing_is_asked_of_another_machine(known):
    page = report_html(known)
    text = without_scripts(page)
    assert not re.findall(r'(?:src|href|action|data)="(?!#)', text)
    assert "@import" not in text
    assert "url(" not in text
    assert page.count(plotly_js()) == 1
    assert not [one for one in re.findall(r"https?://[^\s\"'<)]+", text) if urlsplit(one).netloc]


def test_text_from_a_store_is_text(tmp_path):
    with open_store(tmp_path / "gradlab.db") as store:
        config = {"note": EVIL, "left_out": {EVIL: EVIL}, "versions": {EVIL: EVIL}, "command": EVIL, "budget": 0.03}
        run = store.start_run(EVIL, algorithm=EVIL, environment=EVIL, library=EVIL, config=config)
        numbers = {f"{EVIL}/{number}": Estimate(1.0, 0.1, 8, EVIL, EVIL) for number in range(60)}
        run.record(1, EVIL, Measurement(numbers, notes=(EVIL,)), cost=0.1)
        run.record(2, EVIL, None, cost=0.1, status="failed", message=EVIL)
        run.record(2, "field", None, cost=0.1, status="skipped", message=EVIL)
        run.finish("failed", EVIL)
        page = report_html(store)
    text = without_scripts(page)
    # What is left of a page without its own scripts holds no element that its writer did not make.
    assert "<img" not in text
    assert "alert(2)</script>" not in page
    allowed = {
        "html", "head", "meta", "title", "style", "body", "main", "section", "div", "span", "p", "h1", "h2", "h3", "a",
        "ul", "li", "figure", "figcaption", "details", "summary", "dl", "dt", "dd", "table", "thead", "tbody", "tr",
        "th", "td", "pre", "footer", "noscript", "hr",
    }  # fmt: skip
    assert set(re.findall(r"<([a-zA-Z][\w-]*)", text)) <= allowed
    assert html.escape(EVIL) in text
    # Of its sixty numbers four pages are drawn, and the table has all.
    assert len(re.findall(r'id="run-1-probe-1-\d"', text)) == 4
    assert "60 numbers" in text


def test_only_the_two_scripts_of_the_page_may_run(known):
    page = report_html(known)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = policy.split(";")[1]
    assert scripts.count("sha256-") == 2
    assert "unsafe" not in scripts
    assert len(re.findall(r"<script>", page)) == 2


def test_several_runs_have_an_index(store_path, recorder):
    recorder.record(1000)
    with open_store(store_path) as store:
        store.start_run("second", algorithm="SAC").finish()
        page = report_html(store, ["second", 1, "1"])
    text = without_scripts(page)
    assert "<h1>2 runs</h1>" in text
    links = re.findall(r'href="#(run-\d+)"', text)
    assert links == ["run-2", "run-1"]
    assert all(f'id="{one}"' in text for one in links)
    assert page.count(plotly_js()) == 1
    ids = re.findall(r' id="([^"]+)"', page.replace(plotly_js(), ""))
    assert len(ids) == len(set(ids))
    assert "Waiting for the first measurement." in text


def test_a_run_without_numbers_has_a_report_that_says_so(tmp_path):
    with open_store(tmp_path / "gradlab.db") as store:
        store.start_run("mine")
        page = report_html(store)
    assert "Waiting for the first measurement." in page
    assert drawn(page) == {}
    assert "this run has no probe landscape" in page


def test_findings_hold_known_evidence(tmp_path):
    with open_store(tmp_path / "gradlab.db") as store:
        run = store.start_run("mine", config={"budget": 0.03})
        against = {"samples": 16, "reference": "simulator, H=50"}
        run.record(1000, "simulator", Measurement({"deterministic/cosine": Estimate(-0.5, 0.1, **against)}), cost=0.1)
        run.record(2000, "simulator", None, cost=1.0, status="skipped", message="GradlabError: no plateau")
        biased = {
            "score-function/bias_squared": Estimate(0.5, 0.1, 32, "critic"),
            "zeroth-order-2/bias_squared": Estimate(0.1, 0.1, 32, "critic"),
            "deterministic/bias_squared": Estimate(1e-16, 0.0, 32, "critic"),
        }
        run.record(1000, "gradient", Measurement(biased))
        shares = {
            "relative_gap": Estimate(0.4, 0.02, 16),
            "relative_own_fit": Estimate(0.1, 0.02, 16),
            "relative_basin_choice": Estimate(0.3, 0.02, 16),
            "best_basin_share": Estimate(0.1, 0.05, 16, scale="share"),
        }
        run.record(1000, "landscape", Measurement(shares))
        run.record(1000, "curvature", None, cost=0.1, status="failed", message="ValueError: no")
        run = of_run(store).run
        found = findings(Facts(run.series, run.probes, run.info))
    said = "\n".join(f"{one.text} {one.evidence}" for one in found)
    against_it = next(one for one in found if "goes against the simulator's" in one.text)
    assert "Cosine −0.50, −0.71 to −0.29; n = 16 episodes, step 1,000" in against_it.evidence
    assert against_it.verdict == "bad"
    assert "score function 0.5 (0.3 to 0.7)" in said
    assert "zeroth order" not in said
    assert "deterministic" not in said
    assert "most of it by its choice of a basin (own fit 10 %, basin choice 30 %)" in said
    assert "On only 10 %" in said
    assert "1 of 2 measurements of the probe simulator gave no number. The last that gave none at step 2,000" in said
    assert "The probe curvature failed once. The last time at step 1,000: ValueError: no" in said
    verdicts = [one.verdict for one in found]
    assert verdicts == sorted(verdicts, key=["bad", "doubtful", "unknown", "good"].index)
    # The report says the same.
    page = html.unescape(report_html(tmp_path / "gradlab.db"))
    assert all(one.text.replace(" %", "\u00a0%") in page for one in found)
    assert all(one.evidence.replace(" %", "\u00a0%") in page for one in found)


def test_a_report_too_large_is_refused_and_says_how_many_runs_fit(known, tmp_path, monkeypatch):
    with open_store(known) as store:
        for number in range(3):
            run = store.start_run(f"more {number}")
            run.record(1, "mine", Measurement({f"n{i}": Estimate(1.0, 0.1, 8) for i in range(40)}))
    monkeypatch.setattr("dashboards.reports.write.LARGEST", len(plotly_js().encode()) / 1e6 + 0.15)
    with pytest.raises(GradlabError, match=r"MB of 4 runs, more than the [\d.]+ that a report may be; name [123] of"):
        write_report(tmp_path / "r.html", known, [1, 2, 3, 4])
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none/r.html", "there is no directory"),
        (".", "is a directory"),
        ("gradlab.db", "is a store, and would be lost"),
    ],
    ids=["no directory", "a directory", "a store"],
)
def test_a_place_that_cannot_be_written_is_one_line(known, tmp_path, path, said):
    before = known.read_bytes()
    with pytest.raises(GradlabError, match=said) as error:
        write_report(tmp_path / path, known)
    assert "\n" not in str(error.value)
    assert known.read_bytes() == before


def test_markup_escapes_what_it_did_not_make():
    assert tag("p", "<b>", Markup("<i></i>"), None, title='"<') == '<p title="&quot;&lt;">&lt;b&gt;<i></i></p>'
    assert tag("hr") == "<hr>"
