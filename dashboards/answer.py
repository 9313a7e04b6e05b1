"""The answer in one sentence, and the numbers behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dashboards import series as data
from dashboards.series import Series
from dashboards.words import CURVATURE, LANDSCAPE, METRICS, WRONG_DIRECTION, estimator_label

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
        detail: its interval, n and step.
        meaning: its definition.
    """

    label: str
    value: str
    detail: str
    meaning: str


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
            f"{_share(wrong)} of the states (simulator, n = {int(wrong.samples[0])})."
        )
        verdict = _verdict(wrong)
    else:
        parts.append("No simulator measurement yet: whether the critic points the right way is not known.")
    best = _best_direction(series)
    if best is not None:
        name, cosine = best
        parts.append(
            f"With the critic taken as given, the estimator with the best direction is {estimator_label(name)} "
            f"(cosine {cosine:.2f})."
        )
    return Answer(" ".join(parts), verdict)


def tiles(series: data.SeriesSet) -> list[Tile]:
    """The numbers to see at a glance, whatever was measured."""
    wrong = data.select(series, "simulator", "deterministic/wrong_direction")
    cosine = data.select(series, "simulator", "deterministic/cosine")
    basin, gap = data.select(series, "landscape", "best_basin_share"), data.select(series, "landscape", "relative_gap")
    ratio = data.select(series, "curvature", "ratio")
    return [
        _tile("wrong direction", wrong, "share", WRONG_DIRECTION.meaning),
        _tile("cosine with the simulator", cosine, "number", METRICS["cosine"].meaning),
        _tile("actor in the best basin", basin, "share", LANDSCAPE["best_basin_share"].meaning),
        _tile("gap, of Q's range", gap, "share", LANDSCAPE["relative_gap"].meaning),
        _tile("M/μ", ratio, "number", CURVATURE["ratio"].meaning),
    ]


def last(series: Series | None) -> Series | None:
    """The newest finite point as a series of one; None when there is none."""
    if series is None:
        return None
    finite = np.flatnonzero(np.isfinite(series.value))
    return series.pick(finite[-1:]) if len(finite) else None


def _best_direction(series: data.SeriesSet) -> tuple[str, float] | None:
    found = []
    for name in data.estimators(series, "gradient", ["cosine"]):
        point = last(data.select(series, "gradient", f"{name}/cosine"))
        # The reference is the critic's own gradient, which the deterministic estimator is.
        if point is not None and name != "deterministic":
            found.append((float(point.value[0]), name))
    return (max(found)[1], max(found)[0]) if found else None


def _verdict(wrong: Series) -> Verdict:
    value, high = float(wrong.value[0]), float(wrong.high[0])
    if value >= _BAD:
        return "bad"
    if value >= _DOUBTFUL or not math.isfinite(high) or high >= _BAD:
        return "doubtful"
    return "good"


def _share(point: Series) -> str:
    """A share with its interval, as ± only where that is what it is."""
    value, low, high = (100 * float(column[0]) for column in (point.value, point.low, point.high))
    if not math.isfinite(low) or not math.isfinite(high):
        return f"{value:.0f} %"
    if abs((high - value) - (value - low)) < 1:
        return f"{value:.0f} % ± {(high - low) / 2:.0f} %"
    return f"{value:.0f} % ({low:.0f} to {high:.0f} %)"


def _tile(label: str, series: Series | None, kind: str, meaning: str) -> Tile:
    point = last(series)
    if point is None:
        return Tile(label, "—", "not measured yet", meaning)
    value, low, high = float(point.value[0]), float(point.low[0]), float(point.high[0])
    spread = math.isfinite(low) and math.isfinite(high)
    if kind == "share":
        text, detail = f"{100 * value:.0f} %", f"{100 * low:.0f} to {100 * high:.0f} %" if spread else "no interval"
    else:
        text, detail = f"{value:.3g}", f"{low:.3g} to {high:.3g}" if spread else "no interval"
    return Tile(label, text, f"{detail} · n = {int(point.samples[0])} · step {int(point.step[0]):,}", meaning)
