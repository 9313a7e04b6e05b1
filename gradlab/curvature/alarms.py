"""Alarms over training: a measurement that jumps, or scatters more, than the run's own history lets expect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradlab.arguments import real_number, real_tensor, switch, whole_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.histories import (
    LEAST,
    autocorrelation,
    jump_score,
    jump_threshold,
    scatter_score,
    scatter_threshold,
)

Kind = Literal["jump up", "jump down", "growing scatter"]
Floats = NDArray[np.float64]

#: Windows of history that the correlation from one measurement to the next is taken from.
_MEMORY = 5
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
    """

    alarms: tuple[Alarm, ...]
    centre: Floats
    low: Floats
    high: Floats
    checked: int
    false_alarms: float


def volatility_alarms(
    values: Sequence[Estimate] | Any,
    stderr: Any = None,
    steps: Any = None,
    *,
    window: int = 20,
    false_alarms: float = 0.005,
    logarithm: bool | None = None,
) -> Alarms:
    """Where a run's measurements depart from the run's own history.

    Each measurement x_t (the logarithm, of positive numbers) is held against the ``window`` before it:

        jump      |x_t − median| / √(spread² + (σ_t² − σ̄²)₊),   spread = 1.4826 · median |x_i − median|
        scatter   ½ log[(recent² − (σ̄_r² − σ̄_p²)₊) / previous²],   each 1.4826/√2 · median |x_{i+1} − x_i|

    with σ the measurements' standard errors, so that a measurement of few samples is no alarm by that alone, and
    "recent" the last half window of changes against the window before, which one jump or a steady drift hardly moves.

    The thresholds are quantiles of these scores under a stationary normal autoregression whose correlation from one
    measurement to the next is what the history shows, by Spearman's ρ_s, plus its standard error, and never negative
    (simulated once, with seeds of their own). A stationary normal history then raises an alarm at no more than about
    ``false_alarms`` of its measurements, half of them for jumps. At the default, 0.5 %, it was 0.40 to 0.62 % in 400
    runs of 120 measurements at each of the correlations 0, .3, .6, .8, .9 and .95. Heavy tails raise more: 2.1 % with
    Student's t of four degrees of freedom. A steady drift raises none.

    Args:
        values: Estimates in the order of training, or numbers [T]; NaN where there is no measurement.
        stderr: standard errors [T]; those of the Estimates, or none, when None. NaN where one is not known.
        steps: training steps [T]; 0, 1, … when None.
        window: measurements that make the history, at least 8; until there are so many fewer do, from 8.
        false_alarms: rate of false alarms by measurement.
        logarithm: whether to compare logarithms; where all values are positive and no shares when None.

    Raises:
        GradlabError: shapes do not fit, a number is out of range, or a logarithm is asked for of a value that has none.

    Example:
        >>> wiggle = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 1.1, 0.92, 1.0, 1.04, 0.97, 1.03] * 3
        >>> found = volatility_alarms([*wiggle, 40.0, *wiggle[:5]])
        >>> [str(alarm) for alarm in found.alarms]
        ['step 36: jump up, to 40, 39.6 times the usual 1.01']
    """
    window = whole_number("window", window, LEAST)
    rate = real_number("false_alarms", false_alarms, above=0.0)
    if rate >= 0.5:
        raise GradlabError(f"false_alarms: {rate:g}; give a rate below one half, such as 0.005")
    x, error, ticks, logarithmic = _series(values, stderr, steps, logarithm)
    seen = np.flatnonzero(np.isfinite(x))
    centre, low, high = (np.full(len(x), math.nan) for _ in range(3))
    found: list[Alarm] = []
    last: dict[Kind, tuple[int, int]] = {}
    for k in range(LEAST, len(seen)):
        t = int(seen[k])
        band, sounding = _judge(x[seen[: k + 1]], error[seen[: k + 1]], window, rate / 2, logarithmic)
        centre[t], low[t], high[t] = band
        for alarm in sounding:
            place, before = last.get(alarm.kind, (-1, -1))
            if before == k - 1:
                found[place] = replace(found[place], lasting=found[place].lasting + 1)
            else:
                place = len(found)
                found.append(replace(alarm, index=t, step=float(ticks[t])))
            last[alarm.kind] = place, k
    return Alarms(tuple(found), centre, low, high, max(len(seen) - LEAST, 0), rate)


def _judge(
    x: Floats, error: Floats, window: int, rate: float, logarithmic: bool
) -> tuple[tuple[float, float, float], list[Alarm]]:
    """The last value against those before it: centre and ends of the band, and what alarms it raises."""
    past, spread_of = x[:-1], error[:-1]
    memory = autocorrelation(past[-_MEMORY * window :])
    jump = jump_score(past[-window:], spread_of[-window:], float(x[-1]), float(error[-1]))
    limit = jump_threshold(jump.length, memory, rate)

    def back(number: float) -> float:
        # A logarithm beyond the largest number is as good as infinite.
        return (math.exp(number) if number < _LARGEST else math.inf) if logarithmic else number

    centre, low, high = (back(jump.centre + sign * limit * jump.spread) for sign in (0, -1, 1))
    found: list[Alarm] = []
    if abs(jump.score) > limit:
        kind: Kind = "jump up" if jump.score > 0 else "jump down"
        value = back(float(x[-1]))
        by = value / centre if logarithmic else value - centre
        found.append(Alarm(kind, 0, 0.0, value, centre, by, jump.score, limit, 1, logarithmic))
    scatter = scatter_score(x, error, window)
    if scatter is not None:
        limit = scatter_threshold(scatter.recent_length, scatter.length, memory, rate)
        if scatter.score > limit:
            by = scatter.recent / scatter.previous if scatter.previous > 0 else math.inf
            late, before = scatter.recent, scatter.previous
            found.append(Alarm("growing scatter", 0, 0.0, late, before, by, scatter.score, limit, 1, logarithmic))
    return (centre, low, high), found


def _error(estimate: Estimate) -> float:
    """The standard error; of a share, which has none where all states agree, at least what Wilson's interval says."""
    if estimate.scale != "share":
        return estimate.stderr
    low, high = estimate.interval()
    return max(estimate.stderr, (high - low) / (2 * 1.959964))


def _series(values: Any, stderr: Any, steps: Any, logarithm: bool | None) -> tuple[Floats, Floats, Floats, bool]:
    """The numbers to compare, their standard errors (zero where not known), the steps; whether they are logarithms."""
    estimates = [value for value in values if isinstance(value, Estimate)] if isinstance(values, Sequence) else []
    if estimates and len(estimates) == len(values):
        stderr = [_error(estimate) for estimate in estimates] if stderr is None else stderr
        values = [estimate.value for estimate in estimates]
        # A share near zero is known to within an error, not to within a factor.
        logarithm = False if logarithm is None and any(e.scale == "share" for e in estimates) else logarithm
    x = np.array(real_tensor("values", values).detach().cpu().double().numpy())
    if x.ndim != 1:
        raise GradlabError(f"values: shape {x.shape}; give one a measurement, [T]")
    given = {
        "stderr": np.zeros(len(x)) if stderr is None else stderr,
        "steps": np.arange(len(x)) if steps is None else steps,
    }
    parts = {name: np.array(real_tensor(name, part).detach().cpu().double().numpy()) for name, part in given.items()}
    for name, part in parts.items():
        if part.shape != x.shape:
            raise GradlabError(f"{name}: shape {part.shape} for {len(x)} values; give one each")
    error = np.where(np.isfinite(parts["stderr"]), parts["stderr"], 0.0)
    if bool((error < 0).any()):
        raise GradlabError("stderr: a standard error is negative")
    there = np.isfinite(x)
    positive = bool((x[there] > 0).all())
    logarithmic = positive if logarithm is None else switch("logarithm", logarithm)
    if not logarithmic:
        return x, error, parts["steps"], False
    if not positive:
        raise GradlabError("logarithm: a value is not positive; leave it None or False")
    safe = np.where(there, x, 1.0)
    return np.where(there, np.log(safe), math.nan), error / safe, parts["steps"], True
