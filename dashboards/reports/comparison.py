"""Several runs in a report: in what algorithms differ on the same task over seeds, and what so few seeds leave open."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from scipy.special import stdtrit

from dashboards.figures.compared import Number, compared
from dashboards.health_words import HEALTH
from dashboards.reports.embedded import figure_data
from dashboards.reports.markup import Markup, joined, table, tag
from dashboards.series import Key, Series
from dashboards.style import Theme
from dashboards.truth_words import VALUE
from dashboards.words import CURVATURE, LANDSCAPE, METRICS, RUNS, WRONG_DIRECTION, Word
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.store import RunInfo, Store
from gradlab.store.across import AcrossRuns, across_runs, grouped

#: What is compared, where runs have it.
NUMBERS: Mapping[str, Word] = {
    "simulator/deterministic/wrong_direction": WRONG_DIRECTION,
    "simulator/deterministic/cosine": Word("cosine with the simulator", METRICS["cosine"].meaning, "cosine"),
    "returns/value/rmse": VALUE["value/rmse"],
    "landscape/best_basin_share": LANDSCAPE["best_basin_share"],
    "landscape/relative_gap": LANDSCAPE["relative_gap"],
    "curvature/ratio": CURVATURE["ratio"],
    "curvature/valid_share": CURVATURE["valid_share"],
    "health/actor/saturated_share": Word("actor saturated", HEALTH["actor/saturated_share"].meaning, "share"),
}
#: Pixels of a row of panels, of what is above and below them, and of a line of the legend.
_ROW, _AROUND, _ENTRY = 210, 70, 20
#: Runs a group that are told of as an example of what more of them would show.
_MORE = (5, 10)
#: Between what numbers of a scale can be; their intervals are printed within.
_POSSIBLE = {"share": (0.0, 1.0), "cosine": (-1.0, 1.0)}


@dataclass(frozen=True)
class Compared:
    """The runs of one task.

    Attributes:
        environment: the task.
        groups: algorithm → ids of its runs.
        found: number → what it is in each group that has it and by how much they differ.
        lacking: number that runs have → why it is not compared.
    """

    environment: str
    groups: Mapping[str, Sequence[int]]
    found: Mapping[str, AcrossRuns]
    lacking: Mapping[str, str]


def comparisons(store: Store, runs: Sequence[RunInfo]) -> Iterator[Compared]:
    """For each task of which there are two runs or more, what its algorithms differ in.

    Args:
        store: the store.
        runs: the runs of the report.
    """
    for environment in dict.fromkeys(run.environment for run in runs):
        same = [run for run in runs if run.environment == environment]
        if len(same) < 2:
            continue
        groups = grouped(same)
        having = {run.id: set(_names(store, run)) for run in same}
        found, lacking = {}, {}
        for scalar in NUMBERS:
            there = {name: ids for name, ids in groups.items() if any(scalar in having[run] for run in ids)}
            if not there:
                continue
            try:
                found[scalar] = across_runs(store, there, scalar)
            except GradlabError as error:
                lacking[scalar] = str(error)
        yield Compared(environment, groups, found, lacking)


def _names(store: Store, run: RunInfo) -> Iterator[str]:
    for probe in dict.fromkeys(scalar.partition("/")[0] for scalar in NUMBERS):
        yield from (f"{probe}/{name}" for name in np.unique(store.scalars(run=run.id, probe=probe).name))


def comparison(store: Store, runs: Sequence[RunInfo]) -> Markup | None:
    """What stands before the single runs: the answer over seeds, the numbers, and their course over training.

    Args:
        store: the store.
        runs: the runs of the report.

    Returns:
        None of a single run.
    """
    if len(runs) < 2:
        return None
    parts = [_section(one, f"compared-{place}") for place, one in enumerate(comparisons(store, runs), 1)]
    alone = [run for run in runs if sum(other.environment == run.environment for other in runs) == 1]
    if alone:
        listed = ", ".join(f"{run.name} ({run.environment or 'no environment stored'})" for run in alone)
        said = "Not compared, since numbers of different tasks do not compare and of these tasks there is one run: "
        parts.append(tag("p", said, listed, ".", class_="quiet"))
    return joined(*parts)


def _section(one: Compared, place: str) -> Markup:
    sizes = ", ".join(f"{_called(name)}: {_count(len(ids), 'run')}" for name, ids in one.groups.items())
    title = f"{_listed([_called(name) for name in one.groups])} on {one.environment or 'a task that was not stored'}"
    if not one.found:
        return joined(
            tag("h2", title, id_=place),
            tag("p", "Not compared: these runs have none of the numbers that are.", class_="quiet"),
        )
    return joined(
        tag("h2", title, id_=place),
        tag("p", sizes, class_="facts"),
        _answer(one),
        tag("div", _table(one), *[tag("p", note, class_="quiet") for note in _notes(one)], class_="card stack"),
        _figure(one, place),
    )


def resolved(one: Compared) -> list[tuple[str, str, str, Estimate]]:
    """Number, the group that has more of it, the other, and by how much: of differences that are resolved.

    At the last step of each number.
    """
    found = []
    for scalar, across in one.found.items():
        for (first, second), estimates in across.differences.items():
            last = estimates[-1]
            if not last.resolved:
                continue
            if last.value > 0:
                found.append((scalar, first, second, last))
            else:
                low, high = last.interval()
                turned = Estimate(-last.value, last.stderr, last.samples, ends=(-high, -low))
                found.append((scalar, second, first, turned))
    return found


def judged(one: Compared) -> int:
    """How many differences there are at the last step whose interval is known, so that they could be resolved."""
    last = [found[-1] for across in one.found.values() for found in across.differences.values()]
    return sum(math.isfinite(sum(found.interval())) for found in last)


def _answer(one: Compared) -> Markup:
    count, known = judged(one), resolved(one)
    if len(one.groups) == 1:
        text = "These runs are of one algorithm: below is what it does over seeds."
    elif count == 0:
        text = "Nothing is known about how algorithms differ: of one run alone, another seed may do anything."
    elif not known:
        text = (
            f"None of the {_count(count, 'difference')} between algorithms is resolved at the last step that all have "
            f"in common: what looks different below may be the seeds."
        )
    else:
        said = "; ".join(
            f"{NUMBERS[scalar].label} is larger with {_called(more)} than with {_called(less)}, by {_number(by)}"
            for scalar, more, less, by in known
        )
        text = f"{len(known)} of {_count(count, 'difference')} between algorithms {_is(len(known))} resolved: {said}."
    verdict, sign, word = ("fact", "=", "a fact") if known else ("unknown", "…", "not known")
    mark = tag("span", sign, class_="sign", role="img", aria_label=word, title=word)
    return tag("div", mark, tag("p", text), class_=f"card answer {verdict}")


def _table(one: Compared) -> Markup:
    head = ["number", "step", *[_called(name) for name in one.groups], "resolved differences"]
    if len(one.groups) == 1:
        head.pop()
    rows = []
    for scalar, across in one.found.items():
        named = tag("span", NUMBERS[scalar].label, title=f"{scalar}: {NUMBERS[scalar].meaning}")
        groups = [across.groups.get(name) for name in one.groups]
        cells = [
            named,
            f"{across.steps[-1]:,}",
            *["—" if found is None else _number(found[-1], scalar) for found in groups],
        ]
        if len(one.groups) > 1:
            known = [
                f"{_called(first)} − {_called(second)}: {_number(found[-1])}"
                for (first, second), found in across.differences.items()
                if found[-1].resolved
            ]
            cells.append("; ".join(known) or "none")
        rows.append(cells)
    return table(head, rows, frozenset(range(1, 2 + len(one.groups))))


def _notes(one: Compared) -> Iterator[str]:
    yield (
        "Interquartile means over runs with 95 % intervals (stratified bootstrap, Student's t for so few runs), at the "
        "last step near which all runs were measured."
    )
    count, least = judged(one), min(map(len, one.groups.values()))
    if len(one.groups) > 1 and least < 2:
        yield "Of one run nothing is known about the next seed: its group has no interval, and no difference to it has."
    elif count:
        more = ", ".join(f"with {n} from {_reach(n):.1f}" for n in _MORE if n > least)
        yield (
            f"With {least} runs a group, a difference is resolved from about {_reach(least):.1f} standard deviations "
            f"between seeds on{f'; {more}' if more else ''}."
        )
    if count > 1:
        yield f"Of {count} differences about {count / 20:.1g} would be resolved by chance where there is none."
    for scalar, why in one.lacking.items():
        yield f"{NUMBERS[scalar].label} is not compared: {why.removeprefix(f'{scalar}: ')}."
    for note in dict.fromkeys(note for across in one.found.values() for note in across.notes):
        which = [NUMBERS[scalar].label for scalar, across in one.found.items() if note in across.notes]
        yield f"{_listed(which)}: {note}."


def _reach(runs: int) -> float:
    """The least difference of two means of so many runs that Welch's interval resolves, in their standard deviation.

    Example:
        >>> round(_reach(2), 1), round(_reach(5), 1)
        (4.3, 1.5)
    """
    return float(stdtrit(2 * runs - 2, 0.975)) * math.sqrt(2 / runs)


def _figure(one: Compared, place: str) -> Markup:
    sets = {
        (number, _called(name)): {
            Key(RUNS, scalar, ""): _series(across, name)
            for scalar, across in one.found.items()
            if name in across.groups
        }
        for number, name in enumerate(one.groups, 1)
    }
    numbers = [Number(scalar, NUMBERS[scalar]) for scalar in one.found]
    rows = math.ceil(len(numbers) / 2) if len(numbers) > 3 else len(numbers)
    pixels = _ROW * rows + _AROUND + _ENTRY * math.ceil(len(one.groups) / 4)
    title = "Over training, by algorithm"

    def make(theme: Theme) -> go.Figure:
        return compared(sets, RUNS, numbers, theme, place)

    plot = tag(
        "div",
        class_="plot wide",
        style=f"height:{pixels}px",
        role="img",
        aria_label=f"{title}; the last of these numbers are in the table above",
        data_figure=f"{place}-data",
        data_height=str(pixels),
    )
    words = "Interquartile means over runs; bands are 95 % intervals, which a group of one run has not. Definitions: "
    defined = [tag("div", tag("dt", word.label), ": ", tag("dd", word.meaning)) for _, word in numbers]
    return tag(
        "figure",
        tag("h3", title),
        tag("div", plot, class_="scroll"),
        figure_data(f"{place}-data", make),
        tag("figcaption", tag("p", words), tag("dl", *defined)),
        class_="card",
    )


def _series(across: AcrossRuns, name: str) -> Series:
    found = across.groups[name]
    ends = np.array([one.interval() for one in found])
    return Series(
        np.array(across.steps, np.int64),
        np.array([one.value for one in found]),
        np.array([one.stderr for one in found]),
        ends[:, 0],
        ends[:, 1],
        np.array([one.samples for one in found], np.int64),
    )


def _number(estimate: Estimate, scalar: str = "") -> str:
    least, most = _POSSIBLE.get(NUMBERS[scalar].scale, (-math.inf, math.inf)) if scalar else (-math.inf, math.inf)
    low, high = (end if math.isnan(end) else min(max(end, least), most) for end in estimate.interval())
    value = _digits(estimate.value)
    return f"{value} [{_digits(low)}, {_digits(high)}]" if math.isfinite(low + high) else f"{value} (one run)"


def _digits(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _called(name: str) -> str:
    return name or "no algorithm stored"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
