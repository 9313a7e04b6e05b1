"""What is said of sick runs, and what is not said of healthy ones; numbers are those of examples/sick_runs.py."""

from __future__ import annotations

import numpy as np
import pytest
from sick_numbers import CHANGES, exact, healthy

from dashboards.answer import answer
from dashboards.finding import Facts
from dashboards.finding_rows import finding_rows
from dashboards.findings import findings
from dashboards.series import collect
from dashboards.sickness import sickness
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


def facts(sickness: str, steps=(500, 1000, 1500, 2000, 2500), onset: int = 1500) -> Facts:
    with open_store(_PLACE[0]) as store:
        run = store.start_run(sickness)
        for step in steps:
            numbers = healthy(step) | (CHANGES[sickness] if step >= onset else {})
            run.record(step, "health", Measurement(numbers))
        return Facts(collect(store.scalars(run=run.id)), {}, store.runs()[-1])


_PLACE: list[str] = []


@pytest.fixture(autouse=True)
def place(tmp_path):
    _PLACE[:] = [str(tmp_path / "gradlab.db")]


def test_nothing_is_said_of_a_healthy_run_at_any_time():
    for end in range(1, 6):
        found = list(sickness(facts("healthy", (500, 1000, 1500, 2000, 2500)[:end])))
        # Right after training has begun many are saturated for a moment: that is no verdict yet.
        assert [one.verdict for one in found] == (["doubtful"] if end == 2 else [])
    assert answer(facts("healthy").series).verdict != "bad"


def test_a_healthy_run_of_little_training_is_said_to_be_early_and_not_to_be_bad():
    # What TD3 measured on Reacher-v5 after 6,000 steps: no better than a coin, as every critic begins.
    wrong = {"deterministic/wrong_direction": Estimate(0.53, 0.12, 15, "simulator", ends=(0.29, 0.76))}
    with open_store(_PLACE[0]) as store:
        run = store.start_run("young")
        run.record(6000, "health", Measurement(healthy(6000)))
        run.record(6000, "simulator", Measurement(wrong))
        young = Facts(collect(store.scalars(run=run.id)))
        assert answer(young.series).verdict == "doubtful"
        assert "points the wrong way on 53 % (29 to 76 %)" in answer(young.series).text
        assert "That is early" in answer(young.series).text
        assert [one.verdict for one in findings(young)] == ["doubtful"]
        # The same of a run that had the time to learn.
        run.record(10_000, "simulator", Measurement(wrong))
        grown = Facts(collect(store.scalars(run=run.id)))
        assert answer(grown.series).verdict == findings(grown)[0].verdict == "bad"
        assert "early" not in answer(grown.series).text


def test_early_is_no_excuse_for_what_is_broken():
    wrong = {"deterministic/wrong_direction": Estimate(0.5, 0.05, 15, "simulator")}
    with open_store(_PLACE[0]) as store:
        run = store.start_run("young and sick")
        for step in (1500, 2000, 2500):
            run.record(step, "health", Measurement(healthy(step) | CHANGES["frozen critic"]))
        run.record(2500, "simulator", Measurement(wrong))
        known = Facts(collect(store.scalars(run=run.id)))
    assert answer(known.series).verdict == "bad"
    assert answer(known.series).text.startswith("The critic is frozen")
    assert "early" not in answer(known.series).text
    assert [one.verdict for one in findings(known)] == ["bad", "doubtful"]


@pytest.mark.parametrize(
    ("name", "text", "evidence"),
    [
        ("frozen critic", "The critic is frozen: it has not learned since before step 1,500", "is exactly 0"),
        ("frozen actor", "The actor is frozen", "3 times in a row"),
        ("saturated", "The actor is saturated", "100 % (94 to 100 %; n = 64 states, step 2,500)"),
        ("not refreshed", "The replay is far off policy: it is not refreshed", "0 % are in the replay"),
        ("far off policy", "The replay is far off policy: states", "60 % ("),
    ],
)
def test_each_sickness_is_said_first_with_its_evidence_and_what_to_do(name, text, evidence):
    known = facts(name)
    [one] = list(sickness(known))
    assert one.verdict == "bad"
    assert one.text.startswith(text)
    assert evidence in one.evidence
    assert "step 2,500" in one.evidence or "in a row" in one.evidence
    assert "told" in one.evidence.lower() or "below" in one.evidence
    assert one.remedy
    said = answer(known.series)
    assert said.text.startswith(text)
    assert said.verdict == "bad"
    assert findings(known)[0] == one
    shown = str(finding_rows([one], running=True))
    assert all(part.replace(" %", "\u00a0%") in shown for part in (one.text, one.remedy))


def test_a_frozen_critic_is_told_with_how_its_error_went():
    [one] = list(sickness(facts("frozen critic")))
    assert "3 times in a row, from step 1,500 on" in one.evidence
    assert "The TD error on the replay was 0.24 then and is 0.24" in one.evidence


def test_what_both_do_not_do_is_no_sickness():
    # Before training begins, or after it has ended, neither moves.
    numbers = healthy(2000) | {"actor/change": exact(0.0), "critic/change": exact(0.0)}
    with open_store(_PLACE[0]) as store:
        run = store.start_run("still")
        for step in (1, 2, 3):
            run.record(step, "health", Measurement(numbers))
        assert list(sickness(Facts(collect(store.scalars())))) == []


def test_a_run_without_the_probe_is_no_sickness(recorder, store_path):
    recorder.record(1000)
    with open_store(store_path, readonly=True) as store:
        series = collect(store.scalars())
    assert list(sickness(Facts(series))) == []
    assert np.isfinite(next(iter(series.values())).value).all()
