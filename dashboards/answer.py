"""The answer in one sentence, and the numbers behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dashboards import series as data
from dashboards.finding import Facts
from dashboards.own import has_figure
from dashboards.rollout_answer import rollout_answer
from dashboards.said import Answer, Verdict, interval, percent, share_interval
from dashboards.series import Series, last
from dashboards.sickness import sickness
from dashboards.words import CURVATURE, LANDSCAPE, METRICS, ON_POLICY, WRONG_DIRECTION, counted, estimator_label

#: Shares of states pointing the wrong way from which the answer is doubtful, and bad.
_DOUBTFUL, _BAD = 0.1, 0.3
#: Training steps before which a critic that points the wrong way is no verdict on it: every critic begins as a coin,
#: and TD3's authors let an agent act at random for as long before it learns (S. Fujimoto et al. 2018, appendix C).
EARLY = 10_000
#: Points of a number's course in its tile.
_COURSE = 60
#: Of on-policy runs: label, number and how it is printed.
_ROLLOUT_TILES = [
    ("SNR of a rollout", "score-function/snr", "number"),
    ("noise scale, steps", "score-function/noise_scale", "steps"),
    ("explained variance", "value/explained_variance", "share"),
    ("RMSE of V", "value/rmse", "number"),
    ("entropy, nats", "policy/entropy", "number"),
]


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
        course: its values so far, thinned.
        band: the ends of their intervals, NaN where there is none.
    """

    label: str
    value: str
    interval: str
    detail: str
    meaning: str
    raw: str = ""
    course: tuple[float, ...] = ()
    band: tuple[tuple[float, float], ...] = ()


def answer(series: data.SeriesSet) -> Answer:
    """The answer from the newest measurements of a run: what is broken, or whether the critic points the right way.

    Example:
        >>> answer({}).text
        'Waiting for the first measurement.'
    """
    if not any(len(one) for one in series.values()):
        return Answer("Waiting for the first measurement.", "unknown")
    rollout = rollout_answer(series)
    if not _of_critics(series):
        return rollout or _of_others(series)
    unknown = Answer("No simulator measurement yet: whether the critic points the right way is not known.", "unknown")
    pointing = direction(series) or unknown
    broken = [one.text for one in sickness(Facts(series)) if one.verdict == "bad"]
    if broken:
        # Which estimator is best is of no interest then, and being young no excuse.
        pointing = direction(series, excused=False) or unknown
        return Answer(" ".join([*broken, *([pointing.text] if pointing is not unknown else [])]), "bad")
    parts = [pointing.text, *least_error(series), *([rollout.text] if rollout is not None else [])]
    return Answer(" ".join(parts), pointing.verdict)


def direction(series: data.SeriesSet, *, excused: bool = True) -> Answer | None:
    """On how many states the critic points the wrong way; None while the simulator has not measured.

    Before step ``EARLY`` it is doubtful at worst, and said to be early, unless nothing is ``excused``.

    Example:
        >>> direction({}) is None
        True
    """
    wrong = last(data.select(series, "simulator", "deterministic/wrong_direction"))
    if wrong is None:
        return None
    step, verdict = int(wrong.step[0]), _verdict(wrong)
    said = (
        f"Step {step:,}: the critic's action gradient points the wrong way on "
        f"{_share(wrong)} of the states (simulator, n = {counted(wrong, 'simulator')})."
    )
    if excused and verdict == "bad" and step < EARLY:
        early = f"That is early: critics begin no better than a coin, and before step {EARLY:,} it is no verdict."
        return Answer(f"{said} {early}", "doubtful")
    return Answer(said, verdict)


def tiles(series: data.SeriesSet) -> list[Tile]:
    """The numbers to see at a glance; none where gradlab's own probes measured nothing but others did."""
    measured = {key.probe for key, one in series.items() if len(one)}
    if not _of_critics(series) and measured:
        found = _ROLLOUT_TILES if "on-policy" in measured else []
        return [_tile(label, series, "on-policy", name, kind, ON_POLICY[name].meaning) for label, name, kind in found]
    found = [
        ("wrong direction", "simulator", "deterministic/wrong_direction", "share", WRONG_DIRECTION),
        ("cosine with the simulator", "simulator", "deterministic/cosine", "cosine", METRICS["cosine"]),
        ("actor in the best basin", "landscape", "best_basin_share", "share", LANDSCAPE["best_basin_share"]),
        ("gap, of Q's range", "landscape", "relative_gap", "share", LANDSCAPE["relative_gap"]),
        ("M/μ", "curvature", "ratio", "number", CURVATURE["ratio"]),
    ]
    return [_tile(label, series, probe, name, kind, word.meaning) for label, probe, name, kind, word in found]


def _of_critics(series: data.SeriesSet) -> bool:
    """Whether one of gradlab's probes that need a critic of (obs, act) has measured a number."""
    measured = {key.probe for key, one in series.items() if len(one)} - {"on-policy"}
    return any(has_figure(series, probe) for probe in measured)


def _of_others(series: data.SeriesSet) -> Answer:
    names = sorted({key.probe for key, one in series.items() if len(one)})
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return Answer(
        f"The only numbers of this run so far are those of {listed}: they are below, without a verdict.", "unknown"
    )


@dataclass(frozen=True, slots=True)
class _Error:
    """An estimator's mean squared error at one step: the estimate, its interval, and as a share of ‖reference‖²."""

    name: str
    value: float
    low: float
    high: float
    relative: float
    cosine: str


def least_error(series: data.SeriesSet) -> list[str]:
    """Which stochastic estimator has the smallest mean squared error, or that it cannot be told.

    Example:
        >>> least_error({})
        []
    """
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
        >>> import numpy as np
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
    value, low, high = (float(column[0]) for column in (wrong.value, wrong.low, wrong.high))
    # Of an interval that holds good ones, too, nothing is known yet.
    if value >= _BAD and low >= _DOUBTFUL:
        return "bad"
    if value >= _DOUBTFUL or not math.isfinite(high) or high >= _BAD:
        return "doubtful"
    return "good"


def _share(point: Series) -> str:
    """A share with its interval; ± stands for one standard error in all that gradlab prints."""
    value, (low, high, _) = 100 * float(point.value[0]), share_interval(point)
    if not math.isfinite(low) or not math.isfinite(high):
        return f"{value:.0f} % (no interval)"
    return f"{value:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)"


def _tile(label: str, series: data.SeriesSet, probe: str, name: str, kind: str, meaning: str) -> Tile:
    whole = data.select(series, probe, name)
    point = last(whole)
    if point is None:
        return Tile(label, "—", "", "not resolved yet" if whole is not None else "not measured yet", meaning)
    value, low, high = (float(column[0]) for column in (point.value, point.low, point.high))
    detail = f"n = {counted(point, probe)} · step {int(point.step[0]):,}"
    raw = ""
    if kind == "share":
        stored = low, high
        low, high, changed = share_interval(point)
        text, ends = f"{percent(value)} %", (percent(low), f"{percent(high)} %")
        if changed:
            raw = f"{text}; Wilson's interval {ends[0]} to {ends[1]}: that stored, {stored[0]:.3g} to {stored[1]:.3g}, "
            raw += "is none of a share"
    elif kind == "steps":
        # A number of steps cannot be negative: an end that is says nothing.
        low = low if low > 0 else -math.inf
        text, ends = f"{value:,.0f}", (f"{low:,.0f}", f"{high:,.0f}")
    else:
        text, ends = f"{value:.3g}", (f"{low:.3g}", f"{high:.3g}")
    if kind == "cosine":
        text, raw = printed_cosine(point), f"estimate {value:.4g}, interval {low:.3g} to {high:.3g}"
        ends = (ends[0] if low >= -1 else "-1.00", ends[1] if high <= 1 else "1.00")
    text, between, raw = (part.replace("-", "−") for part in (text, interval(low, high, *ends), raw))
    return Tile(label, text, between, detail, meaning, raw, *_course(whole))


def _course(whole: Series | None) -> tuple[tuple[float, ...], tuple[tuple[float, float], ...]]:
    if whole is None:
        return (), ()
    thinned = data.thin(whole.pick(np.isfinite(whole.value)), _COURSE)
    value, low, high = (column.astype(np.float32).tolist() for column in (thinned.value, thinned.low, thinned.high))
    return tuple(value), tuple(zip(low, high, strict=True))
