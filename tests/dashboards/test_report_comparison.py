"""What a report says of several runs: numbers as worked out by hand, and what it does not compare."""

from __future__ import annotations

import html
import itertools
import math
import re

import numpy as np
import pytest
from scipy.stats import t as student

from dashboards.comparing import comparisons
from dashboards.one_run import read_run
from dashboards.reports import report_html
from dashboards.reports.comparison import comparison
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store

EVIL = "<script>alert(1)</script>"
COSINE, GAP = "simulator/deterministic/cosine", "landscape/relative_gap"
#: Of each algorithm, by seed: the cosine and the gap at the last step.
MADE = {"TD3": ([0.50, 0.54, 0.52], [0.10, 0.30, 0.20]), EVIL: ([0.90, 0.91, 0.95], [0.12, 0.33, 0.24])}


def write(store, algorithm, environment, seed, cosine, gap, steps=(1000, 2000)):
    run = store.start_run(algorithm=algorithm, environment=environment, seed=seed)
    for step in steps:
        early = 0.1 * (step < steps[-1])
        simulated = {"deterministic/cosine": Estimate(cosine - early, 0.02, 32, "simulator", scale="fisher")}
        run.record(step, "simulator", Measurement(simulated))
        run.record(step, "landscape", Measurement({"relative_gap": Estimate(gap + early, 0.01, 16)}))
    run.finish()


@pytest.fixture
def several(store_path):
    with open_store(store_path) as store:
        for algorithm, (cosines, gaps) in MADE.items():
            for seed, (cosine, gap) in enumerate(zip(cosines, gaps, strict=True)):
                write(store, algorithm, "Reacher-v5", seed, cosine, gap)
    return store_path


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def every(path) -> tuple[str, str]:
    """The report of all runs of a store: its source, and its text before the first run."""
    with open_store(path, readonly=True) as store:
        ids = [run.id for run in store.runs()]
    page = report_html(path, ids)
    text = html.unescape(re.sub(r"<[^>]*>", " ", without_scripts(page).partition("<h2>Each run</h2>")[0]))
    return page, re.sub(r"\s+", " ", text)


def read(store):
    return [read_run(store, run.id) for run in store.runs()]


def welch(one, two) -> tuple[float, float, float]:
    """Difference of the means of two groups of three, whose interquartile mean is their mean, with its interval."""
    a, b = np.array(one), np.array(two)
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(a) - 1) for part in parts)
    half = student.ppf(0.975, freedom) * math.sqrt(sum(parts))
    return a.mean() - b.mean(), a.mean() - b.mean() - half, a.mean() - b.mean() + half


def test_numbers_are_those_worked_out_by_hand(several):
    with open_store(several, readonly=True) as store:
        [one] = comparisons(store, read(store))
        assert set(one.found) == {COSINE, GAP}
        assert one.lacking == {}
        for place, scalar in enumerate((COSINE, GAP)):
            across = one.found[scalar]
            assert across.steps == (1000, 2000)
            for name, made in MADE.items():
                last = across.groups[name][-1]
                assert last.value == pytest.approx(np.mean(made[place]))
                assert last.samples == 3
            [(pair, found)] = across.differences.items()
            value, low, high = welch(*(MADE[name][place] for name in pair))
            assert found[-1].value == pytest.approx(value)
            # The standard error is a bootstrap's, of 2,000 draws.
            assert found[-1].interval() == pytest.approx((low, high), abs=0.06 * (high - low))
        assert one.judged == 2
        assert one.resolved(GAP) == []
        [(more, less, by)] = one.resolved(COSINE)
        assert (more, less) == (EVIL, "TD3")
        assert by.value == pytest.approx(np.mean(MADE[EVIL][0]) - np.mean(MADE["TD3"][0]))
        assert 0 < by.interval()[0] < by.value < by.interval()[1]


def test_the_page_says_first_what_is_resolved_and_names_are_text(several):
    page, text = every(several)
    assert f"TD3 and {EVIL} on Reacher-v5" in text
    assert "1 of 2 differences between algorithms is resolved. cosine with the simulator: " in text
    assert text.count(f"{EVIL} more than TD3 by 0.4 [") == 2
    assert "With 3 runs a group, a difference is resolved from about 2.3 standard deviations between seeds on" in text
    assert EVIL not in page
    assert page == every(several)[0]
    order = [text.index(part) for part in ("6 runs", "differences between", "resolved differences", "Over training")]
    assert order == sorted(order)


def test_what_is_not_resolved_is_not_said_to_differ(store_path):
    with open_store(store_path) as store:
        for algorithm, seed in itertools.product(("DDPG", "SAC"), (0, 1)):
            write(store, algorithm, "Reacher-v5", seed, 0.5 + 0.1 * seed, 0.2 + 0.1 * seed)
    _, text = every(store_path)
    assert "None of the 2 differences between algorithms is resolved" in text
    assert text.count(" none ") >= 2


def test_runs_of_different_tasks_are_not_compared(store_path):
    with open_store(store_path) as store:
        write(store, "TD3", "Reacher-v5", 0, 0.5, 0.1)
        write(store, "SAC", "Hopper-v5", 0, 0.9, 0.1)
        assert list(comparisons(store, read(store))) == []
    _, text = every(store_path)
    assert "Not compared, since numbers of different tasks do not compare" in text
    assert "differences between algorithms" not in text


def test_of_one_run_of_each_nothing_is_known(store_path):
    with open_store(store_path) as store:
        write(store, "TD3", "Reacher-v5", 0, 0.5, 0.1)
        write(store, "SAC", "Reacher-v5", 0, 0.9, 0.1)
    _, text = every(store_path)
    assert "Nothing is known about how algorithms differ" in text
    assert "0.5 (no interval)" in text


def test_one_algorithm_is_shown_over_its_seeds_and_one_run_alone_is_not(store_path):
    with open_store(store_path) as store:
        for seed in range(2):
            write(store, "TD3", "Reacher-v5", seed, 0.5 + seed / 10, 0.99)
        assert comparison(store, read(store)[:1]) is None
    _, text = every(store_path)
    assert "These runs are of one algorithm" in text
    assert "resolved differences" not in text
    # Seeds that agree say nothing of the next, and a cosine is printed within what one can be.
    assert "0.99 (no interval)" in text
    assert "Runs that all gave the same value say nothing of the next" in text
    assert re.search(r"0\.55 \[−0\.\d+, 1\]", text)


def test_runs_without_a_number_to_compare_say_so(store_path):
    with open_store(store_path) as store:
        for algorithm in ("TD3", "SAC"):
            store.start_run(algorithm=algorithm, environment="Reacher-v5").finish()
    _, text = every(store_path)
    assert "these runs have none of the numbers that are" in text


def test_a_number_that_one_algorithm_lacks_is_compared_between_the_others_and_each_by_its_own_objective(store_path):
    with open_store(store_path) as store:
        for algorithm, seed in itertools.product(("DDPG", "SAC", "TD3"), (0, 1)):
            run = store.start_run(algorithm=algorithm, environment="Reacher-v5", seed=seed)
            for step in (1000, 2000):
                objective = "γ=0.99" if algorithm != "SAC" else f"γ=0.99, entropy α={0.2 + step / 1e4 + seed}"
                gap = Estimate(0.2 + seed / 10, 0.01, 16, objective=objective)
                run.record(step, "landscape", Measurement({"relative_gap": gap}))
                if algorithm != "SAC":
                    cosine = Estimate(0.5 + seed / 10, 0.01, 16, "simulator", objective, scale="fisher")
                    run.record(step, "simulator", Measurement({"deterministic/cosine": cosine}))
            run.finish()
        [one] = comparisons(store, read(store))
        assert list(one.found[COSINE].groups) == ["DDPG", "TD3"]
        assert list(one.found[GAP].groups) == ["DDPG", "SAC", "TD3"]
        assert one.found[GAP].objective == "γ=0.99"
        assert one.judged == 4
    _, text = every(store_path)
    assert "relative gap: each by its own objective, as entropy coefficients differ" in text
    assert " — " in text
