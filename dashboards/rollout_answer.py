"""The answer for on-policy runs: how much of a rollout's gradient is signal, and how well V fits."""

from __future__ import annotations

import math

import numpy as np

from dashboards import series as data
from dashboards.figures.rollout_gradient import rollout_size
from dashboards.said import Answer, Verdict, interval, number, percent
from dashboards.series import Series, last
from dashboards.words import counted

_PROBE = "on-policy"


def signal(series: data.SeriesSet) -> Answer | None:
    """Whether signal or noise is larger in the newest rollout's gradient; None where none was measured.

    They are compared by the SNR's interval: where it holds 1, which of them is larger is not known.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.

    Example:
        >>> signal({}) is None
        True
    """
    snr = last(data.select(series, _PROBE, "score-function/snr"))
    if snr is None:
        return None
    step, value, low, high = int(snr.step[0]), *(float(column[0]) for column in (snr.value, snr.low, snr.high))
    verdict: Verdict = "good" if low >= 1 else "bad" if high < 1 else "doubtful"
    what = {
        "good": "most of a rollout's gradient is signal",
        "bad": "most of a rollout's gradient is noise",
        "doubtful": "whether most of a rollout's gradient is signal or noise is not resolved",
    }[verdict]
    if verdict == "doubtful" and not bool(snr.resolved[0]):
        what = "a rollout's gradient cannot be told from noise"
    facts = f"SNR {number(value)}, {interval(low, high)}; n = {counted(snr, _PROBE)}"
    return Answer(f"Step {step:,}: {what} ({facts}).", verdict)


def rollout_answer(series: data.SeriesSet) -> Answer | None:
    """What the newest rollout says of signal and noise, of batch sizes and of V; None where none was measured.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.

    Example:
        >>> rollout_answer({}) is None
        True
    """
    said, snr = signal(series), last(data.select(series, _PROBE, "score-function/snr"))
    if said is None or snr is None:
        return None
    step = int(snr.step[0])
    return Answer(" ".join([said.text, *_scale(series, step), *_fit(series, step)]), said.verdict)


def fit(series: data.SeriesSet) -> list[str]:
    """How well V fits its targets, by the newest measurement; empty where it was not measured.

    Example:
        >>> fit({})
        []
    """
    newest = last(data.select(series, _PROBE, "value/explained_variance"))
    return _fit(series, int(newest.step[0])) if newest is not None else []


def _scale(series: data.SeriesSet, step: int) -> list[str]:
    scale = _at(data.select(series, _PROBE, "score-function/noise_scale"), step)
    if scale is None:
        return []
    scale = scale.positive()
    value, low, high = (float(column[0]) for column in (scale.value, scale.low, scale.high))
    size = last(rollout_size(series))
    beside = f", {number(value / float(size.value[0]))} times the rollout's {int(size.value[0]):,}" if size else ""
    return [f"Signal and noise balance at a batch of about {_steps(value)} steps ({_between(low, high)}){beside}."]


def _fit(series: data.SeriesSet, step: int) -> list[str]:
    explained = _at(data.select(series, _PROBE, "value/explained_variance"), step)
    if explained is None:
        return []
    value, low, high = (float(column[0]) for column in (explained.value, explained.low, explained.high))
    ends = f" ({percent(low)} to {percent(high)} %)" if math.isfinite(low) and math.isfinite(high) else ""
    # A constant V explains nothing; one below it explains less than nothing, which is no share.
    if value < 0.005:
        return [f"V fits its targets no better than a constant (explained variance {percent(value)} %{ends})."]
    return [f"V explains {percent(value)} %{ends} of the variance of its targets, which bootstrap on V."]


def _at(one: Series | None, step: int) -> Series | None:
    """The finite number of one step; None where there is none."""
    return None if one is None else last(one.pick(np.flatnonzero(one.step == step)))


def _steps(value: float) -> str:
    """A number of steps with two digits.

    Example:
        >>> _steps(13_456.0), _steps(87.2)
        ('13,000', '87')
    """
    if value < 1:
        return number(value)
    power = max(0, math.floor(math.log10(value)) - 1)
    return f"{round(value / 10**power) * 10**power:,}"


def _between(low: float, high: float) -> str:
    ends = tuple(_steps(end) if math.isfinite(end) else "" for end in (low, high))
    return interval(low, high, *ends)
