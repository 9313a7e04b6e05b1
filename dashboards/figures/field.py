"""Figure: the Q-gradient field. Q over the plane of two actions, ∇_a Q on it, and where the actor stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from dashboards.figures.field_line import field_line
from dashboards.figures.lines import message
from dashboards.figures.maps import arrows, heat_map, points
from dashboards.style import ACCENT, OPTIMUM, Theme, axis, drawing, layout, muted


def field(
    arrays: Mapping[str, xr.DataArray],
    state: int = 0,
    critic: int = 0,
    theme: Theme = "light",
    uirevision: str = "field",
) -> go.Figure:
    """Heat map of Q(s, ·), arrows along ∇_a Q, local optima (the best is a star), the actor's action and its ascent.

    Arrows have length proportional to √‖∇_a Q‖, the longest 0.9 of the distance between two; they are drawn on an
    overlaying axis, since plotly draws them under the heat map otherwise. With one action, Q is drawn as a line.

    Args:
        arrays: what the probe ``field`` stored, from ``store.arrays(measurement_id)``.
        state: which of the stored states.
        critic: which of the stored critics.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> field({}).layout.annotations[0].text
        'waiting for the first picture of the field'
    """
    if "q" not in arrays:
        note = [message("waiting for the first picture of the field", theme)]
        blank = {"visible": False}
        return drawing(
            {"data": [], "layout": layout(theme, uirevision=uirevision, annotations=note, xaxis=blank, yaxis=blank)}
        )
    q = arrays["q"]
    state = min(max(state, 0), q.sizes["state"] - 1)
    critic = min(max(critic, 0), q.sizes["critic"] - 1)
    if "y" not in q.dims:
        return field_line(arrays, state, critic, theme, uirevision)
    values = q.isel(critic=critic, state=state).transpose("y", "x")
    x, y = values["x"].values.astype(np.float64), values["y"].values.astype(np.float64)
    plane = [int(i) for i in q.attrs.get("plane", (0, 1))]
    traces = [
        heat_map(values.values, x, y, theme, "Q(s, a)", "a = (%{x:.2f}, %{y:.2f})<br>Q = %{z:.4g}<extra></extra>"),
        arrows(*_stored_arrows(arrays, state, critic)),
        *_marks(arrays, state, critic, plane),
    ]
    x_range, y_range = [float(x[0]), float(x[-1])], [float(y[0]), float(y[-1])]
    shared = {"showgrid": False, "constrain": "domain", "ticks": "outside", "ticklen": 4}
    title = {"font": {"size": 12, "color": muted(theme)}, "standoff": 4}
    return drawing(
        {
            "data": traces,
            "layout": layout(
                theme,
                uirevision=uirevision,
                margin={"l": 50, "r": 8, "t": 34, "b": 42},
                xaxis=axis(theme, range=x_range, title={**title, "text": f"action {plane[0] + 1}"}, **shared),
                yaxis=axis(
                    theme, range=y_range, title={**title, "text": f"action {plane[1] + 1}"}, scaleanchor="x", **shared
                ),
                yaxis2={"overlaying": "y", "matches": "y", "range": y_range, "visible": False},
            ),
        }
    )


def _stored_arrows(
    arrays: Mapping[str, xr.DataArray], state: int, critic: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """In-plane gradients [y, x, 2] and their coordinates along x and along y; none where none were stored."""
    if "gradient" not in arrays:
        return np.empty((0, 0, 2)), np.empty(0), np.empty(0)
    gradient = arrays["gradient"].isel(critic=critic, state=state).transpose("arrow_y", "arrow_x", "component")
    return gradient.values, gradient["arrow_x"].values, gradient["arrow_y"].values


def _marks(arrays: Mapping[str, xr.DataArray], state: int, critic: int, plane: list[int]) -> list[dict[str, Any]]:
    """Ascent path, other optima, the best optimum, the actor; always the same four traces, empty where unknown."""
    none = np.empty((0, 2))
    path, others, best, actor = none, none, none, none
    values = np.empty(0)
    if "ascent" in arrays:
        path = _finite(arrays["ascent"].isel(critic=critic, state=state).transpose("ascent_step", "action").values)
        path = path[:, plane]
    if "optima" in arrays:
        optima = arrays["optima"].isel(critic=critic, state=state).transpose("optimum", "action").values
        height = arrays["optima_value"].isel(critic=critic, state=state).values
        known = np.isfinite(optima).all(axis=1) & np.isfinite(height)
        optima, height = optima[known][:, plane], height[known]
        order = np.argsort(-height, kind="stable")
        best, others, values = optima[order[:1]], optima[order[1:]], height[order]
    if "actor" in arrays:
        actor = _finite(arrays["actor"].isel(state=state).values[None, :])[:, plane]
    place = "a = (%{x:.2f}, %{y:.2f})"
    return [
        {
            **points(path, "actor's ascent", "lines+markers"),
            "line": {"color": ACCENT, "width": 2.5},
            "marker": {"color": ACCENT, "size": 4},
            "hovertemplate": f"ascent path<br>{place}<extra></extra>",
        },
        {
            **points(others, "local optima", "markers"),
            "marker": {
                "symbol": "diamond-open", "size": 11, "color": OPTIMUM, "line": {"width": 2, "color": OPTIMUM},
            },
            "customdata": values[1:],
            "hovertemplate": f"local optimum, Q = %{{customdata:.4g}}<br>{place}<extra></extra>",
        },
        {
            **points(best, "best optimum", "markers"),
            "marker": {"symbol": "star", "size": 16, "color": OPTIMUM, "line": {"width": 1.2, "color": "#14101f"}},
            "customdata": values[:1],
            "hovertemplate": f"best optimum, Q = %{{customdata:.4g}}<br>{place}<extra></extra>",
        },
        {
            **points(actor, "actor", "markers"),
            "marker": {"symbol": "circle", "size": 12, "color": ACCENT, "line": {"width": 2.5, "color": "#ffffff"}},
            "hovertemplate": f"actor's action<br>{place}<extra></extra>",
        },
    ]  # fmt: skip


def _finite(rows: NDArray[Any]) -> NDArray[Any]:
    return rows[np.isfinite(rows).all(axis=1)]
