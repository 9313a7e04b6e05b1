"""The incremental copy of a store, the states it can be in, and what the page says about them."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import numpy as np
import pytest

from dashboards import parts
from dashboards.answer import answer, printed_cosine, tiles
from dashboards.callbacks import chosen_run, token_of
from dashboards.growing import Growing
from dashboards.pages.field import choices, state_text
from dashboards.records import Records
from dashboards.series import COLUMNS, Key, Series, collect
from dashboards.showing import absent_of, known_of
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import Store, open_store

SHARE = Key("simulator", "deterministic/wrong_direction", "simulator, H=50")


@pytest.fixture
def records(store_path):
    known = Records(str(store_path), patience=0.0)
    yield known
    known.close()


def test_the_copy_grows_with_the_store_and_equals_it(store_path, recorder, records):
    assert records.view().condition == "ok"
    for step in (1000, 3000, 2000):
        recorder.record(step)
        records.view()
    with open_store(store_path, readonly=True) as store:
        whole = collect(store.scalars(run=1))
    copy = records.series(1)
    assert copy.keys() == whole.keys()
    for key, one in whole.items():
        assert copy[key].step.tolist() == [1000, 2000, 3000]
        assert copy[key].value.tolist() == one.value.tolist()
    assert [step for step, _ in records.fields(1)] == [1000, 2000, 3000]


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_that_grew_equals_one_read_at_once(store_path, records, seed):
    """Runs that are opened early, late and never, records out of order, several writers in turns."""
    rng = np.random.default_rng(seed)
    with open_store(store_path) as store:
        runs = [store.start_run(name=str(i)) for i in range(3)]
        records.view()
        for _ in range(60):
            run = runs[rng.integers(3)]
            noise = Estimate(float(rng.normal()), 0.1, 8, reference=str(rng.integers(2)))
            made = Measurement({f"x{rng.integers(3)}": noise})
            status = "ok" if rng.random() < 0.8 else "skipped"
            run.record(int(rng.integers(50)), "abc"[rng.integers(3)], made, status=status)
            if rng.random() < 0.5:
                records.view()
            if rng.random() < 0.2:
                records.run(runs[rng.integers(2)].id)
        records.view()
        fresh = Records(str(store_path), patience=0.0)
        fresh.view()
        for run in runs:
            grown, whole = records.run(run.id), fresh.run(run.id)
            assert repr(grown.probes) == repr(whole.probes)
            assert grown.series.keys() == whole.series.keys()
            for key, one in whole.series.items():
                for column in COLUMNS:
                    np.testing.assert_array_equal(getattr(grown.series[key], column), getattr(one, column))
        fresh.close()


def test_a_run_is_read_when_it_is_looked_at(store_path, recorder, records, monkeypatch):
    recorder.record(1000)
    with open_store(store_path) as store:
        other = store.start_run(name="other")
        other.record(1, "gradient", recorder.gradient(1))
        read = []
        scalars = Store.scalars
        monkeypatch.setattr(
            Store, "scalars", lambda self, **more: read.append(more.get("run", "all")) or scalars(self, **more)
        )
        assert len(records.view().runs) == 2
        assert read == []
        assert records.series(1)
        assert read == [1]
        other.record(2, "gradient", recorder.gradient(2))
        records.view()
        assert read == [1]
        assert {one.step.tolist() == [1, 2] for one in records.series(other.id).values()} == {True}


def test_a_store_that_nobody_touched_is_not_read_again(store_path, recorder, records, monkeypatch):
    recorder.record(1000)
    asked = []
    since = Store.since
    monkeypatch.setattr(Store, "since", lambda self, *known: asked.append(self) or since(self, *known))
    records.view()
    records.view()
    assert len(asked) == 2, "what was changed just now may change again within the tick of a file's clock"
    monkeypatch.setattr("dashboards.records._RESTED", -(10**18))
    records.view()
    records.view()
    assert len(asked) == 2
    recorder.run.heartbeat(1500)
    assert records.view().runs[0].step == 1500
    store_path.chmod(0o400)
    records.view()
    assert len(asked) == 4


def until(true) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_run_that_is_read_later_is_what_it_would_be_read_at_once(store_path, recorder, records):
    recorder.record(1000)
    records.view()
    assert not records.knows(1)
    records.read_later(1)
    # What is written meanwhile, or just afterwards, is not lost.
    recorder.record(2000)
    until(lambda: records.view() and records.knows(1))
    recorder.record(3000)
    records.view()
    fresh = Records(str(store_path), patience=0.0)
    fresh.looking_at([1])
    grown, whole = records.run(1), fresh.run(1)
    fresh.close()
    assert repr(grown.probes) == repr(whole.probes)
    assert {key: one.step.tolist() for key, one in grown.series.items()} == {
        key: [1000, 2000, 3000] for key in whole.series
    }


def test_a_run_that_cannot_be_read_later_is_told_of_and_leaves_the_others(store_path, recorder, records):
    recorder.record(1000)
    with open_store(store_path) as store:
        store.start_run(name="damaged").record(1, "gradient", recorder.gradient(1))
    with closing(sqlite3.connect(store_path)) as connection:
        connection.execute("update measurements set notes = '{' where run_id = 2")
        connection.commit()
    assert records.looking_at([1]).condition == "ok"
    run = records.view().runs[1]
    before = known_of(records, records.view(), run, run.last_seen)
    records.read_later(2)
    until(lambda: records.why_unread(2))
    assert not records.knows(2)
    assert records.view().condition == "ok"
    assert known_of(records, records.view(), run, run.last_seen) != before
    with closing(sqlite3.connect(store_path)) as connection:
        connection.execute("update measurements set notes = '[]'")
        connection.commit()
    records.read_later(2)
    until(lambda: records.view() and records.knows(2))
    assert not records.why_unread(2)


def test_who_is_told_of_news_sees_them_although_others_have_just_looked(store_path, recorder):
    patient = Records(str(store_path), patience=1000.0)
    recorder.record(1000)
    patient.looking_at([1])
    before = patient.news()
    recorder.record(2000)
    patient.view()
    assert patient.series(1)[SHARE].step.tolist() == [1000]
    assert patient.news() != before
    patient.view()
    assert patient.series(1)[SHARE].step.tolist() == [1000, 2000]
    patient.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_series_that_grows_equals_one_that_is_copied_and_leaves_what_it_gave_out(seed):
    rng = np.random.default_rng(seed)

    def some(first: int) -> Series:
        step = np.sort(first + rng.integers(0, 5, int(rng.integers(1, 6))))
        return Series(step, *rng.normal(size=(4, len(step))), rng.integers(1, 9, len(step)), "critic")

    copied = some(0)
    growing, given = Growing(copied), []
    for _ in range(60):
        late = rng.random() < 0.2
        more = some(int(copied.step[-1]) - (4 if late else 0))
        copied = copied.extended(more)
        given.append((growing.extended(more), copied))
    for ours, theirs in given:
        for column in COLUMNS:
            np.testing.assert_array_equal(getattr(ours, column), getattr(theirs, column))


def test_a_damaged_run_leaves_the_others_readable(store_path, recorder, records):
    recorder.record(1000)
    with open_store(store_path) as store:
        store.start_run(name="damaged").record(1, "gradient", recorder.gradient(1))
    with closing(sqlite3.connect(store_path)) as connection:
        connection.execute("update measurements set notes = '{' where run_id = 2")
        connection.commit()
    assert records.view().condition == "ok"
    assert records.looking_at([1]).condition == "ok"
    assert records.series(1)
    assert records.looking_at([1, 2]).condition == "unreadable"
    assert records.series(1)
    with closing(sqlite3.connect(store_path)) as connection:
        connection.execute("update measurements set notes = '[]'")
        connection.commit()
    assert records.looking_at([1, 2]).condition == "ok"
    assert records.series(2)


def test_nothing_new_changes_nothing(recorder, records):
    recorder.record(1000)
    first = token_of(records, records.view().runs[0])
    again = token_of(records, records.view().runs[0])
    assert first == again
    recorder.run.heartbeat(1500)
    assert records.view().runs[0].step == 1500
    assert token_of(records, records.view().runs[0]) == first
    recorder.record(2000)
    assert token_of(records, records.view().runs[0]) != first


def test_a_missing_store_is_waited_for(store_path, records):
    view = records.view()
    assert view.condition == "missing"
    assert "no store at" in str(parts.notice(view, records.name, None, 0.0))
    with open_store(store_path) as store:
        assert records.view().condition == "empty"
        store.start_run(name="first")
        assert [run.name for run in records.view().runs] == ["first"]


def test_a_store_that_is_not_ours_says_so_and_recovers(store_path, records):
    with closing(sqlite3.connect(store_path)) as connection:
        connection.execute("create table other (x)")
    view = records.view()
    assert view.condition == "unreadable"
    assert str(store_path) in view.message
    store_path.unlink()
    with open_store(store_path) as store:
        store.start_run()
    assert records.view().condition == "ok"


def test_a_store_of_another_version_says_so(store_path, records):
    open_store(store_path).close()
    with closing(sqlite3.connect(store_path)) as connection:
        connection.execute("pragma user_version = 999")
    view = records.view()
    assert view.condition == "unreadable"
    assert "999" in view.message


def test_a_replaced_store_is_read_anew(store_path, recorder, records, tmp_path):
    recorder.record(1000)
    assert records.view().runs[0].name == "TD3 Reacher-v5 #1"
    assert records.series(1)
    other = tmp_path / "other.db"
    with open_store(other) as store:
        store.start_run(name="other")
    for ending in ("", "-wal", "-shm"):
        store_path.with_name(store_path.name + ending).unlink(missing_ok=True)
    other.rename(store_path)
    assert [run.name for run in records.view().runs] == ["other"]
    assert not records.series(1)


def test_a_vanished_store_keeps_what_was_read(store_path, recorder, records):
    recorder.record(1000)
    assert records.view().runs
    assert records.series(1)
    for ending in ("", "-wal", "-shm"):
        store_path.with_name(store_path.name + ending).unlink(missing_ok=True)
    view = records.view()
    assert view.condition == "missing"
    assert view.runs
    assert records.series(1)
    assert "still shown" in str(parts.notice(view, records.name, None, 0.0))


def test_a_path_that_is_none_is_refused():
    with pytest.raises(GradlabError, match="mysql is not supported"):
        Records("mysql://host/lab")


def test_skipped_and_failed_measurements_are_counted_and_shown(recorder, records):
    recorder.run.record(1, "gradient", recorder.gradient(1), cost=0.5)
    recorder.run.record(2, "gradient", status="skipped", message="over budget")
    recorder.run.record(3, "gradient", status="failed", message="RuntimeError: <b>NaN</b>")
    view = records.view()
    summary = records.run(1).probes["gradient"]
    assert (summary.ok, summary.skipped, summary.failed, summary.cost) == (1, 1, 1, 0.5)
    shown = str(parts.probe_rows(dict(records.run(view.runs[0].id).probes), 60.0))
    assert "1 skipped" in shown
    assert "1 failed" in shown
    assert "RuntimeError: <b>NaN</b>" in shown


def test_a_silent_run_is_called_so(recorder, records):
    run = records.view().runs[0]
    assert parts.status(run, run.last_seen + parts.STALE - 1) == "running"
    assert parts.status(run, run.last_seen + parts.STALE + 1) == "stale"
    assert "silent" in str(parts.notice(records.view(), "store", run, run.last_seen + 1000))
    recorder.run.finish("failed", "out of memory")
    run = records.view().runs[0]
    assert parts.status(run, run.last_seen + 1000) == "failed"
    assert "out of memory" in str(parts.notice(records.view(), "store", run, run.last_seen))


def test_the_answer_is_the_newest_simulator_measurement(recorder, records):
    assert answer(records.series(1)).verdict == "unknown"
    recorder.run.record(500, "gradient", recorder.gradient(500))
    records.view()
    assert "No simulator measurement yet" in answer(records.series(1)).text
    for step, share in ((12_000, 0.31), (8_000, 0.9)):
        wrong = Estimate(share, 0.03, 32, "simulator")
        recorder.run.record(step, "simulator", Measurement({"deterministic/wrong_direction": wrong}))
    records.view()
    said = answer(records.series(1))
    # 0.03 · t(31, 0.975) = 0.061
    assert (
        "Step 12,000: the critic's action gradient points the wrong way on 31 % (25 to 37 %) of the states" in said.text
    )
    assert "n = 32 episodes" in said.text
    assert said.verdict == "bad"
    first = tiles(records.series(1))[0]
    assert (first.value, first.interval, first.detail) == ("31 %", "25 to 37 %", "n = 32 episodes · step 12,000")


@pytest.mark.parametrize(
    ("share", "stderr", "verdict"),
    [
        (0.02, 0.01, "good"),
        (0.15, 0.01, "doubtful"),
        (0.5, 0.01, "bad"),
        (0.5, 0.25, "doubtful"),
        (0.02, 0.2, "doubtful"),
    ],
)
def test_verdicts(recorder, records, share, stderr, verdict):
    wrong = Estimate(share, stderr, 64, "simulator")
    recorder.run.record(10_000, "simulator", Measurement({"deterministic/wrong_direction": wrong}))
    records.view()
    assert answer(records.series(1)).verdict == verdict
    assert "early" not in answer(records.series(1)).text


def test_the_newest_run_is_shown_until_another_is_picked(store_path, recorder, records):
    with open_store(store_path) as store:
        store.start_run(name="second")
    view = records.view()
    assert chosen_run(view, None).name == "second"
    assert chosen_run(view, "1").id == 1
    assert chosen_run(view, "77").name == "second"


def test_states_and_critics_to_choose_from(recorder, records):
    recorder.record(1000)
    records.view()
    ((_, measurement_id),) = records.fields(1)
    critics, states, planes = choices(records, measurement_id)
    assert [one["label"] for one in critics] == ["critic 1", "critic 2", "followed"]
    assert [one["value"] for one in states] == ["0", "1", "2", "3"]
    assert [one["label"] for one in planes] == ["actions 1 and 2"]
    arrays = records.arrays(measurement_id)
    assert state_text(arrays, 1).startswith(f"state 2: s = ({float(arrays['obs'].values[1, 0]):.3g}, ")
    assert records.arrays(measurement_id) is arrays


def test_an_interval_that_is_not_symmetric_is_given_by_its_ends(store_path, recorder, records):
    wrong = Estimate(0.62, 0.1, 8, "simulator", scale="log")
    recorder.run.record(6000, "simulator", Measurement({"deterministic/wrong_direction": wrong}))
    records.view()
    low, high = wrong.interval()
    assert f"62 % ({100 * low:.0f} to {100 * high:.0f} %)" in answer(records.series(1)).text


def errors(known: dict[str, dict[str, tuple[float, float, float]]], step: int = 1000) -> dict:
    """Series of a probe ``gradient`` that measured once: estimator → metric → value and interval."""
    return {
        Key("gradient", f"{name}/{metric}", "critic"): Series(
            np.array([step]), *(np.array([x]) for x in (value, 0.1, low, high)), np.array([64]), reference="critic"
        )
        for name, metrics in known.items()
        for metric, (value, low, high) in metrics.items()
    }


def test_the_answer_names_the_stochastic_estimator_with_the_least_error():
    exact = {"mse": (0.0, 0.0, 0.0), "variance": (0.0, 0.0, 0.0)}
    small = {
        "mse": (0.5, 0.4, 0.6),
        "variance": (0.4, 0.3, 0.5),
        # ‖E g‖² = 10 · 0.4 = 4 and ‖r‖² = 4 / 0.5² = 16, so that the error is 0.5 / 16 = 0.031 of it.
        "snr": (10.0, 8.0, 12.0),
        "norm_ratio": (0.5, 0.4, 0.6),
        "cosine": (1.013, 0.97, 1.05),
    }
    large = {"mse": (2.0, 1.0, np.inf), "variance": (2.0, 1.0, np.inf)}
    known = errors({"deterministic": exact, "score-function": large, "zeroth-order-2": small})
    said = answer(known).text
    assert "given, zeroth order, two-point has the smallest mean squared error of one minibatch gradient" in said
    assert "minibatch gradient (0.031 ‖reference‖², cosine 1.00)." in said


@pytest.mark.parametrize("least", [(0.5, 0.4, 1.1), (0.5, 0.4, np.inf), (0.5, np.nan, np.nan)])
def test_errors_whose_intervals_overlap_cannot_be_told_apart(least):
    known = errors(
        {
            "score-function": {"mse": (1.5, 1.0, 2.0), "variance": (1.0, 0.9, 1.1)},
            "zeroth-order-2": {"mse": least, "variance": (0.4, 0.3, 0.5)},
            "score-function-baseline": {"mse": (9.0, 0.1 if np.isinf(least[2]) else 8.0, 10.0), "variance": (9, 8, 10)},
        }
    )
    said = answer(known).text
    assert "cannot be told apart: zeroth order, two-point; score function" in said
    assert ("baseline" in said) == (not np.isfinite(least[2]))


def test_an_error_that_was_not_measured_at_the_newest_step_is_left_out():
    at = {"variance": (1.0, 0.9, 1.1)}
    known = errors({"score-function": {"mse": (0.1, 0.09, 0.11), **at}}, step=500)
    known |= errors({name: {"mse": (v, v - 0.1, v + 0.1), **at} for name, v in (("a", 1.0), ("b", 2.0))}, step=1000)
    assert "given, a has the smallest" in answer(known).text


def test_a_cosine_is_printed_as_at_most_one_where_its_interval_holds_one():
    known = errors({"deterministic": {"cosine": (1.02, 0.9, 1.08)}})
    (point,) = known.values()
    assert printed_cosine(point) == "1.00"
    (sure,) = errors({"deterministic": {"cosine": (1.02, 1.01, 1.03)}}).values()
    assert printed_cosine(sure) == "1.02"
    shown = {tile.label: tile for tile in tiles({Key("simulator", "deterministic/cosine", "simulator"): point})}
    tile = shown["cosine with the simulator"]
    assert (tile.value, tile.interval) == ("1.00", "0.9 to 1.00")
    assert tile.raw == "estimate 1.02, interval 0.9 to 1.08"
    assert "estimate 1.02" in str(parts.tile_card(tile))


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(2.0, np.inf, "at least 2"), (-np.inf, 4.0, "at most 4"), (np.nan, np.nan, "no interval"), (2.0, 4.0, "2 to 4")],
)
def test_a_tile_says_an_interval_with_one_end(low, high, text):
    (point,) = errors({"x": {"y": (3.0, low, high)}}).values()
    assert tiles({Key("curvature", "ratio", ""): point})[-1].interval == text


def test_what_gave_no_number_is_known_with_its_reason(recorder, records):
    recorder.run.record(1000, "simulator", status="skipped", message="the background process is busy")
    records.view()
    assert absent_of(records, 1, "simulator") == [(1000, "the background process is busy")]
    recorder.run.record(2000, "simulator", status="skipped", message="no state passed its gate", cost=3.0)
    recorder.run.record(3000, "simulator", status="failed", message="GradlabError: no state passed", cost=3.0)
    records.view()
    assert absent_of(records, 1, "simulator") == [(2000, "no state passed its gate"), (3000, "no state passed")]
    assert absent_of(records, 1, "gradient") == absent_of(records, None, "simulator") == []
