"""One number of each state over another, with the line where both are equal."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboards.figures.lines import emptied, message
from dashboards.log_ticks import log_ticks
from dashboards.style import Theme, axis, drawing, layout, muted, rgba

#: Decades below the largest that an axis shows.
_DECADES = 6


class Cloud(NamedTuple):
    """Points of one colour and mark: their name, x and y [n]."""

    label: str
    color: str
    symbol: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def scatter(
    clouds: list[Cloud],
    titles: tuple[str, str],
    theme: Theme,
    uirevision: str,
    *,
    nothing: str,
    log: bool = False,
    lines: tuple[dict[str, Any], ...] = (),
) -> go.Figure:
    """Points on two axes with one range, so that the dotted line of equality is a diagonal.

    Args:
        clouds: the points; on logarithms those that are not positive are left out.
        titles: of x and of y.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        nothing: what is said where there is nothing.
        log: whether the axes are logarithmic.
        lines: more traces.
    """
    kept = [_seen(cloud, log=log) for cloud in clouds]
    every = np.concatenate([np.concatenate([one.x, one.y]) for one in kept] or [np.empty(0)])
    if not len(every):
        empty = layout(theme, uirevision=uirevision, annotations=[message(nothing, theme)], xaxis={}, yaxis={})
        return drawing({"data": [], "layout": emptied(empty)})
    if log:
        ends = max(every.min(), every.max() / 10**_DECADES) / 1.5, every.max() * 1.5
        shared = {
            "type": "log",
            "range": [float(np.log10(end)) for end in ends],
            **log_ticks(*map(float, ends), most=5),
        }
    else:
        room = 0.06 * (every.max() - every.min()) or 1.0
        ends = every.min() - room, every.max() + room
        shared = {"range": [float(end) for end in ends], "nticks": 6}
    diagonal = [float(end) for end in ends]
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "x": diagonal, "y": diagonal, "hoverinfo": "skip", "name": "equal",
         "line": {"color": muted(theme), "width": 1, "dash": "dot"}},
        *({"type": "scatter", "mode": "markers", "name": one.label, "x": one.x.tolist(), "y": one.y.tolist(),
           "marker": {"color": rgba(one.color, 0.7), "symbol": one.symbol, "size": 6},
           "hovertemplate": f"<b>{one.label}</b><br>{titles[0]} %{{x:.4g}}<br>{titles[1]} %{{y:.4g}}<extra></extra>"}
          for one in kept),
        *lines,
    ]  # fmt: skip
    title = {"font": {"size": 11, "color": muted(theme)}, "standoff": 6}
    whole = layout(
        theme,
        uirevision=uirevision,
        margin={"l": 58, "r": 14, "t": 40, "b": 46},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 11}},
        xaxis=axis(theme, title={**title, "text": titles[0]}, **shared),
        yaxis=axis(theme, title={**title, "text": titles[1]}, **shared),
    )
    return drawing({"data": traces, "layout": whole})


def _seen(cloud: Cloud, *, log: bool) -> Cloud:
    there = np.isfinite(cloud.x) & np.isfinite(cloud.y)
    if log:
        there &= (cloud.x > 0) & (cloud.y > 0)
    return cloud._replace(x=cloud.x[there], y=cloud.y[there])
