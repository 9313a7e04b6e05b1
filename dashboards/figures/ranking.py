"""Figure: estimators in the order of their errors, by paired differences, and which of them are told apart."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.at_step import Snapshot, snapshot, together
from dashboards.figures.lines import caption, defined, emptied, message
from dashboards.figures.rows import dots, named, rows_axis
from dashboards.gradient_words import PAIRED
from dashboards.scale import Scale
from dashboards.series import Series
from dashboards.style import Theme, axis, drawing, layout, muted
from dashboards.words import escape, estimator_label

_LEFT = 0.64
_SIGNS = {"<": ("smaller", "#0072b2", "#4dabf7"), ">": ("larger", "#d55e00", "#ff8a4c")}


def ranking(
    series: data.SeriesSet,
    probe: str = "estimators",
    step: int | None = None,
    theme: Theme = "light",
    uirevision: str = "ranking",
) -> go.Figure:
    """MSE less that of the best, with paired 95 % intervals, and a table of all pairs: smaller, larger, or not told.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        probe: ``estimators``, against the critic, or ``simulator``.
        step: the newest measurement at this training step; the newest of all when None.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> ranking({}).layout.annotations[0].text
        'no paired comparison has been measured yet'
    """
    shown = snapshot(series, probe, step, lambda name: name.startswith("paired/") and name.count("/") == 2)
    pairs = _both_ways(shown)
    names = list(dict.fromkeys(first for first, _ in pairs))
    if len(names) < 2:
        said = message("no paired comparison has been measured yet", theme)
        return drawing({"data": [], "layout": emptied(layout(
            theme, uirevision=uirevision, annotations=[said], xaxis={}, yaxis={}
        ))})  # fmt: skip
    anchor = names[0]
    order = sorted(names, key=lambda name: 0.0 if name == anchor else float(pairs[name, anchor].value[0]))
    best, *others = order
    apart = Snapshot(shown.step, {name: pairs[name, best] for name in others})
    scale = Scale("signed-log", [together(apart.points.values())])
    labels = {name: escape(estimator_label(name)) for name in order}
    marks = dots(apart, others, [f"{labels[name]} less {labels[best]}" for name in others], theme, scale)
    traces: list[dict[str, Any]] = [{**marks, "y": list(range(1, len(order)))}]
    told = f"MSE less that of the best, step {shown.step:,}"
    notes = [
        caption(told, defined(PAIRED.label, PAIRED.meaning), y=1.0),
        {**caption("row against column", "Row's MSE against column's: < smaller, > larger, ? not told apart.", y=1.0),
         "x": _LEFT + 0.06},
    ]  # fmt: skip
    for place, name in enumerate(order):
        tail = " has the smallest" if not place else ""
        notes.append(named(f"<b>{place + 1} {labels[name]}</b>{tail}", place, theme))
        for column, other in enumerate(order):
            notes.append(_cell(pairs, name, other, column, place, theme))
    whole = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        margin={"l": 14, "r": 10, "t": 30, "b": 40},
        shapes=[{"type": "line", "xref": "x", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "layer": "below",
                 "line": {"color": muted(theme), "width": 1, "dash": "dot"}}] if scale.kind != "log" else [],
        xaxis=axis(theme, domain=[0, _LEFT], **scale.axis()),
        yaxis=rows_axis(len(order)),
        xaxis2=axis(
            theme, domain=[_LEFT + 0.06, 1], anchor="y2", range=[-0.5, len(order) - 0.5], showgrid=False,
            tickmode="array", tickvals=list(range(len(order))), ticktext=[str(i + 1) for i in range(len(order))],
        ),
        yaxis2=rows_axis(len(order), anchor="x2", matches="y"),
    )  # fmt: skip
    # An axis is drawn only where a trace is on it.
    traces.append({"type": "scatter", "x": [0], "y": [0], "mode": "markers", "marker": {"opacity": 0}, "xaxis": "x2",
                   "yaxis": "y2", "hoverinfo": "skip", "showlegend": False})  # fmt: skip
    return drawing({"data": traces, "layout": whole})


def _both_ways(shown: Snapshot) -> dict[tuple[str, str], Series]:
    """(a, b) → MSE(a) − MSE(b), either way."""
    found: dict[tuple[str, str], Series] = {}
    for name, point in shown.points.items():
        _, first, second = name.split("/")
        found[first, second] = point
        found[second, first] = Series(
            point.step, -point.value, point.stderr, -point.high, -point.low, point.samples, point.reference
        )
    return found


def verdict(point: Series) -> str:
    """``<`` where the first is smaller, ``>`` where it is larger, ``?`` where they are not told apart."""
    if float(point.high[0]) < 0:
        return "<"
    return ">" if float(point.low[0]) > 0 else "?"


def _cell(
    pairs: dict[tuple[str, str], Series], name: str, other: str, column: int, row: int, theme: Theme
) -> dict[str, Any]:
    sign = "·" if name == other else verdict(pairs[name, other]) if (name, other) in pairs else "–"
    color = _SIGNS[sign][1 + (theme == "dark")] if sign in _SIGNS else muted(theme)
    text = sign.replace("<", "&lt;").replace(">", "&gt;")
    return {
        "text": f"<b>{text}</b>", "showarrow": False, "xref": "x2", "yref": "y2", "x": column, "y": row,
        "font": {"size": 15, "color": color},
    }  # fmt: skip
