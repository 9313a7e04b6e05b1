"""What measuring cost: shares of wall time from known numbers, the figure, and the words beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dashboards import figures
from dashboards.cost_rows import cost_rows, trouble
from dashboards.costs import Costs, costs
from dashboards.entries import Entries, Entry
from dashboards.records import Records
from dashboards.summary import Failure, ProbeSummary
from gradlab.store import RunInfo, open_store


def run(step=10_000, elapsed=100.0, **config):
    return RunInfo(1, "r", "TD3", "E", "sb3", 0, config, 0.0, elapsed, step, "running", "")


def summary(*entries, **more):
    return ProbeSummary(entries=Entries(Entry(*entry) for entry in entries), **more)


CONFIG = {
    "budget": 0.03,
    "probes": {"gradient": {"every": 1000}, "field": {"every": [0, 4000, 9000, 20_000]}, "mine": {"every": "when f"}},
    "left_out": {"on-policy": "the agent's policy is deterministic"},
}


@pytest.fixture
def known() -> Costs:
    """Ten seconds for each thousand steps; the gradient could be afforded four times of eleven."""
    gradient = [(10.0 * i, 1000 * i, 0.5 if i in (1, 3, 5, 7) else 0.0, "inline") for i in range(1, 10)]
    return costs(
        run(**CONFIG),
        {
            "gradient": summary(*gradient, ok=4, skipped=5),
            "field": summary((5.0, 0, 6.0, "background"), (45.0, 4000, 4.0, "background"), ok=2),
            "mine": summary((30.0, 3000, 0.2, "inline"), (60.0, 6000, 0.0, "inline"), ok=1, skipped=1),
        },
    )


def test_spent_and_planned_are_shares_of_wall_time(known):
    found = {one.name: one for one in known.probes}
    assert (known.elapsed, known.budget) == (100.0, 0.03)
    # Due at steps 0, 1000, … 10,000; each would have taken half a second of a hundred.
    gradient = found["gradient"]
    assert (gradient.due, gradient.price, gradient.spent) == (11, 0.5, 0.02)
    assert gradient.planned == pytest.approx(11 * 0.5 / 100)
    # Chosen steps up to now: 0, 4000 and 9000; means of what was paid.
    field = found["field"]
    assert (field.where, field.due, field.price) == ("background", 3, 5.0)
    assert (field.spent, field.planned) == (pytest.approx(0.1), pytest.approx(0.15))
    # A function's schedule is only known by what came of it.
    assert (found["mine"].due, found["mine"].planned) == (2, pytest.approx(2 * 0.2 / 100))
    assert known.spent("inline") == pytest.approx(0.022)
    assert known.spent("background") == pytest.approx(0.1)


def test_a_probe_that_was_never_measured_has_no_price():
    (one,) = costs(run(probes={"mine": {"every": 5000}}), {}).probes
    assert (one.due, one.ok, one.spent) == (3, 0, 0.0)
    assert math.isnan(one.price)
    assert math.isnan(one.planned)
    assert "no price yet" in str(cost_rows(costs(run(probes={"mine": {"every": 5000}}), {})))


def test_a_loop_that_looks_only_at_the_end_of_rollouts_is_not_due_more_often():
    entries = [(float(step), step, 0.1, "inline") for step in range(4096, 40_961, 4096)]
    (one,) = costs(
        run(step=40_960, probes={"on-policy": {"every": 2000}}), {"on-policy": summary(*entries, ok=10)}
    ).probes
    assert one.due == 10


def test_a_probe_that_moved_into_the_training_process_has_a_row_for_each():
    entries = summary((1.0, 0, 0.5, "background"), (2.0, 1000, 0.4, "inline"), ok=2)
    found = {one.where: one for one in costs(run(), {"mine": entries}).probes}
    assert (found["background"].spent, found["inline"].spent) == (pytest.approx(0.005), pytest.approx(0.004))
    assert (found["background"].ok, found["inline"].ok) == (0, 2)


def test_each_process_over_time_ends_at_what_was_spent_and_planned(known):
    assert list(known.over_time) == ["inline", "background"]
    inline = known.over_time["inline"]
    assert list(inline.spent) == ["gradient", "mine"]
    assert (inline.seconds[0], inline.seconds[-1]) == (0.0, 100.0)
    assert inline.spent["gradient"][-1] == pytest.approx(2.0)
    assert inline.planned[-1] == pytest.approx(11 * 0.5 + 2 * 0.2)
    at = inline.seconds.tolist().index(30.0)
    assert inline.spent["gradient"][at] == pytest.approx(1.0)
    assert all((np.diff(line) >= 0).all() for line in (*inline.spent.values(), inline.planned))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_stacks_the_probes_beside_plan_and_budget(known, theme):
    figure = figures.cost(known, theme)
    above = [trace for trace in figure.data if trace.yaxis == "y"]
    assert [trace.name for trace in above] == ["gradient", "mine", "planned", "budget"]
    assert [float(trace.y[-1]) for trace in above] == pytest.approx([2.0, 2.2, 5.9, 3.0])
    assert above[0].customdata[-1] == pytest.approx([2.0, 2.0])
    assert "<br>%{customdata[0]:.3~g} s, %{customdata[1]:.2~r} % of the time" in above[0].hovertemplate
    below = [trace for trace in figure.data if trace.yaxis == "y2"]
    # The background has no budget.
    assert [trace.name for trace in below] == ["field", "planned"]
    texts = [note.text for note in figure.layout.annotations]
    assert "training process: 2.2 % of the time" in texts[0]
    assert "budget 3 %" in texts[0]
    assert "background process: 10 % of the time" in texts[1]
    assert "budget" not in texts[1]
    # Areas that are high enough have their names at their right ends.
    assert texts[2:] == ["gradient", "field"]


def test_without_a_limit_there_is_no_budget():
    found = costs(run(budget=None), {"mine": summary((1.0, 0, 0.5, "inline"), ok=1)})
    assert found.budget is None
    assert [trace.name for trace in figures.cost(found).data] == ["mine", "planned"]


def test_what_is_missing_is_said_with_count_and_reason(store_path):
    with open_store(store_path) as store:
        one = store.start_run(config=CONFIG)
        for step in (1, 2, 3):
            one.record(step, "gradient", status="skipped", message="over the budget of 3% of wall time")
        one.record(4, "gradient", status="skipped", message="too few observations yet")
        one.record(5, "mine", status="failed", message="ValueError: <b>row</b> 7", cost=0.1)
    records = Records(str(store_path), patience=0.0)
    view = records.view()
    found = costs(view.runs[0], records.run(1).probes)
    records.close()
    shown = str(cost_rows(found))
    assert "skipped 3 times: over the budget of 3% of wall time" in shown
    assert "skipped once: too few observations yet" in shown
    assert "step 5 failed: ValueError: <b>row</b> 7" in shown
    assert "the agent's policy is deterministic" in shown
    mine = next(one for one in found.probes if one.name == "mine")
    assert mine.failures == (Failure(5, 5, "ValueError: <b>row</b> 7"),)
    assert "Traceback" not in shown
    # Where a measurement has a traceback, it is behind its line.
    assert "Traceback (most recent call last)" in str(cost_rows(found, {5: "Traceback (most recent call last)"}))
    assert trouble(mine.failures[0], "Traceback").children[1].children == "Traceback"


def test_reasons_and_failures_that_are_all_different_do_not_fill_the_memory():
    from gradlab.store import MeasurementInfo

    one = ProbeSummary()
    for i in range(1, 1001):
        one.count(MeasurementInfo(i, 1, i, 0.0, "p", "inline", 0.0, "skipped", f"{i} of {i}", ()))
        one.count(MeasurementInfo(i, 1, i, 0.0, "p", "inline", 0.0, "failed", f"error {i}", ()))
    assert sum(one.reasons.values()) == one.skipped == 1000
    assert len(one.reasons) <= 51
    assert [failure.step for failure in one.failures] == [996, 997, 998, 999, 1000]
    found = costs(run(), {"p": one}).probes[0]
    assert f"skipped {1000 - sum(n for _, n in found.reasons[:3])} times for other reasons" in str(
        cost_rows(costs(run(), {"p": one}))
    )


def plainly(found, where, started):
    """Seconds that each probe has taken at a moment, entry by entry."""
    return lambda moment: {
        name: sum(e.cost for e in one.entries if e.where == where and e.time <= moment + started)
        for name, one in found.items()
        if any(e.cost > 0 for e in one.entries if e.where == where)
    }


@pytest.mark.parametrize("seed", range(8))
def test_costs_by_columns_equal_those_entry_by_entry(seed):
    """Random histories: probes that move, late results, left-out measurements, more of them than a line has points."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in "abc":
        count = int(rng.integers(0, 400))
        steps, times = np.sort(rng.integers(0, 5000, count)), np.sort(rng.uniform(0, 90, count))
        late = rng.permutation(count) if seed % 2 else np.arange(count)
        inline = rng.random(count) < rng.choice([0.0, 0.5, 1.0])
        paid = rng.choice([0.0, 0.5, 0.25], count)
        entries = [
            (float(times[i]), int(steps[i]), float(paid[i]), "inline" if inline[i] else "background") for i in late
        ]
        found[name] = summary(*entries, ok=count)
    config = {"probes": {"a": {"every": 100}, "b": {"every": [0, 1000, 4000]}}}
    known = costs(run(step=5000, **config), found)
    for one in known.probes:
        mine = [e for e in found[one.name].entries if e.where == one.where]
        assert one.spent == pytest.approx(sum(e.cost for e in mine) / 100.0)
        prices = [e.cost for e in mine if e.cost > 0]
        assert one.price == pytest.approx(sum(prices) / len(prices) if prices else math.nan, nan_ok=True)
    for name, one in found.items():
        first = list(dict.fromkeys(e.where for e in one.entries)) or ["inline"]
        assert [c.where for c in known.probes if c.name == name] == first
    for where, line in known.over_time.items():
        at = plainly(found, where, 0.0)
        for place in rng.integers(0, len(line.seconds), 20):
            expected = at(line.seconds[place]) if place else dict.fromkeys(line.spent, 0.0)
            assert {name: spent[place] for name, spent in line.spent.items()} == pytest.approx(expected)
        assert list(line.spent) == sorted(line.spent)
    told = {where for where in ("inline", "background") if plainly(found, where, 0.0)(0.0)}
    assert set(known.over_time) == told
