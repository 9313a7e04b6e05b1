"""Several runs in a report: what algorithms differ in on the same task, before the runs themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from dashboards.comparing import NUMBERS, Compared, answer, called, comparisons, counted, in_digits, listed, notes
from dashboards.figures.compared import Number, compared
from dashboards.one_run import OneRun
from dashboards.reports.embedded import figure_data
from dashboards.reports.markup import Markup, joined, table, tag
from dashboards.reports.sections import answer_card
from dashboards.series import Key
from dashboards.style import Theme
from dashboards.words import RUNS
from gradlab.store import Store

#: Pixels of a row of panels, of what is above and below them, and of a line of the legend.
_ROW, _AROUND, _ENTRY = 210, 70, 20


def comparison(store: Store, runs: Sequence[OneRun]) -> Markup | None:
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
    infos = [run.info for run in runs]
    alone = [one for one in infos if sum(other.environment == one.environment for other in infos) == 1]
    if alone:
        named = ", ".join(f"{one.name} ({one.environment or 'no environment stored'})" for one in alone)
        said = "Not compared, since numbers of different tasks do not compare and of these tasks there is one run: "
        parts.append(tag("p", said, named, ".", class_="quiet"))
    return tag("div", *parts, class_="stack")


def _section(one: Compared, place: str) -> Markup:
    sizes = ", ".join(f"{called(name)}: {counted(len(ids), 'run')}" for name, ids in one.groups.items())
    title = f"{listed([called(name) for name in one.groups])} on {one.environment or 'a task that was not stored'}"
    if not one.found:
        parts = [tag("p", "Not compared: these runs have none of the numbers that are.", class_="quiet")]
    else:
        said = [tag("p", note, class_="quiet") for note in notes(one)]
        parts = [answer_card(answer(one)), tag("div", _table(one), *said, class_="card stack"), _figure(one, place)]
    return joined(tag("h2", title, id_=place), tag("p", sizes, class_="facts"), *parts)


def _table(one: Compared) -> Markup:
    several = len(one.groups) > 1
    head = ["number", "step", *map(called, one.groups), *(["resolved differences"] if several else [])]
    rows = []
    for scalar, across in one.found.items():
        word = NUMBERS[scalar]
        groups = [across.groups.get(name) for name in one.groups]
        cells = [tag("span", word.label, title=f"{scalar}: {word.meaning}"), f"{across.steps[-1]:,}"]
        cells += ["—" if found is None else in_digits(found[-1], word) for found in groups]
        cells += ["; ".join(map(str, one.resolved(scalar))) or "none"] if several else []
        rows.append(cells)
    return table(head, rows, frozenset(range(1, 2 + len(one.groups))))


def _figure(one: Compared, place: str) -> Markup:
    numbers = [Number(scalar, NUMBERS[scalar]) for scalar in one.found]
    sets = {
        (number, called(name)): {
            Key(RUNS, scalar, ""): one.series(scalar, name)
            for scalar, across in one.found.items()
            if name in across.groups
        }
        for number, name in enumerate(one.groups, 1)
    }
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
    words = "Interquartile means over runs; bands are 95 % intervals, where there is one. Definitions: "
    defined = [tag("div", tag("dt", word.label), ": ", tag("dd", word.meaning)) for _, word in numbers]
    return tag(
        "figure",
        tag("h3", title),
        tag("div", plot, class_="scroll"),
        figure_data(f"{place}-data", make),
        tag("figcaption", tag("p", words), tag("dl", *defined)),
        class_="card",
    )
