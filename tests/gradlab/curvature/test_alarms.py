"""Alarms: rates where nothing changes, and what is found where something does."""

import math

import numpy as np
import pytest
import torch

from gradlab.curvature import volatility_alarms
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate


def stationary(memory, seed, count=100):
    shocks = np.random.default_rng([seed, int(100 * memory)]).standard_normal(count + 60)
    for i in range(1, len(shocks)):
        shocks[i] = memory * shocks[i - 1] + math.sqrt(1 - memory**2) * shocks[i]
    return shocks[60:]


@pytest.mark.parametrize("memory", [0.0, 0.6, 0.9])
def test_false_alarms_come_at_the_stated_rate(memory):
    asked, sounded, checked = 0.02, 0, 0
    for seed in range(45):
        found = volatility_alarms(np.exp(0.3 * stationary(memory, seed)), false_alarms=asked)
        sounded += sum(alarm.lasting for alarm in found.alarms)
        checked += found.checked
    assert checked == 45 * 92
    assert 0.4 * asked <= sounded / checked <= 1.5 * asked


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_jumps_are_found_where_they_are(memory):
    found = {"jump up": 0, "jump down": 0}
    for seed in range(40):
        for kind, sign in (("jump up", 1), ("jump down", -1)):
            values = np.exp(0.1 * stationary(memory, seed))
            values[60:] *= math.exp(sign * 1.5)
            alarms = [a for a in volatility_alarms(values, steps=1000 * np.arange(100)).alarms if a.index == 60]
            for alarm in alarms:
                assert alarm.kind in (kind, "growing scatter")
                if alarm.kind == kind:
                    found[kind] += 1
                    assert alarm.step == 60_000
                    assert alarm.value == pytest.approx(values[60])
                    assert alarm.by == pytest.approx(values[60] / alarm.usual)
                    assert abs(alarm.score) > alarm.threshold
                    assert alarm.logarithmic
    assert min(found.values()) >= 34, found


def test_growing_scatter_is_found_without_a_jump_and_a_jump_is_no_scatter():
    grown, still = 0, 0
    for seed in range(25):
        values = stationary(0.3, seed, 120)
        values[70:] *= 6
        kinds = [a.kind for a in volatility_alarms(values).alarms if 70 <= a.index < 95]
        grown += "growing scatter" in kinds
        level = stationary(0.3, seed, 120)
        level[70:] += 40
        still += "growing scatter" in [a.kind for a in volatility_alarms(level).alarms if a.index >= 70]
    assert grown >= 22
    assert still <= 5


def test_a_level_that_stays_becomes_the_history():
    values = np.concatenate([stationary(0.0, 1, 40), 30 + stationary(0.0, 2, 60)])
    found = volatility_alarms(values, window=20)
    jump = next(alarm for alarm in found.alarms if alarm.kind == "jump up")
    assert jump.index == 40
    assert 5 <= jump.lasting <= 12
    assert not jump.logarithmic
    assert jump.by == pytest.approx(values[40] - jump.usual)
    assert not any(alarm.index > 60 for alarm in found.alarms if alarm.kind != "growing scatter")


def test_a_steady_drift_is_no_alarm():
    assert volatility_alarms(np.arange(1.0, 101.0)).alarms == ()
    assert volatility_alarms(np.exp(0.1 * np.arange(100.0) + 0.02 * stationary(0.0, 3))).alarms == ()


def test_an_imprecise_measurement_is_no_jump():
    values = 10 + 0.1 * stationary(0.0, 4, 50)
    values[45] = 12.0
    errors = np.full(50, 0.05)
    assert [a.index for a in volatility_alarms(values, errors).alarms] == [45]
    errors[45] = 1.5
    assert volatility_alarms(values, errors).alarms == ()
    estimates = [Estimate(float(v), float(e), 16) for v, e in zip(values, errors, strict=True)]
    assert volatility_alarms(estimates).alarms == ()
    assert [a.index for a in volatility_alarms(estimates, np.zeros(50)).alarms] == [45]


def test_shares_that_all_agree_are_not_exact():
    shares = [Estimate(1.0, 0.0, 16, scale="share")] * 30 + [Estimate(0.98, 0.02, 16, scale="share")]
    assert volatility_alarms(shares).alarms == ()
    fallen = [*shares[:30], Estimate(0.2, 0.1, 16, scale="share")]
    assert [alarm.kind for alarm in volatility_alarms(fallen).alarms] == ["jump down"]
    (constant,) = volatility_alarms([2.0] * 20 + [2.5]).alarms
    assert constant.by == 1.25
    assert math.isinf(constant.score)


def test_the_band_is_what_would_have_raised_no_jump():
    values = np.exp(0.2 * stationary(0.4, 5, 60))
    found = volatility_alarms(values)
    assert np.isnan(found.centre[:8]).all()
    assert (found.low[8:] < found.centre[8:]).all()
    assert (found.centre[8:] < found.high[8:]).all()
    for factor, kinds in ((1.001, ["jump up"]), (0.999, [])):
        other = values.copy()
        other[59] = factor * found.high[59]
        jumps = [a.kind for a in volatility_alarms(other).alarms if a.index == 59 and a.kind != "growing scatter"]
        assert jumps == kinds


def test_missing_measurements_are_skipped_and_short_series_are_silent():
    values = 10 + 0.1 * stationary(0.0, 6, 50)
    values[40] = 14.0
    gaps = np.full(100, math.nan)
    gaps[::2] = values
    found = volatility_alarms(torch.as_tensor(gaps))
    jumps = [(alarm.kind, alarm.index) for alarm in found.alarms]
    assert jumps == [(alarm.kind, 2 * alarm.index) for alarm in volatility_alarms(values).alarms]
    assert ("jump up", 80) in jumps
    assert np.isnan(found.centre[81])
    assert volatility_alarms([1.0] * 8).checked == 0
    assert volatility_alarms([]).alarms == ()


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_going_on_finds_what_beginning_anew_does(memory):
    values = np.exp(0.3 * stationary(memory, 7, 150))
    values[60:64] *= 40
    values[110:] **= 5
    values[[5, 33, 62, 149]] = math.nan
    errors = 0.05 * np.abs(values)
    steps = 500 * np.arange(150)
    whole = volatility_alarms(values, errors, steps)
    assert {alarm.kind for alarm in whole.alarms} >= {"jump up", "growing scatter"}
    known = None
    # Also within an alarm that lasts, and where nothing was added.
    for end in (0, 4, 9, 61, 62, 63, 63, 112, 115, 150):
        known = volatility_alarms(values[:end], errors[:end], steps[:end], before=known)
    assert known.alarms == whole.alarms
    assert (known.checked, known.settings) == (whole.checked, whole.settings)
    for name in ("centre", "low", "high"):
        np.testing.assert_array_equal(getattr(known, name), getattr(whole, name))


def test_what_was_found_before_is_not_used_where_it_does_not_hold():
    values = 5 + 0.1 * stationary(0.0, 8, 60)
    values[30] = 9.0
    before = volatility_alarms(values[:50])
    for change in ({"window": 12}, {"false_alarms": 0.02}, {"logarithm": False}):
        assert volatility_alarms(values, before=before, **change).alarms == volatility_alarms(values, **change).alarms
    # A value below zero ends the comparison of logarithms, of those before it, too.
    values[55] = -4.0
    found = volatility_alarms(values, before=before)
    assert found.alarms == volatility_alarms(values).alarms
    assert not any(alarm.logarithmic for alarm in found.alarms if alarm.kind == "jump up")
    assert volatility_alarms(values[:20], before=before).alarms == volatility_alarms(values[:20]).alarms


def test_wrong_input_is_refused_in_one_line():
    for match, call in [
        ("window", lambda: volatility_alarms([1.0] * 20, window=4)),
        ("false_alarms", lambda: volatility_alarms([1.0] * 20, false_alarms=0.0)),
        ("false_alarms", lambda: volatility_alarms([1.0] * 20, false_alarms=0.7)),
        ("stderr: shape", lambda: volatility_alarms([1.0] * 20, [1.0])),
        ("stderr: a standard error", lambda: volatility_alarms([1.0] * 20, [-1.0] * 20)),
        ("steps: shape", lambda: volatility_alarms([1.0] * 20, steps=[1])),
        ("logarithm", lambda: volatility_alarms([1.0, -1.0] * 10, logarithm=True)),
        ("values: shape", lambda: volatility_alarms(np.zeros((4, 4)))),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
