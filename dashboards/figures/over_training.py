"""Figure: a few numbers of several runs over training, with their intervals, a row a task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.figures.log_ticks import log_ticks
from dashboards.style import Theme, axis, drawing, layout, muted, rgba
from gradlab.estimate import Estimate

#: What is drawn, and on which scale.
SENSITIVITY = (
    ("free_ratio", "M/μ", "log"),
    ("policy_jacobian", "‖∂π/∂s‖", "log"),
    ("observed", "‖Δa‖/‖Δs‖", "log"),
    ("high_frequency_share", "fast power", "linear"),
)
_COLORS = ("#0072b2", "#d55e00", "#00875f", "#b5548b")
_GAP, _ROW_GAP = 0.06, 0.1


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
    width = (1 - _GAP * (len(names) - 1)) / max(len(names), 1)
    height = (1 - _ROW_GAP * (len(rows) - 1)) / max(len(rows), 1)
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    known: set[str] = set()
    title = {"font": {"size": 11, "color": muted(theme)}, "standoff": 4}
    for row, (task, those) in enumerate(rows.items()):
        top = 1 - row * (height + _ROW_GAP)
        for column, (name, label, scale) in enumerate(names):
            index = row * len(names) + column
            number = "" if index == 0 else str(index + 1)
            left = column * (width + _GAP)
            extra[f"xaxis{number}"] = axis(
                theme, domain=[left, min(left + width, 1.0)], anchor=f"y{number}", nticks=5,
                **({"title": {**title, "text": "training step"}} if row == len(rows) - 1 else {}),
            )  # fmt: skip
            drawn = {kind: _series(steps, name, log=scale == "log") for kind, steps in those.items()}
            extra[f"yaxis{number}"] = axis(
                theme, domain=[max(top - height, 0.0), top], anchor=f"x{number}", type=scale,
                **(_log_range(drawn.values()) if scale == "log" else {"rangemode": "tozero"}),
            )  # fmt: skip
            words = f"<b>{task}</b>: {label}" if column == 0 else label
            notes.append(
                {"text": words, "xref": "paper", "yref": "paper", "x": left, "y": top, "xanchor": "left",
                 "yanchor": "bottom", "showarrow": False, "font": {"size": 11}}
            )  # fmt: skip
            for kind, points in drawn.items():
                color = _COLORS[kinds.index(kind) % len(_COLORS)]
                place = {"type": "scatter", "xaxis": f"x{number}", "yaxis": f"y{number}", "legendgroup": kind}
                traces += _line(points, kind, color, place, shown=kind not in known)
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


def _series(
    steps: Mapping[int, Mapping[str, Estimate]], name: str, *, log: bool
) -> list[tuple[int, float, float, float]]:
    """Step, value and interval of what there is; on a logarithm of what is positive."""
    found = []
    for step, numbers in sorted(steps.items()):
        one = numbers.get(name)
        if one is None or one.samples == 0 or one.value != one.value or (log and one.value <= 0):
            continue
        low, high = one.interval()
        low, high = (one.value if end != end or abs(end) == float("inf") else end for end in (low, high))
        found.append((step, one.value, max(low, 1e-3 * one.value) if log else low, high))
    return found


def _log_range(lines: Iterable[list[tuple[int, float, float, float]]]) -> dict[str, Any]:
    """Range and ticks of a logarithmic axis that holds the lines and, where these are not far wider, the bands."""
    points = [one for line in lines for one in line]
    if not points:
        return {}
    low, high = min(one[1] for one in points) / 2, max(one[1] for one in points) * 2
    low = max(min(one[2] for one in points), low / 5) / 1.2
    high = min(max(one[3] for one in points), high * 5) * 1.2
    return {"range": [math.log10(low), math.log10(high)], **log_ticks(low, high)}


def _line(
    drawn: list[tuple[int, float, float, float]], kind: str, color: str, place: dict[str, Any], *, shown: bool
) -> list[dict[str, Any]]:
    x, value = [one[0] for one in drawn], [one[1] for one in drawn]
    band = [one[3] for one in drawn] + [one[2] for one in drawn[::-1]]
    return [
        {
            **place, "name": kind, "x": x, "y": value, "mode": "lines+markers", "showlegend": shown,
            "line": {"color": color, "width": 2}, "marker": {"color": color, "size": 5},
            "hovertemplate": f"{kind}<br>step %{{x:,}}: %{{y:.3g}}<extra></extra>",
        },
        {
            **place, "name": f"{kind}, 95 %", "x": [*x, *x[::-1]], "y": band, "fill": "toself", "mode": "lines",
            "fillcolor": rgba(color, 0.18), "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
        },
    ]  # fmt: skip
