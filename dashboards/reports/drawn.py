"""The figures of a report: each with its data, its caption, and those that a run has no numbers for with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import plotly.graph_objects as go

from dashboards.figures.any_probe import keys, paged
from dashboards.kinds import KINDS
from dashboards.reports.captions import caption
from dashboards.reports.embedded import figure_data
from dashboards.reports.markup import Markup, joined, table, tag
from dashboards.run_figures import RunFigures
from dashboards.style import Theme

#: Of a report's gradient errors, from top to bottom.
METRICS = ("bias_squared", "variance", "cosine", "norm_ratio")
_HALF = {"field", "field-over-states", "state-look", "landscape", "curvature", "rollout-gradient", "rollout-value"}
#: Panels beside each other: a narrow page scrolls.
_WIDE = {"field-critics", "field-simulated"}
#: Pages of a probe's own numbers that are drawn; the table has all.
_PAGES = 4


class Planned(NamedTuple):
    """A figure that is going to be drawn.

    Attributes:
        where: its id.
        name: of the figure.
        title: what stands over it.
        make: draws it in a theme.
        more: what its caption says of this one picture.
    """

    where: str
    name: str
    title: str
    make: Callable[[Theme], go.Figure]
    more: str = ""


def planned(figures: RunFigures, place: str) -> Iterator[Planned]:
    """The figures that a run has, but for that of costs, which stands with their table.

    Args:
        figures: the run's figures.
        place: what ids begin with.
    """
    for name in figures.names():
        if name == "cost":
            continue
        if name == "field":
            yield from _fields(figures, place)
        elif name in KINDS:
            more = figures.said_of_picture(name)
            yield Planned(f"{place}-{name}", name, KINDS[name].title, _maker(figures, name), more)
    for number, (name, probe) in enumerate(figures.others.items(), 1):
        # Names are free, ids are not.
        pages = paged(keys(figures.run.series, probe))
        for page in range(min(len(pages), _PAGES)):
            title = f"{probe}, page {page + 1} of {len(pages)}" if len(pages) > 1 else probe
            yield Planned(f"{place}-probe-{number}-{page + 1}", name, title, _page(figures, probe, page))


def _maker(figures: RunFigures, name: str) -> Callable[[Theme], go.Figure]:
    if name in ("gradient-error", "simulator-error"):
        return lambda theme: figures.gradient_error(METRICS, probe=KINDS[name].probe, theme=theme)
    return lambda theme: figures.figure(name, theme)


def _page(figures: RunFigures, name: str, page: int) -> Callable[[Theme], go.Figure]:
    return lambda theme: figures.any_probe(name, page=page, theme=theme)


def _fields(figures: RunFigures, place: str) -> Iterator[Planned]:
    """The first picture and the newest, of one state by one critic."""
    steps = list(dict.fromkeys(step for step, _ in figures.run.fields))
    pictures = len(figures.run.fields)
    of = f"Of the first state that it is measured at, by the first critic; {pictures} pictures are stored."
    for step in dict.fromkeys([steps[0], steps[-1]]):
        where = f"{place}-field" if step == steps[-1] else f"{place}-field-first"
        word = "newest" if step == steps[-1] else "first"
        title = f"{KINDS['field'].title}, {word} picture: step {step:,}"

        def make(theme: Theme, step: int = step) -> go.Figure:
            return figures.field(step, theme=theme)

        yield Planned(where, "field", title, make, of)


def drawn_one(one: Planned, figures: RunFigures) -> Markup:
    """One figure with its title and caption.

    Args:
        one: what it is.
        figures: the run's figures.
    """
    where, name, title, make, more = one
    shown = METRICS if name in ("gradient-error", "simulator-error") else ()
    pixels = figures.height(name)
    plot = tag(
        "div",
        class_="plot" if name in KINDS and name not in _WIDE else "plot wide",
        style=f"height:{pixels}px",
        role="img",
        aria_label=f"{title}; the numbers are in the table below",
        data_figure=f"{where}-data",
        data_height=str(pixels),
    )
    return tag(
        "figure",
        tag("h3", title),
        tag("div", plot, class_="scroll"),
        figure_data(f"{where}-data", make),
        caption(name, figures, shown, more),
        class_=f"card {'half' if name in _HALF else ''}".strip(),
        id_=where,
    )


def absent(figures: RunFigures) -> Markup | None:
    """The figures that a run has no numbers for, and why; None where it has all."""
    found = figures.absent()
    if not found:
        return None
    titles = {name: KINDS[name].title if name in KINDS else name for name in found}
    rows = [[titles[name], why] for name, why in found.items()]
    return joined(
        tag("h2", "Figures that this run has no numbers for"), tag("div", table(["figure", "why"], rows), class_="card")
    )
