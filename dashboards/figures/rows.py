"""Rows of a figure with their names above them: what bars of parts, differences and terms are drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dashboards.at_step import Snapshot, printed, together
from dashboards.scale import Scale
from dashboards.style import Theme, muted

#: Pixels of a row, with the name above its bar.
ROW = 54
#: Half of a bar's height, in rows, and how far above its middle the row's name is.
HALF, ABOVE = 0.19, 0.27


def named(
    text: str, row: float, theme: Theme, *, yref: str = "y", x: float = 0.0, quiet: bool = False, hover: str = ""
) -> dict[str, Any]:
    """The name of a row, at the left above what is drawn in it.

    Args:
        text: the name, safe for plotly.
        row: its place.
        theme: light or dark.
        yref: plotly's name of the axis of rows.
        x: where it begins, as a share of the figure's width.
        quiet: whether it is said in passing.
        hover: what is said on hover.
    """
    note: dict[str, Any] = {
        "text": text,
        "showarrow": False,
        "xref": "paper",
        "x": x,
        "xanchor": "left",
        "yref": yref,
        "y": row - ABOVE,
        "yanchor": "bottom",
        "align": "left",
        "font": {"size": 12, **({"color": muted(theme)} if quiet else {})},
    }
    return note | ({"hovertext": hover, "captureevents": True} if hover else {})


def rows_axis(count: int, **more: Any) -> dict[str, Any]:
    """The axis of rows, the first at the top; without ticks, as rows have their names above them."""
    return {
        "range": [count - 0.5, -0.62],
        "showticklabels": False,
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
        **more,
    }


def bar(
    row: float, start: float, end: float, color: str, *, hatch: str = "", opacity: float = 1.0, **more: Any
) -> dict[str, Any]:
    """One horizontal bar from start to end, whichever is larger.

    Args:
        row: its place.
        start: where it begins.
        end: where it ends.
        color: ``#rrggbb``.
        hatch: plotly's pattern, so that colour is not all that tells it.
        opacity: of its fill.
        more: what else plotly is told.
    """
    marker: dict[str, Any] = {"color": color, "opacity": opacity, "line": {"width": 1, "color": color}}
    if hatch:
        marker["pattern"] = {"shape": hatch, "fgcolor": color, "bgcolor": "rgba(0,0,0,0)", "size": 6, "solidity": 0.35}
    return {
        "type": "bar",
        "orientation": "h",
        "y": [row],
        "x": [end - start],
        "base": [start],
        "width": [2 * HALF],
        "marker": marker,
        "showlegend": False,
        **more,
    }


def dots(snapshot: Snapshot, names: Sequence[str], labels: Sequence[str], theme: Theme, scale: Scale) -> dict[str, Any]:
    """Numbers as marks with their 95 % intervals, one a row; hollow where not resolved from zero.

    Args:
        snapshot: the measurement.
        names: of the numbers, from the first row on.
        labels: what each is called on hover, safe for plotly.
        theme: light or dark.
        scale: of the axis; an end that it has no room for is at its edge.
    """
    color = "#ced4da" if theme == "dark" else "#343a40"
    shown = together([snapshot.points[name] for name in names])
    least, largest = scale.edges()
    low = np.where(np.isinf(shown.low), least, shown.low)
    high = np.where(np.isinf(shown.high), largest, shown.high)
    middle, left, right = (np.asarray(scale.height(ends)) for ends in (shown.value, low, high))
    if scale.kind == "log":
        left = np.where(left > 0, left, least)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": middle.tolist(),
        "y": list(range(len(names))),
        "error_x": {
            "type": "data", "symmetric": False, "thickness": 1.6, "width": 5, "color": color,
            "array": (right - middle).tolist(), "arrayminus": (middle - left).tolist(),
        },
        "marker": {
            "color": color, "size": 9, "line": {"width": 1.8, "color": color},
            "symbol": ["circle" if snapshot.resolved(name) else "circle-open" for name in names],
        },
        "text": [f"<b>{label}</b><br>{said(snapshot, name)}" for name, label in zip(names, labels, strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": False,
    }  # fmt: skip


def said(snapshot: Snapshot, name: str) -> str:
    """A number with its interval and n, and whether it is resolved."""
    text = f"{printed(snapshot.value(name), *snapshot.ends(name))}, n = {int(snapshot.points[name].samples[0])}"
    return text if snapshot.resolved(name) else f"{text}; not resolved from zero"


def key(parts: Sequence[tuple[str, str, str]]) -> str:
    """A legend in a line: (mark, colour, name) of each part."""
    return "   ".join(f"<span style='color:{color}'>{mark}</span> {name}" for mark, color, name in parts)
