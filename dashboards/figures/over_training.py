"""Figure: a few numbers of several runs over training, with their intervals, a row a task."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dashboards.log_ticks import log_ticks
from dashboards.style import Theme, axis, drawing, layout, muted, rgba
from dashboards.words import escape
from gradlab.estimate import Estimate

#: What is drawn, and on which scale.
SENSITIVITY = (
    ("free_ratio", "M/μ", "log"),
    ("policy_jacobian", "‖∂π/∂s‖", "log"),
    ("observed", "‖Δa‖/‖Δs‖", "log"),
    ("high_frequency_share", "fast power", "linear"),
)
_COLORS = ("#0072b2", "#d55e00", "#00875f", "#b5548b")
#: Of the same: colour alone tells no line.
_DASHES = ("solid", "dash", "dot", "dashdot")
#: Between two panels, in panels.
_GAP, _ROW_GAP = 0.3, 0.22


class _Point(NamedTuple):
    """A number at a step, with the ends of its interval."""

    step: int
    value: float
    low: float
    high: float


def over_training(
    runs: Mapping[str, Mapping[int, Mapping[str, Estimate]]],
    names: Sequence[tuple[str, str, str]] = SENSITIVITY,
    theme: Theme = "light",
    uirevision: str = "over training",
) -> go.Figure:
    """A panel a number, a line with its 95 % band a run; runs of one task share a row.

    Args:
        runs: run, as "task, kind" → step → numbers by name. What is before the comma is the row.
        names: number, label and scale (``log`` or ``linear``) of each panel.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> numbers = {"ratio": Estimate(2.0, 0.1, 30)}
        >>> figure = over_training({"A-v0, smooth": {1: numbers, 2: numbers}}, [("ratio", "M/μ", "log")])
        >>> [trace.name for trace in figure.data]
        ['smooth', 'smooth, 95 %']
    """
    rows: dict[str, dict[str, Mapping[int, Mapping[str, Estimate]]]] = {}
    for label, steps in runs.items():
        row, _, kind = label.partition(", ")
        rows.setdefault(row, {})[kind or label] = steps
    kinds = list(dict.fromkeys(kind for those in rows.values() for kind in those))
    width = 1 / max(len(names) + _GAP * (len(names) - 1), 1)
    height = 1 / max(len(rows) + _ROW_GAP * (len(rows) - 1), 1)
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    known: set[str] = set()
    title = {"font": {"size": 11, "color": muted(theme)}, "standoff": 4}
    for row, (task, those) in enumerate(rows.items()):
        top = 1 - row * height * (1 + _ROW_GAP)
        for column, (name, label, scale) in enumerate(names):
            index = row * len(names) + column
            number = "" if index == 0 else str(index + 1)
            left = column * width * (1 + _GAP)
            extra[f"xaxis{number}"] = axis(
                theme, domain=[left, min(1.0, left + width)], anchor=f"y{number}", nticks=5,
                **({"title": {**title, "text": "training step"}} if row == len(rows) - 1 else {}),
            )  # fmt: skip
            drawn = {kind: _series(steps, name, log=scale == "log") for kind, steps in those.items()}
            edges = _edges(drawn.values(), log=scale == "log")
            ends: dict[str, Any] = {"rangemode": "tozero"}
            if scale == "log":
                ends = {"range": [math.log10(end) for end in edges], **log_ticks(*edges)}
            extra[f"yaxis{number}"] = axis(
                theme, domain=[max(0.0, top - height), top], anchor=f"x{number}", type=scale,
                **ends,
            )  # fmt: skip
            words = f"<b>{escape(task)}</b>: {label}" if column == 0 else label
            words += "" if any(drawn.values()) else ": no number"
            notes.append(
                {"text": words, "xref": "paper", "yref": "paper", "x": left, "y": top, "xanchor": "left",
                 "yanchor": "bottom", "showarrow": False, "font": {"size": 11}}
            )  # fmt: skip
            for kind, points in drawn.items():
                look = (_COLORS[kinds.index(kind) % len(_COLORS)], _DASHES[kinds.index(kind) % len(_DASHES)])
                place = {"type": "scatter", "xaxis": f"x{number}", "yaxis": f"y{number}", "legendgroup": kind}
                traces += _line(points, escape(kind), look, place, edges, shown=kind not in known)
                known.add(kind)
    whole = layout(
        theme,
        uirevision=uirevision,
        margin={"l": 44, "r": 12, "t": 64, "b": 44},
        annotations=notes,
        legend={"orientation": "h", "x": 0, "y": 1 + 26 / (250 * max(len(rows), 1)), "yanchor": "bottom"},
        **extra,
    )
    return drawing({"data": traces, "layout": whole})


def _series(steps: Mapping[int, Mapping[str, Estimate]], name: str, *, log: bool) -> list[_Point]:
    """What there is, by step; on a logarithm what is positive."""
    found = []
    for step, numbers in sorted(steps.items()):
        one = numbers.get(name)
        if one is None or one.samples == 0 or not math.isfinite(one.value) or (log and one.value <= 0):
            continue
        low, high = one.interval()
        # A logarithm has no end at zero or below.
        found.append(_Point(step, one.value, -math.inf if log and low <= 0 else low, high))
    return found


def _edges(lines: Iterable[list[_Point]], *, log: bool) -> tuple[float, float]:
    """What the axis holds: the lines and, on a logarithm where these are not far wider, the bands."""
    points = [one for line in lines for one in line]
    ends = [end for one in points for end in one[1:] if math.isfinite(end)]
    if not points:
        return 0.1, 10.0
    if not log:
        return min(ends), max(ends)
    values = [one.value for one in points]
    return max(min(ends), min(values) / 10) / 1.2, min(max(ends), max(values) * 10) * 1.2


def _line(
    drawn: list[_Point],
    kind: str,
    look: tuple[str, str],
    place: dict[str, Any],
    edges: tuple[float, float],
    *,
    shown: bool,
) -> list[dict[str, Any]]:
    x, y = _band(drawn, edges)
    color, dash = look
    return [
        {
            **place, "name": kind, "x": [one.step for one in drawn], "y": [one.value for one in drawn],
            "mode": "lines+markers", "showlegend": shown,
            "line": {"color": color, "width": 2, "dash": dash}, "marker": {"color": color, "size": 5},
            "hovertemplate": f"{kind}<br>step %{{x:,}}: %{{y:.3g}}<extra></extra>",
        },
        {
            **place, "name": f"{kind}, 95 %", "x": x, "y": y, "fill": "toself", "mode": "lines",
            "fillcolor": rgba(color, 0.18), "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
        },
    ]  # fmt: skip


def _band(drawn: list[_Point], edges: tuple[float, float]) -> tuple[list[int | None], list[float | None]]:
    """The outline of the band: to the edge where an interval has no end, broken where it is not known."""
    x: list[int | None] = []
    y: list[float | None] = []
    for known, run in itertools.groupby(drawn, key=lambda one: not math.isnan(one.low) and not math.isnan(one.high)):
        part = list(run)
        if known:
            steps = [one.step for one in part]
            x += ([None] if x else []) + steps + steps[::-1]
            high = [one.high if math.isfinite(one.high) else max(edges[1], one.value) for one in part]
            low = [one.low if math.isfinite(one.low) else min(edges[0], one.value) for one in part]
            y += ([None] if y else []) + high + low[::-1]
    return x, y
