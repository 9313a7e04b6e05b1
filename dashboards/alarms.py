"""Where a series departs from its own history, as marks for a figure."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from dashboards.series import Series
from gradlab.inference.alarms import Alarm, Alarms, alarms_along

#: Series whose alarms are remembered, so that a new measurement costs no more than itself.
_KEPT = 64
_WORDS = {"jump up": "jumps up", "jump down": "jumps down", "growing scatter": "scatters more"}

#: What an alarm is, for people.
MEANING = (
    "a value above or below, or changes larger than, what the run's own last 20 measurements let expect, given how far "
    "each is known and how much successive ones are alike. Where nothing changes, about one measurement in 200 raises "
    "one."
)


class Mark(NamedTuple):
    """One alarm, where it is drawn.

    Attributes:
        index: which point of the series it began at.
        kind: "jump up", "jump down" or "growing scatter".
        text: what, how far and for how long; a line each, no markup.
    """

    index: int
    kind: str
    text: tuple[str, ...]


class _Known(NamedTuple):
    """A series as it was when its alarms were found."""

    series: Series
    alarms: Alarms


_known: OrderedDict[int, _Known] = OrderedDict()
_lock = threading.Lock()
_count = 0


def marks(series: Series, label: str) -> list[Mark]:
    """The alarms of a series over training; none before there are eight measurements.

    Values are compared by their logarithms where all are positive, each with its standard error; see
    ``gradlab.curvature.volatility_alarms``.

    Args:
        series: a number over training.
        label: what it is called.

    Example:
        >>> value = np.array([1.0, 1.2, 0.9, 1.1, 1.0, 0.8, 1.1, 1.2, 0.9, 1.0, 40.0, 1.1])
        >>> nothing = np.full(12, math.nan)
        >>> one = Series(1000 * np.arange(12), value, nothing, nothing, nothing, np.full(12, 64))
        >>> [(mark.index, mark.kind, mark.text[:2]) for mark in marks(one, "M")]
        [(10, 'jump up', ('M jumps up, step 10,000', '40, 40 times the 1 that was usual before'))]
    """
    found = _alarms(series)
    return [Mark(one.index, one.kind, _text(one, series, label)) for one in found.alarms]


def _alarms(series: Series) -> Alarms:
    """Of a series that is known as far as it went before, only what was added is judged."""
    global _count
    with _lock:
        numbers = [number for number, known in _known.items() if _goes_on(series, known.series)]
        number = max(numbers, key=lambda one: len(_known[one].series), default=-1)
        before = _known[number].alarms if number >= 0 else None
    if before is not None and len(before.centre) == len(series):
        return before
    positive = bool((series.value[np.isfinite(series.value)] > 0).all())
    step = series.step.astype(np.float64)
    found = alarms_along(series.value, series.stderr, step, logarithmic=positive, before=before)
    with _lock:
        _known.pop(number, None)
        _count += 1
        _known[_count] = _Known(series, found)
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return found


def _goes_on(series: Series, before: Series) -> bool:
    """Whether a series begins as another did that is no longer."""
    size = len(before)
    return size <= len(series) and all(
        np.array_equal(getattr(series, name)[:size], getattr(before, name), equal_nan=True)
        for name in ("step", "value", "stderr")
    )


def _text(alarm: Alarm, series: Series, label: str) -> tuple[str, ...]:
    what = f"{label} {_WORDS[alarm.kind]}, step {int(series.step[alarm.index]):,}"
    if alarm.kind == "growing scatter":
        unit = "typical change from one to the next"
        how = f"{unit} {alarm.value:.3g}, {_times(alarm.by)} the {alarm.usual:.3g} before"
        how = how if not alarm.logarithmic else f"{unit} {_times(alarm.by)} what it was before"
    elif alarm.logarithmic:
        how = f"{alarm.value:.3g}, {_times(alarm.by)} the {alarm.usual:.3g} that was usual before"
    else:
        how = f"{alarm.value:.3g}, {alarm.by:+.3g} from the {alarm.usual:.3g} that was usual before"
    there = np.flatnonzero(np.isfinite(series.value))
    last = int(there[np.searchsorted(there, alarm.index) + alarm.lasting - 1])
    so_far = " so far" if last == int(there[-1]) else ""
    long = f"for {alarm.lasting} measurements{so_far}, to step {int(series.step[last]):,}"
    long = long if alarm.lasting > 1 else f"at one measurement{so_far}"
    return what, how, f"score {abs(alarm.score):.3g}; an alarm from {alarm.threshold:.3g}", long


def _times(factor: float) -> str:
    return "far more than" if math.isinf(factor) else f"{factor:.3g} times"
