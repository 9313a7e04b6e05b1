"""What measuring cost, in a report: the figure, the table whose colours are its legend, and why numbers are missing."""

from __future__ import annotations

import math

from dashboards.costs import Costs, ProbeCost
from dashboards.figures.cost import percent
from dashboards.reports.drawn import Planned, drawn_one
from dashboards.reports.markup import Markup, table, tag
from dashboards.run_figures import RunFigures
from dashboards.said import times
from dashboards.style import color_of

#: Reasons that are said of one probe.
_REASONS = 3


def cost_section(figures: RunFigures, place: str) -> Markup:
    """What a run's probes cost beside what they were planned to and may, and why measurements are missing.

    Args:
        figures: the run's figures.
        place: what ids begin with.
    """
    costs = figures.costs
    if not costs.probes:
        return tag("p", "Nothing has been measured yet.", class_="quiet")
    limit = "no budget was set" if costs.budget is None else f"the budget was {percent(costs.budget)}"
    said = f"Training waited for probes {percent(costs.spent('inline'))} of its {_seconds(costs.elapsed)}; {limit}."
    if any(one.where == "background" for one in costs.probes):
        said += f" The process beside it measured {percent(costs.spent('background'))} of that time."
    head = ["probe", "where", "spent", "planned", "each", "due", "measured", "skipped", "failed"]
    names = list(dict.fromkeys(one.name for one in costs.probes))
    rows = [_cost_row(one, names) for one in costs.probes]
    parts = [tag("p", said), table(head, rows, frozenset(range(2, 9)))]
    if reasons := _reasons(costs):
        parts.append(tag("ul", *[tag("li", one) for one in reasons], class_="quiet"))
    drawn: list[Markup] = []
    if "cost" in figures.names():
        drawn.append(drawn_one(Planned(f"{place}-cost", "cost", "Time so far, by probe", figures.cost), figures))
    return tag("div", *drawn, tag("div", *parts, class_="card stack"), class_="stack")


def _reasons(costs: Costs) -> list[str]:
    """Why measurements are missing."""
    found = [
        f"{one.name} skipped {times(count)}: {why}" for one in costs.probes for why, count in one.reasons[:_REASONS]
    ]
    found += [f"{one.name} failed at step {f.step:,}: {f.message}" for one in costs.probes for f in one.failures]
    return found + [f"{name} was left out of this run: {why}" for name, why in sorted(costs.left_out.items())]


def _cost_row(one: ProbeCost, names: list[str]) -> list[str]:
    place = "training process" if one.where == "inline" else "background"
    planned = percent(one.planned) if math.isfinite(one.planned) else "—"
    each = _seconds(one.price) if math.isfinite(one.price) else "—"
    counts = [f"{number:,}" for number in (one.due, one.ok, one.skipped, one.failed)]
    light, dark = (color_of(names, one.name, theme) for theme in ("light", "dark"))
    swatch = tag("span", class_="swatch", style=f"--light:{light};--dark:{dark}")
    return [tag("span", swatch, one.name, class_="named"), place, percent(one.spent), planned, each, *counts]


def _seconds(value: float) -> str:
    """A duration with two digits.

    Example:
        >>> _seconds(0.0123), _seconds(2.34), _seconds(140.2), _seconds(9000.0)
        ('12 ms', '2.3 s', '140 s', '2.5 h')
    """
    if value < 0.9995:
        return f"{1000 * value:.2g} ms" if value < 0.0995 else f"{1000 * value:.0f} ms"
    if value < 600:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
