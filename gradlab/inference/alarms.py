"""Alarms of a series: where values depart from those before them, joined where they last; no tensors, no agents."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradlab.inference.departures import Departures, departures
from gradlab.inference.histories import LEAST

Kind = Literal["jump up", "jump down", "growing scatter"]
Floats = NDArray[np.float64]

#: Largest logarithm of a number.
_LARGEST = 709.0


@dataclass(frozen=True)
class Alarm:
    """One departure from a run's own history.

    Attributes:
        kind: "jump up" or "jump down" of the value, or "growing scatter" of its changes.
        index: which measurement it began at.
        step: the training step of that.
        value: the value there; of growing scatter the typical change of late, on the logarithmic scale a relative one.
        usual: the median of the history before it; of growing scatter the typical change before.
        by: ``value`` over ``usual`` on the logarithmic scale and of scatter, else their difference.
        score: how far it is out, in the history's own spread; of scatter the logarithm of ``by``, less what the
            measurements' own errors explain.
        threshold: the score from which it is an alarm.
        lasting: at how many successive measurements it sounded.
        logarithmic: whether values were compared by their logarithms.
    """

    kind: Kind
    index: int
    step: float
    value: float
    usual: float
    by: float
    score: float
    threshold: float
    lasting: int
    logarithmic: bool

    def __str__(self) -> str:
        times = self.logarithmic or self.kind == "growing scatter"
        amount = f"{self.by:.3g} times the usual {self.usual:.3g}" if times else f"{self.by:+.3g} from {self.usual:.3g}"
        what = "changes of" if self.kind == "growing scatter" else "to"
        lasting = f", for {self.lasting} measurements" if self.lasting > 1 else ""
        return f"step {self.step:g}: {self.kind}, {what} {self.value:.3g}, {amount}{lasting}"


@dataclass(frozen=True)
class Alarms:
    """The alarms of a series, and the band of values that would have raised none.

    Attributes:
        alarms: in the order of training.
        centre: the median of the history before each measurement, [T]; NaN before there is enough of one.
        low: below which a value is a jump down, [T], likewise.
        high: above which it is a jump up, [T].
        checked: at how many measurements there was enough history.
        false_alarms: the rate that was asked for.
        settings: the window, this rate, and whether values were compared by their logarithms.
    """

    alarms: tuple[Alarm, ...]
    centre: Floats
    low: Floats
    high: Floats
    checked: int
    false_alarms: float
    settings: tuple[int, float, bool] = field(default=(0, 0.0, False), repr=False)


def alarms_along(
    values: Floats,
    errors: Floats,
    steps: Floats,
    *,
    window: int = 20,
    rate: float = 0.005,
    logarithmic: bool = False,
    before: Alarms | None = None,
) -> Alarms:
    """The alarms of a series of numbers; what ``gradlab.curvature.volatility_alarms`` is made of.

    Args:
        values: the numbers, [T], in order; NaN where there is none.
        errors: their standard errors, [T]; NaN where one is not known.
        steps: training steps, [T].
        window: numbers that make the history.
        rate: of false alarms by number.
        logarithmic: whether to compare logarithms; all values must be positive then.
        before: what this found when the series was shorter; it is not used where the settings were others.

    Example:
        >>> found = alarms_along(np.array([1.0, 2.0] * 6 + [50.0]), np.zeros(13), 100.0 * np.arange(13))
        >>> [str(alarm) for alarm in found.alarms]
        ['step 1200: jump up, to 50, +48.5 from 1.5']
    """
    there = np.isfinite(values)
    error = np.where(np.isfinite(errors), errors, 0.0)
    x = values
    if logarithmic:
        safe = np.where(there, values, 1.0)
        x, error = np.where(there, np.log(safe), math.nan), error / safe
    seen = np.flatnonzero(np.isfinite(x))
    settings = window, rate, logarithmic
    known = before if before is not None and before.settings == settings and len(before.centre) <= len(x) else None
    first = 0 if known is None else int(np.searchsorted(seen, len(known.centre)))
    judged = departures(x[seen], error[seen], window, rate / 2, first)

    bands = np.full((3, len(x)), math.nan)
    if known is not None:
        bands[:, : len(known.centre)] = known.centre, known.low, known.high
    ends = judged.centre + np.array([[0.0], [-1.0], [1.0]]) * judged.limit * judged.spread
    # A logarithm beyond the largest number is as good as infinite.
    ends = np.where(ends < _LARGEST, np.exp(np.minimum(ends, _LARGEST)), math.inf) if logarithmic else ends
    bands[:, seen[first:]] = np.where(np.isnan(judged.centre), math.nan, ends)

    found = [] if known is None else list(known.alarms)
    # Where each kind's last alarm is in the list, and at which measurement it last sounded.
    last = {
        one.kind: (place, int(np.searchsorted(seen, one.index)) + one.lasting - 1) for place, one in enumerate(found)
    }
    for k, alarm in _sounding(judged, x[seen], bands[0][seen], first, logarithmic):
        place, sounded = last.get(alarm.kind, (-1, -2))
        if sounded == k - 1:
            found[place] = replace(found[place], lasting=found[place].lasting + 1)
        else:
            place = len(found)
            found.append(replace(alarm, index=int(seen[k]), step=float(steps[seen[k]])))
        last[alarm.kind] = place, k
    checked = max(len(seen) - LEAST, 0)
    return Alarms(tuple(found), bands[0], bands[1], bands[2], checked, rate, settings)


def _sounding(
    judged: Departures, x: Floats, usual: Floats, first: int, logarithmic: bool
) -> Iterator[tuple[int, Alarm]]:
    """Which measurement raises which alarm, a jump before a growing scatter."""
    scatter = judged.scatter
    jumping, growing = np.abs(judged.score) > judged.limit, scatter.score > judged.scatter_limit
    for place in np.flatnonzero(jumping | growing).tolist():
        k = first + place
        if jumping[place]:
            score, limit = float(judged.score[place]), float(judged.limit[place])
            value, centre = float(x[k]), float(usual[k])
            value = (math.exp(value) if value < _LARGEST else math.inf) if logarithmic else value
            by = value / centre if logarithmic else value - centre
            kind: Kind = "jump up" if score > 0 else "jump down"
            yield k, Alarm(kind, 0, 0.0, value, centre, by, score, limit, 1, logarithmic)
        if growing[place]:
            late, before = float(scatter.recent[place]), float(scatter.previous[place])
            score, limit = float(scatter.score[place]), float(judged.scatter_limit[place])
            by = late / before if before > 0 else math.inf
            yield k, Alarm("growing scatter", 0, 0.0, late, before, by, score, limit, 1, logarithmic)
