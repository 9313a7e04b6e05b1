"""What stands out in a run's numbers beside the answer, each with its evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from dashboards import series as data
from dashboards.alarms import marks
from dashboards.answer import printed_cosine
from dashboards.figures.curvature import WATCHED
from dashboards.one_run import OneRun
from dashboards.run_figures import KINDS
from dashboards.said import Verdict, interval, number, percent, times
from dashboards.series import Series, last
from dashboards.words import CURVATURE, counted, estimator_label

#: A gap below this share of Q's range is not worth a word.
_GAP = 0.02
#: The most alarms that are named; the figure has all.
_NAMED = 3


class Finding(NamedTuple):
    """One thing that stands out.

    Attributes:
        verdict: how bad it is.
        text: what, with its interval, n and step.
        figure: the figure that shows it; empty where none does.
    """

    verdict: Verdict
    text: str
    figure: str = ""


def findings(run: OneRun) -> list[Finding]:
    """What stands out, worst first; of equals the order of the figures."""
    parts = (_direction, _bias, _landscape, _curvature, _alarms, _measuring)
    found = [one for part in parts for one in part(run)]
    places = list(KINDS)
    order = {"bad": 0, "doubtful": 1, "unknown": 2, "good": 3}
    return sorted(found, key=lambda one: (order[one.verdict], places.index(one.figure) if one.figure in places else 99))


def _newest(run: OneRun, probe: str, name: str) -> Series | None:
    return last(data.select(run.series, probe, name))


def _ends(point: Series) -> tuple[float, float, float]:
    return float(point.value[0]), float(point.low[0]), float(point.high[0])


def _share(point: Series, probe: str) -> str:
    value, low, high = _ends(point)
    between = interval(low, high, percent(low), f"{percent(high)} %")
    return f"{percent(value)} % ({between}; n = {counted(point, probe)}, step {int(point.step[0]):,})"


def _direction(run: OneRun) -> Iterator[Finding]:
    cosine = _newest(run, "simulator", "deterministic/cosine")
    if cosine is None:
        return
    _, low, high = _ends(cosine)
    about = (
        f"cosine {printed_cosine(cosine, '.2f')}, {interval(low, high)}; n = {counted(cosine, 'simulator')}, "
        f"step {int(cosine.step[0]):,}"
    ).replace("-", "−")
    if low > 0:
        yield Finding(
            "good", f"The critic's whole policy gradient goes with the simulator's ({about}).", "simulator-error"
        )
    elif high < 0:
        yield Finding(
            "bad", f"The critic's whole policy gradient goes against the simulator's ({about}).", "simulator-error"
        )
    else:
        yield Finding(
            "unknown",
            "Whether the critic's whole policy gradient goes with the simulator's or against it is not resolved "
            f"({about}).",
            "simulator-error",
        )


def _bias(run: OneRun) -> Iterator[Finding]:
    biased = []
    for name in data.estimators(run.series, "gradient", ["bias_squared"]):
        point = _newest(run, "gradient", f"{name}/bias_squared")
        # An interval without width is of what has no error to estimate.
        if point is not None and point.low[0] > 0 and point.low[0] != point.high[0]:
            biased.append((name, point))
    if not biased:
        return
    biased.sort(key=lambda one: -float(one[1].value[0]))
    named = [f"{estimator_label(name)} {number(_ends(one)[0])} ({interval(*_ends(one)[1:])})" for name, one in biased]
    newest = biased[0][1]
    yield Finding(
        "doubtful",
        f"Biased against the critic's own gradient, by bias²: {'; '.join(named)}; n = {counted(newest, 'gradient')}, "
        f"step {int(newest.step[0]):,}.",
        "gradient-error",
    )


def _landscape(run: OneRun) -> Iterator[Finding]:
    gap, own, basin = (
        _newest(run, "landscape", name) for name in ("relative_gap", "relative_own_fit", "relative_basin_choice")
    )
    if gap is not None and gap.low[0] > 0 and gap.value[0] >= _GAP:
        text = f"The actor leaves {_share(gap, 'landscape')} of Q's range on the table"
        if own is not None and basin is not None:
            larger = "its own fit" if own.value[0] >= basin.value[0] else "its choice of a basin"
            fit, choice = (percent(float(one.value[0])) for one in (own, basin))
            text += f", most of it by {larger} (own fit {fit} %, basin choice {choice} %)"
        yield Finding("doubtful", f"{text}.", "landscape")
    best = _newest(run, "landscape", "best_basin_share")
    if best is not None and best.high[0] < 0.5:
        text = f"The actor stands in the basin of the best optimum on only {_share(best, 'landscape')} of the states."
        yield Finding("bad", text, "landscape")
    level = _newest(run, "landscape", "level_share")
    if level is not None and level.low[0] > 0:
        yield Finding(
            "bad", f"The critic tells the actor nothing on {_share(level, 'landscape')} of the states.", "landscape"
        )


def _curvature(run: OneRun) -> Iterator[Finding]:
    valid, interior = (_newest(run, "curvature", name) for name in ("valid_share", "interior_share"))
    if interior is not None and interior.high[0] < 0.5:
        text = f"The actor's action is inside the box on only {_share(interior, 'curvature')} of the states."
        yield Finding("bad", f"{text} Elsewhere it is saturated.", "curvature")
    if valid is not None and valid.high[0] < 0.5:
        text = f"M/μ means something on only {_share(valid, 'curvature')} of the states: elsewhere Q is not concave."
        yield Finding("doubtful", text, "curvature")


def _alarms(run: OneRun) -> Iterator[Finding]:
    found = []
    for name in WATCHED:
        one = data.select(run.series, "curvature", name)
        found += [] if one is None else [(one.step[mark.index], mark) for mark in marks(one, CURVATURE[name].label)]
    for _, mark in sorted(found, key=lambda one: -one[0])[:_NAMED]:
        yield Finding("doubtful", f"{'; '.join(mark.text[:2])}; {mark.text[-1]}.", "curvature")


def _measuring(run: OneRun) -> Iterator[Finding]:
    for name, probe in sorted(run.probes.items()):
        if probe.failed and probe.failure is not None:
            step, message = probe.failure
            yield Finding(
                "bad", f"The probe {name} failed {times(probe.failed)}, last at step {step:,}: {message}.", "cost"
            )
        if probe.absent:
            tried = probe.ok + len(probe.absent)
            step, message = probe.absent[-1]
            yield Finding(
                "doubtful",
                f"{len(probe.absent)} of {tried} measurements of the probe {name} gave no number, the last at step "
                f"{step:,}: {message}.",
                "cost",
            )
    if run.info.status == "failed":
        yield Finding("bad", f"The run failed: {run.info.message or 'it gave no reason'}.")
    budget = run.info.config.get("budget")
    elapsed = run.info.last_seen - run.info.started
    inline = sum(probe.cost for probe in run.probes.values() if probe.where == "inline")
    if isinstance(budget, int | float) and elapsed > 0 and inline / elapsed > budget and math.isfinite(budget):
        text = f"Training waited {percent(inline / elapsed)} % of its time for probes, more than the budget of "
        yield Finding("doubtful", f"{text}{percent(budget)} %.", "cost")
