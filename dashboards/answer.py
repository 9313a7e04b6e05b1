"""The answer in one sentence, and the numbers behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dashboards import series as data
from dashboards.series import Series
from dashboards.words import CURVATURE, LANDSCAPE, METRICS, WRONG_DIRECTION, counted, estimator_label

Verdict = Literal["good", "doubtful", "bad", "unknown"]
#: Shares of states pointing the wrong way from which the answer is doubtful, and bad.
_DOUBTFUL, _BAD = 0.1, 0.3


@dataclass(frozen=True, slots=True)
class Answer:
    """What the measurements say, for somebody who reads one line.

    Attributes:
        text: one or two sentences.
        verdict: how bad it is.
    """

    text: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at a glance.

    Attributes:
        label: what it is.
        value: the number, formatted.
        interval: its 95 % interval.
        detail: n and step.
        meaning: its definition.
        raw: the number and its interval as estimated, where what is printed is cut to what is possible.
    """

    label: str
    value: str
    interval: str
    detail: str
    meaning: str
    raw: str = ""


def answer(series: data.SeriesSet) -> Answer:
    """The answer from the newest measurements of a run.

    Example:
        >>> answer({}).text
        'Waiting for the first measurement.'
    """
    if not any(len(one) for one in series.values()):
        return Answer("Waiting for the first measurement.", "unknown")
    wrong = last(data.select(series, "simulator", "deterministic/wrong_direction"))
    parts, verdict = [], "unknown"
    if wrong is not None:
        parts.append(
            f"Step {int(wrong.step[0]):,}: the critic's action gradient points the wrong way on "
            f"{_share(wrong)} of the states (simulator, n = {counted(wrong, 'simulator')})."
        )
        verdict = _verdict(wrong)
    else:
        parts.append("No simulator measurement yet: whether the critic points the right way is not known.")
    parts += _least_error(series)
    return Answer(" ".join(parts), verdict)


def tiles(series: data.SeriesSet) -> list[Tile]:
    """The numbers to see at a glance, whatever was measured."""
    found = [
        ("wrong direction", "simulator", "deterministic/wrong_direction", "share", WRONG_DIRECTION),
        ("cosine with the simulator", "simulator", "deterministic/cosine", "cosine", METRICS["cosine"]),
        ("actor in the best basin", "landscape", "best_basin_share", "share", LANDSCAPE["best_basin_share"]),
        ("gap, of Q's range", "landscape", "relative_gap", "share", LANDSCAPE["relative_gap"]),
        ("M/μ", "curvature", "ratio", "number", CURVATURE["ratio"]),
    ]
    return [_tile(label, series, probe, name, kind, word.meaning) for label, probe, name, kind, word in found]


def last(series: Series | None) -> Series | None:
    """The newest finite point as a series of one; None when there is none."""
    if series is None:
        return None
    finite = np.flatnonzero(np.isfinite(series.value))
    return series.pick(finite[-1:]) if len(finite) else None


@dataclass(frozen=True, slots=True)
class _Error:
    """An estimator's mean squared error at one step: the estimate, its interval, and as a share of ‖reference‖²."""

    name: str
    value: float
    low: float
    high: float
    relative: float
    cosine: str


def _least_error(series: data.SeriesSet) -> list[str]:
    """Which stochastic estimator has the smallest mean squared error, or that it cannot be told."""
    found = _errors(series)
    if len(found) < 2:
        return []
    best, *others = found
    # NaN compares as false: without an interval nothing is told apart.
    close = [one for one in others if not one.low > best.high]
    what = "mean squared error of one minibatch gradient"
    if close:
        names = "; ".join(estimator_label(one.name) for one in (best, *close))
        return [f"With the critic taken as given, those with the smallest {what} cannot be told apart: {names}."]
    facts = [_times(best.relative)] if math.isfinite(best.relative) else []
    facts += [f"cosine {best.cosine}"] if best.cosine else []
    about = f" ({', '.join(facts)})" if facts else ""
    return [f"With the critic taken as given, {estimator_label(best.name)} has the smallest {what}{about}."]


def _errors(series: data.SeriesSet) -> list[_Error]:
    """Errors of the stochastic estimators against the critic at the newest step with any, smallest first."""

    def at(name: str, metric: str, step: int) -> Series | None:
        one = data.select(series, "gradient", f"{name}/{metric}")
        return last(one.pick(one.step == step)) if one is not None else None

    every = {
        name: data.select(series, "gradient", f"{name}/mse") for name in data.estimators(series, "gradient", ["mse"])
    }
    newest = [int(one.step[0]) for one in map(last, every.values()) if one is not None]
    found = []
    for name in every if newest else ():
        mse, variance = at(name, "mse", max(newest)), at(name, "variance", max(newest))
        if mse is None or variance is None or variance.value[0] <= 0:
            continue
        snr, ratio, cosine = (at(name, metric, max(newest)) for metric in ("snr", "norm_ratio", "cosine"))
        relative = math.nan
        if snr is not None and ratio is not None and snr.value[0] > 0:
            # ‖r‖² = ‖E g‖² / ratio² = SNR · variance / ratio²: the same estimates, so that their noise cancels.
            relative = float(mse.value[0] * ratio.value[0] ** 2 / (snr.value[0] * variance.value[0]))
        said = printed_cosine(cosine, ".2f") if cosine is not None else ""
        found.append(_Error(name, *(float(x[0]) for x in (mse.value, mse.low, mse.high)), relative, said))
    return sorted(found, key=lambda one: one.value)


def _times(relative: float) -> str:
    return f"{relative:.2g} ‖reference‖²" if relative < 100 else f"{relative:.0f} ‖reference‖²"


def printed_cosine(point: Series, form: str = ".3g") -> str:
    """A cosine for people: at most 1 (at least −1) where its interval holds 1, which it cannot pass.

    Example:
        >>> one = np.ones(1)
        >>> point = Series(one, 1.013 * one, 0.02 * one, 0.97 * one, 1.05 * one, 32 * one)
        >>> printed_cosine(point, ".2f")
        '1.00'
    """
    value, low, high = (float(column[0]) for column in (point.value, point.low, point.high))
    if abs(value) > 1 and low <= math.copysign(1, value) <= high:
        return f"{math.copysign(1, value):.2f}"
    return f"{value:{form}}"


def _verdict(wrong: Series) -> Verdict:
    value, high = float(wrong.value[0]), float(wrong.high[0])
    if value >= _BAD:
        return "bad"
    if value >= _DOUBTFUL or not math.isfinite(high) or high >= _BAD:
        return "doubtful"
    return "good"


def _share(point: Series) -> str:
    """A share with its interval; ± stands for one standard error in all that gradlab prints."""
    value, low, high = (100 * float(column[0]) for column in (point.value, point.low, point.high))
    if not math.isfinite(low) or not math.isfinite(high):
        return f"{value:.0f} % (no interval)"
    return f"{value:.0f} % ({low:.0f} to {high:.0f} %)"


def _tile(label: str, series: data.SeriesSet, probe: str, name: str, kind: str, meaning: str) -> Tile:
    point = last(data.select(series, probe, name))
    if point is None:
        return Tile(label, "—", "", "not measured yet", meaning)
    value, low, high = (float(column[0]) for column in (point.value, point.low, point.high))
    detail = f"n = {counted(point, probe)} · step {int(point.step[0]):,}"
    raw = ""
    if kind == "share":
        text, ends = f"{_percent(value)} %", (_percent(low), f"{_percent(high)} %")
    else:
        text, ends = f"{value:.3g}", (f"{low:.3g}", f"{high:.3g}")
    if kind == "cosine":
        text, raw = printed_cosine(point), f"estimate {value:.4g}, interval {low:.3g} to {high:.3g}"
        ends = (ends[0] if low >= -1 else "-1.00", ends[1] if high <= 1 else "1.00")
    text, interval, raw = (part.replace("-", "−") for part in (text, _interval(low, high, *ends), raw))
    return Tile(label, text, interval, detail, meaning, raw)


def _percent(share: float) -> str:
    """A share in per cent: whole ones, and tenths below one.

    Example:
        >>> _percent(0.315), _percent(0.004), _percent(0.0)
        ('32', '0.4', '0')
    """
    return f"{100 * share:.1f}" if 0 < share < 0.01 else f"{100 * share:.0f}"


def _interval(low: float, high: float, low_text: str, high_text: str) -> str:
    """An interval in words; either end may be missing.

    Example:
        >>> _interval(0.5, math.inf, "0.5", ""), _interval(math.nan, math.nan, "", "")
        ('at least 0.5', 'no interval')
    """
    if math.isfinite(low) and math.isfinite(high):
        return f"{low_text} to {high_text}"
    if math.isfinite(low):
        return f"at least {low_text}"
    return f"at most {high_text}" if math.isfinite(high) else "no interval"
