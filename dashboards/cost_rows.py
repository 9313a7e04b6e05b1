"""What each probe cost, beside what it was planned to, and why measurements are missing: the words of the cost card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import html

from dashboards.costs import Costs, ProbeCost
from dashboards.figures.cost import percent
from dashboards.said import times
from dashboards.style import PALETTE
from dashboards.summary import Failure

#: Reasons that are said of one probe.
_REASONS = 3
_WHERE = {"inline": "in the training process", "background": "in the background"}


def cost_rows(costs: Costs, traces: Mapping[int, str] | None = None) -> list[Any]:
    """A row for each probe: its bar of spent in planned, its counts, and why what is missing is missing.

    Args:
        costs: from ``dashboards.costs.costs``.
        traces: id of a measurement that failed → its traceback, for those that have one.
    """
    if not costs.probes:
        return [dmc.Text("nothing measured yet", size="xs", c="dimmed")]
    # Lengths of bars are told apart within one process: a share of one says nothing about the other's.
    longest = {
        where: max([_length(one) for one in costs.probes if one.where == where], default=0.0) for where in _WHERE
    }
    names = list(dict.fromkeys(one.name for one in costs.probes))
    rows: list[Any] = [
        _row(one, names.index(one.name), longest[one.where], traces or {}) for one in costs.probes
    ]  # fmt: skip
    if costs.left_out:
        left = [
            dmc.Text(
                [html.Strong(name), f": {why}"], size="xs", c="dimmed", className="trouble"
            )
            for name, why in sorted(costs.left_out.items())
        ]  # fmt: skip
        rows.append(html.Div([dmc.Text("Left out of this run", size="xs", fw=650), *left], className="left-out"))
    return rows


def _row(one: ProbeCost, place: int, longest: float, traces: Mapping[int, str]) -> Any:
    light, dark = PALETTE[place % len(PALETTE)]
    color = {"--bar-light": light, "--bar-dark": dark}
    head = [
        dmc.Group(
            [
                html.Span(className="swatch", style=color),
                dmc.Text(one.name, size="sm", fw=600, truncate=True, miw=0, className="cost-name"),
            ],
            gap=6,
            wrap="nowrap",
            miw=0,
            flex=1,
        ),
        dmc.Text(_shares(one), size="xs", className="number cost-share"),
    ]
    body: list[Any] = [
        dmc.Group(head, justify="space-between", wrap="nowrap", gap="xs"),
        html.Div(
            [
                html.Div(className="planned", style={"width": _width(one.planned, longest)}),
                html.Div(className="spent", style={"width": _width(one.spent, longest), **color}),
            ],
            className="bar",
        ),
        dmc.Text(_counts(one), size="xs", c="dimmed", className="number"),
    ]
    body += [_line(f"skipped {times(count)}: {reason}", "dimmed") for reason, count in one.reasons[:_REASONS]]
    rest = sum(count for _, count in one.reasons[_REASONS:])
    body += [_line(f"skipped {times(rest)} for other reasons", "dimmed")] if rest else []
    body += [trouble(failure, traces.get(failure.id, "")) for failure in one.failures[-1:]]
    return html.Div(dmc.Stack(body, gap=1), className="cost-row")


def trouble(failure: Failure, trace: str = "") -> Any:
    """A measurement that failed, in a line; behind it the traceback, where there is one.

    Example:
        >>> trouble(Failure(7, 1000, "ValueError: no")).children
        'step 1,000 failed: ValueError: no'
    """
    line = _line(f"step {failure.step:,} failed: {failure.message}", "red")
    if not trace:
        return line
    return html.Details([html.Summary(line), html.Pre(trace, className="trace", tabIndex=0)], className="trouble")


def _line(text: str, color: str) -> Any:
    return dmc.Text(text, size="xs", c=color, lineClamp=3, className="trouble")


def _shares(one: ProbeCost) -> str:
    planned = f" of {percent(one.planned)} planned" if math.isfinite(one.planned) else ", no price yet"
    return f"{percent(one.spent)}{planned}"


def _counts(one: ProbeCost) -> str:
    parts = [_WHERE[one.where], f"{one.ok} of {one.due:,} due measured"]
    parts += [f"{one.skipped} skipped"] if one.skipped else []
    parts += [f"{one.failed} failed"] if one.failed else []
    parts += [f"{_seconds(one.price)} each"] if math.isfinite(one.price) else []
    return " · ".join(parts)


def _seconds(value: float) -> str:
    """A duration with two digits.

    Example:
        >>> _seconds(0.0123), _seconds(0.00123), _seconds(2.34)
        ('12 ms', '1.2 ms', '2.3 s')
    """
    if value < 0.995:
        return f"{1000 * value:.0f} ms" if value >= 0.01 else f"{1000 * value:.2g} ms"
    return f"{value:.1f} s" if value < 9.95 else f"{value:,.0f} s"


def _length(one: ProbeCost) -> float:
    return max(one.spent, one.planned if math.isfinite(one.planned) else 0.0)


def _width(share: float, longest: float) -> str:
    return f"{100 * share / longest:.1f}%" if longest > 0 and math.isfinite(share) else "0"
