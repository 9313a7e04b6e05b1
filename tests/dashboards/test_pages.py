"""What pages say and hold without a browser: addresses, steps, findings, definitions, and runs beside each other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from dash import no_update

from dashboards import figures, parts
from dashboards.answering import said_of
from dashboards.callbacks import COMPARED, changed, chosen_run, compared, contents, page_of, token_of
from dashboards.figures.compared import Number
from dashboards.finding import Facts
from dashboards.finding_rows import finding_rows
from dashboards.findings import findings
from dashboards.known_run import RunRecords
from dashboards.moving import moved, told
from dashboards.pages import PAGES, Query, Seen
from dashboards.records import Records
from dashboards.said import share_of
from dashboards.series import Key, Series
from dashboards.showing import KINDS, together
from dashboards.style import PALETTE, run_look
from dashboards.terms import counted_of, definitions
from dashboards.timeline import extent, nearest, picture_at, stops
from dashboards.words import CURVATURE, METRICS
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


@pytest.fixture
def records(store_path):
    known = Records(str(store_path), patience=0.0)
    yield known
    known.close()


def seen(records: Records) -> Seen:
    run = records.view().runs[0] if records.view().runs else None
    number = run.id if run is not None else None
    return Seen(run, records.series(number), records.run(number))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path or "overview")
def test_every_page_says_one_thing_in_every_state(page, records, recorder):
    assert page.answer(Seen(None, {}, RunRecords())).verdict == "unknown"
    before = page.answer(seen(records))
    assert before.verdict in ("unknown", "fact")
    recorder.record(1000)
    records.view()
    after = page.answer(seen(records))
    assert after.text != before.text
    assert after.verdict != "unknown"


def test_paths_are_told_apart_and_keys_suffice_for_them():
    paths = [page.path for page in PAGES]
    assert len(set(paths)) == len(paths) <= 9
    assert all(page_of({"path": path}) is page for path, page in zip(paths, PAGES, strict=True))
    assert page_of({"path": "../etc"}) is None


@pytest.mark.parametrize("value", ["x", "-1", "1e3", "９", "999999", "<b>"])
def test_a_number_of_an_address_is_one_or_nothing(value):
    assert Query({"state": value}).number("state") == "0"


def test_choices_of_an_address_are_what_is_offered():
    query = Query({"metrics": "mse,<b>,cosine", "reference": "evil"})
    assert query.many("metrics", ["variance"], METRICS) == ["mse", "cosine"]
    assert query.one("reference", "gradient", ["gradient", "simulator"]) == "gradient"


def test_the_slider_stops_where_the_page_has_measurements(recorder, records):
    for step in (1000, 2000, 3000):
        recorder.record(step, simulator=step == 2000)
    recorder.run.record(3500, "gradient", recorder.gradient(3500))
    records.view()
    assert extent(records, 1) == (1000, 3500)
    assert extent(records, None) is None
    assert stops(records, 1).tolist() == [1000, 2000, 3000, 3500]
    assert stops(records, 1, ["field"]).tolist() == [1000, 2000, 3000]
    assert stops(records, 1, ["simulator"]).tolist() == [2000]
    recorder.run.record(2000, "simulator", recorder.simulator(2000))
    records.view()
    assert stops(records, 1, ["simulator"]).tolist() == [2000]
    assert picture_at(records, 1, 3500) == records.fields(1)[-1]
    assert picture_at(records, 1, 1499)[0] == 1000
    assert picture_at(records, 7, 10) is None


@pytest.mark.parametrize(("at", "place"), [(0, 0), (1499, 0), (1500, 1), (9999, 2), (None, 2), ("3", 2)])
def test_the_nearest_stop(at, place):
    assert nearest(np.array([1000, 2000, 3000]), at) == place


def test_at_most_eight_runs_that_are_there_are_compared(store_path, records):
    with open_store(store_path) as store:
        for _ in range(11):
            store.start_run()
    view = records.view()
    ticked = [str(number) for number in (3, 77, 3, 1, 2, 4, 5, 6, 7, 8, 9, 10)]
    found = compared(view, ticked)
    assert found == [3, 1, 2, 4, 5, 6, 7, 8]
    token = token_of(records, chosen_run(view, "11"), found)
    assert len(together(token)) == COMPARED
    assert 11 in together(token)
    assert together(token_of(records, view.runs[0], [view.runs[0].id])) == [11]


def test_a_token_says_when_there_is_a_new_kind_of_number(records, recorder):
    def token():
        return token_of(records, records.view().runs[0])

    recorder.run.record(1, "gradient", recorder.gradient(1))
    first = token()
    recorder.run.record(2, "gradient", recorder.gradient(2))
    assert token()["last"][KINDS] == first["last"][KINDS]
    assert token()["last"]["gradient"] > first["last"]["gradient"]
    recorder.run.record(3, "mine", status="skipped", message="not yet")
    named = token()["last"][KINDS]
    recorder.run.record(4, "mine")
    measured = token()["last"][KINDS]
    recorder.run.record(5, "mine", Measurement({"x": Estimate(1.0, 0.1, 8)}))
    assert first["last"][KINDS] < named < measured < token()["last"][KINDS]


def test_a_token_changes_with_the_runs_beside(store_path, records, recorder):
    with open_store(store_path) as store:
        other = store.start_run(name="other")
        first = token_of(records, chosen_run(records.view(), "1"), [2])
        other.record(1, "curvature", Measurement({"ratio": Estimate(1.0, 0.1, 9)}))
        assert token_of(records, chosen_run(records.view(), "1"), [2]) != first
        alone = token_of(records, chosen_run(records.view(), "1"), [])
        other.record(2, "curvature", Measurement({"ratio": Estimate(1.0, 0.1, 9)}))
        assert token_of(records, chosen_run(records.view(), "1"), []) == alone


def test_runs_look_alike_nowhere():
    looks = [run_look(run) for run in range(1, 3 * len(PALETTE))]
    assert len(set(looks)) == len(looks)
    assert len({look.symbol for look in looks[: len(PALETTE)]}) == len(PALETTE)


def runs_of(count: int, name: str = "ratio"):
    step = np.arange(5) * 1000
    value = np.linspace(1, 2, 5)
    return {
        (run, f"run <b>{run}</b>"): {
            Key("curvature", name, ""): Series(
                step, run * value, 0.1 * value, run * value - 0.2, run * value + 0.2, step
            )
        }
        for run in range(1, count + 1)
    }


@pytest.mark.parametrize("count", [2, 8])
def test_compared_runs_have_their_colours_and_bands_that_can_be_seen_through(count):
    figure = figures.compared(runs_of(count), "curvature", [Number("ratio", CURVATURE["ratio"])])
    lines = [trace for trace in figure.data if trace.name]
    assert [trace.line.color for trace in lines] == [run_look(run).light for run in range(1, count + 1)]
    assert all("&lt;b&gt;" in trace.name for trace in lines)
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    alphas = {float(trace.fillcolor.rpartition(",")[2].rstrip(")")) for trace in bands}
    assert len(bands) == count
    # All over each other still let the grid through.
    assert 0 < 1 - np.prod([1 - alpha for alpha in alphas] * count) < 0.4
    assert max(len(trace.x) for trace in lines) == 5


@pytest.mark.parametrize(("columns", "lines"), [(1, 8), (2, 2)])
def test_the_legend_of_compared_runs_has_room(columns, lines):
    figure = figures.compared(runs_of(8), "curvature", [Number("ratio", CURVATURE["ratio"])], columns=columns)
    assert figure.layout.margin.t >= 20 * lines + 20


def test_compared_shows_what_one_of_the_runs_has():
    numbers = [Number(name, CURVATURE[name]) for name in ("ratio", "mixed_partial", "curvature", "valid_share")]
    figure = figures.compared(runs_of(3), "curvature", numbers)
    assert len([name for name in figure.layout if name.startswith("yaxis")]) == 1
    assert len([note for note in figure.layout.annotations if note.hovertext]) == 1


def test_a_compared_run_without_a_number_is_said():
    runs = {**runs_of(2), (3, "third <i>"): runs_of(3, "other")[3, "run <b>3</b>"]}
    figure = figures.compared(runs, "curvature", [Number("ratio", CURVATURE["ratio"])])
    assert figure.data[-1].name == "third &lt;i&gt;: not measured"
    assert len([trace for trace in figure.data if trace.name]) == 3


def test_findings_tell_of_direction_alarms_and_troubles(recorder, records):
    for step in range(1000, 16_000, 1000):
        recorder.record(step)
    huge = recorder.curvature(16_000).scalars | {"mixed_partial": Estimate(900.0, 0.3, 64)}
    recorder.run.record(16_000, "curvature", Measurement(huge))
    recorder.run.record(16_000, "landscape", status="failed", message="ValueError: <i>no</i>")
    records.view()
    found = findings(Facts(records.series(1), records.run(1).probes))
    assert any(one.page == "critic" and "wrong way" in one.text for one in found)
    assert any(one.page == "curvature" and "M jumps up, step 16,000" in one.text for one in found)
    failed = next(one for one in found if one.text == "The probe landscape failed once.")
    assert failed.evidence == "The last time at step 16,000: ValueError: <i>no</i>"
    assert found[0].verdict == "bad"
    assert "<i>no</i>" in str(finding_rows(found, running=True))
    assert {one.page for one in found} <= {page.path for page in PAGES}


def test_definitions_say_n_of_every_number(recorder, records):
    recorder.record(1000)
    recorder.record(2000)
    records.view()
    series = records.series(1)
    assert counted_of(series, "curvature", "ratio") == "n = 64 states at step 2,000"
    assert counted_of(series, "simulator", "cosine").endswith("episodes at step 2,000")
    assert counted_of(series, "gradient", "cosine") == "n = 32 draws at step 2,000"
    said = str(definitions(series, {"curvature": {"ratio": CURVATURE["ratio"], "hinge": CURVATURE["hinge"]}}))
    assert CURVATURE["ratio"].meaning in said
    assert "not measured yet" in said


def test_a_share_in_a_sentence_ends_where_shares_end():
    one = np.ones(1)
    # An interval that passes all is no share's; Wilson's does not, and is not cut.
    inside = Series(one, 0.9 * one, 0.1 * one, 0.7 * one, 0.97 * one, 16 * one)
    beyond = Series(one, 0.9 * one, 0.1 * one, 0.7 * one, 1.1 * one, 16 * one)
    assert share_of(inside) == "90 % (70 to 97 %)"
    assert share_of(beyond) == "90 % (55 to 99 %)"


def test_the_step_follows_the_newest_and_says_only_what_changed(recorder, records):
    recorder.record(1000)
    recorder.record(3000)
    records.view()
    low, top, value, at, said = moved(records, 1, PAGES[0], True, 0, 0, 0, None)
    assert (low, top, value, at) == (1000, 3000, 3000, [3000, 1, 2, [1000, 3000], 3000])
    assert said[0] == "step 3,000 "
    assert moved(records, 1, PAGES[0], True, low, top, value, at) == (no_update,) * 5
    *_, at, said = moved(records, 1, PAGES[0], False, low, top, 1200, at)
    assert (at[0], at[4], said[0]) == (1000, 1200, "step 1,000 ")
    # Nearer to the same measurement: nothing else is said.
    *_, at, said = moved(records, 1, PAGES[0], False, low, top, 1100, at)
    assert (at[0], at[4], said) == (1000, 1100, no_update)
    assert moved(records, None, None, True, 0, 0, 0, None) == (no_update,) * 3 + ([None, -1, 0, [], 0], "")


def test_a_search_is_in_what_the_shell_says(recorder, records):
    recorder.record(1000)
    view = records.view()
    run, now = view.runs[0], view.runs[0].last_seen
    content = contents(records, view, run, now, (), "nothing like it")
    assert "no run is called" in str([card() for card in content["runs"][1]()])


@pytest.mark.parametrize("path", ["", "gradient", "field", "landscape", "curvature", "critic"])
def test_a_page_speaks_of_the_step_that_is_looked_at(path, recorder, records):
    recorder.record(1000)
    run = records.view().runs[0]
    then = said_of(records, run, path)
    for step in (2000, 3000):
        recorder.record(step)
    run = records.view().runs[0]
    assert said_of(records, run, path, 1000) == then == said_of(records, run, path, 1999)
    assert said_of(records, run, path) == said_of(records, run, path, 3000) != then
    before = said_of(records, run, path, 999)
    assert before.verdict in ("unknown", "fact")
    assert before.text != then.text


def test_before_the_first_measurement_a_page_says_when_that_is(recorder, records):
    recorder.record(1000)
    said = said_of(records, records.view().runs[0], "curvature", 400)
    assert said.text == "Step 400 is before the first measurement of curvature, at step 1,000."


def damaged(path, *changes: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for change in changes:
            connection.execute(change)
        connection.commit()


def test_a_damaged_picture_is_said_and_others_are_shown(store_path, recorder, records):
    recorder.record(1000)
    recorder.record(2000)
    records.view()
    (_, first), (_, second) = records.fields(1)
    damaged(store_path, f"update arrays set data = x'00' where measurement_id = {second}")
    assert "q" in records.arrays(first)
    assert records.arrays(second) == {}
    assert "damaged" in records.damage(second)
    assert records.damage(first) == ""


@pytest.mark.parametrize(
    "change",
    ["update measurements set notes = '{' where id = 2", "update measurements set cost = 'x' where id = 2"],
    ids=["notes", "cost"],
)
def test_a_damaged_record_is_a_state_that_ends(change, store_path, recorder, records):
    recorder.record(1000)
    damaged(store_path, change)
    view = records.looking_at([1])
    assert view.condition == "unreadable"
    assert "a record is damaged" in view.message
    assert "The store is damaged" in str(parts.notice(view, "store", None, 0.0))
    damaged(store_path, "update measurements set notes = '[]', cost = 0.5 where id = 2")
    assert records.view().condition == "ok"
    assert [probe.ok for probe in records.run(1).probes.values()] == [1] * 5
    assert [len(probe.entries) for probe in records.run(1).probes.values()] == [1] * 5


def test_each_trouble_of_a_store_has_a_title_of_its_own(store_path, recorder, records):
    recorder.record(1000)
    view = records.view()
    run = view.runs[0]

    def title(**change) -> str:
        return parts.notice(replace(view, **change), "store", run, run.last_seen).title

    assert title(condition="missing") == "The store at store is gone"
    assert title(condition="missing", runs=()) == "There is no store at store yet"
    assert title(condition="unreadable", message="store x: has schema 9, newer") == (
        "The store was written by another version of gradlab"
    )
    assert title(condition="unreadable", message="it is damaged") == "The store is damaged"
    assert title(condition="unreadable", message="locked") == "The store cannot be read"
    assert title(condition="empty", runs=()) == "The store is empty"


def test_a_status_of_a_later_version_is_shown_as_it_is(recorder, records):
    run = replace(records.view().runs[0], status="migrating")
    assert "migrating" in str(parts.run_card(run, 0.0))
    assert "migrating" in str(parts.live(run, 0.0))


def test_of_the_list_of_runs_only_changed_cards_travel():
    whole = ["a", "b", "c", "and 3 older ones"]
    made = []
    cards = [lambda text=text: made.append(text) or text for text in whole]
    assert changed(cards, ["1", "2", "3", "all"], None) == whole
    assert changed(cards, ["1", "2", "3", "all"], ["1", "2", "all"]) == whole
    assert changed(cards, ["1", "2", "3", "all"], ["1", "2", "3", "others"]) == whole
    made.clear()
    patch = changed(cards, ["1", "9", "3", "all"], ["1", "2", "3", "all"]).to_plotly_json()
    assert [(step["location"], step["params"]["value"]) for step in patch["operations"]] == [([1], "b")]
    assert made == ["b"]


def test_a_page_is_told_all_stops_once_and_then_those_that_are_added(recorder, records):
    page = page_of({"path": "field"})
    assert told(records, None, page, None) == (no_update, None)
    for step in (1000, 2000):
        recorder.record(step)
    records.looking_at([1])
    whole, mark = told(records, 1, page, None)
    assert whole == {"run": 1, "epoch": records.epoch, "page": "field", "steps": [1000, 2000]}
    assert told(records, 1, page, mark) == (no_update, mark)
    recorder.record(3000)
    records.view()
    added, later = told(records, 1, page, mark)
    (one,) = added.to_plotly_json()["operations"]
    assert (one["operation"], one["location"], one["params"]["value"]) == ("Extend", ["steps"], [3000])
    # Of another page, or where one came between others, all of them are told.
    assert told(records, 1, page_of({"path": "gradient"}), later)[0]["page"] == "gradient"
    recorder.record(1500)
    records.view()
    assert told(records, 1, page, later)[0]["steps"] == [1000, 1500, 2000, 3000]


def test_a_page_is_not_told_more_stops_than_a_browser_should_have(recorder, records, monkeypatch):
    monkeypatch.setattr("dashboards.moving._TOLD", 2)
    page = page_of({"path": "field"})
    for step in (1000, 2000):
        recorder.record(step)
    records.looking_at([1])
    _, mark = told(records, 1, page, None)
    recorder.record(3000)
    records.view()
    forgotten, mark = told(records, 1, page, mark)
    assert forgotten is None
    assert told(records, 1, page, mark)[0] is no_update
