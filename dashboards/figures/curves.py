"""Small panels of lines with bands over something other than the training step, beside or under each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dashboards.figures.lines import caption, emptied, message, rule
from dashboards.style import Theme, axis, drawing, layout, muted, rgba

#: Between two panels, in panels.
_GAP = 0.16


class Point(NamedTuple):
    """A number over something, with its 95 % interval and the number of its samples."""

    x: float
    value: float
    low: float
    high: float
    samples: int


class Line(NamedTuple):
    """A line of a panel; its points in the order of x. Label and unit are safe for plotly."""

    label: str
    color: str
    symbol: str
    dash: str
    points: Sequence[Point]
    unit: str = "states"


class Panel(NamedTuple):
    """A panel: its caption and what that means, its axes as plotly has them, its lines and its rules at some y."""

    text: str
    meaning: str
    x: dict[str, Any]
    y: dict[str, Any]
    lines: Sequence[Line]
    rules: Sequence[float] = ()


def curves(panels: Sequence[Panel], theme: Theme, uirevision: str, *, nothing: str, narrow: bool = False) -> go.Figure:
    """Panels beside each other, or under each other where it is narrow; a message where there is no point at all.

    Args:
        panels: what is drawn.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        nothing: what is said where there is nothing.
        narrow: whether there is room for one panel only.
    """
    columns = 1 if narrow else len(panels)
    rows = math.ceil(len(panels) / columns)
    width, height = 1 / (columns + _GAP * (columns - 1)), 1 / (rows + 0.34 * (rows - 1))
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    told: set[str] = set()
    for index, panel in enumerate(panels):
        number = "" if index == 0 else str(index + 1)
        row, column = divmod(index, columns)
        left, top = column * width * (1 + _GAP), 1 - row * height * 1.34
        extra[f"xaxis{number}"] = axis(
            theme, domain=[left, min(1.0, left + width)], anchor=f"y{number}", **_titled(panel.x, theme)
        )
        extra[f"yaxis{number}"] = axis(theme, domain=[max(0.0, top - height), top], anchor=f"x{number}", **panel.y)
        notes.append({**caption(panel.text, panel.meaning, y=top), "x": left})
        shapes += [{**rule(y, theme, yref=f"y{number}"), "xref": f"x{number} domain"} for y in panel.rules]
        for line in panel.lines:
            traces += _drawn(line, number, legend=line.label not in told)
            told.add(line.label)
    if not any(trace["x"] for trace in traces):
        notes, traces = [message(nothing, theme)], []
    whole = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        shapes=shapes,
        # Where it is narrow the legend has a line for each of its entries.
        margin={"l": 48, "r": 14, "t": 34 + 19 * (max(1, len(told)) if narrow else 1), "b": 46},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top", "font": {"size": 11}},
        **extra,
    )
    return drawing({"data": traces, "layout": whole if traces else emptied(whole)})


def _titled(given: dict[str, Any], theme: Theme) -> dict[str, Any]:
    title = {"font": {"size": 11, "color": muted(theme)}, "standoff": 6}
    return {**given, "title": {**title, "text": given["title"]}} if isinstance(given.get("title"), str) else given


def _drawn(line: Line, number: str, *, legend: bool) -> list[dict[str, Any]]:
    points = [one for one in line.points if math.isfinite(one.value)]
    sure = [one for one in points if math.isfinite(one.low) and math.isfinite(one.high)]
    place = {"type": "scatter", "xaxis": f"x{number}", "yaxis": f"y{number}", "legendgroup": line.label}
    return [
        {
            **place, "mode": "lines", "x": [one.x for one in sure] + [one.x for one in reversed(sure)],
            "y": [one.high for one in sure] + [one.low for one in reversed(sure)], "fill": "toself",
            "fillcolor": rgba(line.color, 0.16), "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
        },
        {
            **place, "mode": "lines+markers", "name": line.label, "x": [one.x for one in points],
            "y": [one.value for one in points],
            "customdata": [[one.low, one.high, one.samples] for one in points],
            "line": {"color": line.color, "width": 2, "dash": line.dash},
            "marker": {"color": line.color, "symbol": line.symbol, "size": 6},
            "hovertemplate": f"<b>{line.label}</b><br>%{{y:.4g}}  [%{{customdata[0]:.3g}}, %{{customdata[1]:.3g}}], "
            f"n = %{{customdata[2]}} {line.unit}<extra></extra>",
            "showlegend": legend,
        },
    ]  # fmt: skip
