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
from dashboards.style import ACCENT, FIELD_COLORS, OPTIMUM, Theme, axis, drawing, layout, muted

#: The longest arrow, as a share of the distance between arrows.
_LONGEST = 0.9
_COLORSCALE = [[i / (len(FIELD_COLORS) - 1), color] for i, color in enumerate(FIELD_COLORS)]


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
        _heat_map(values.values, x, y, theme),
        _arrows(arrays, state, critic),
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


def _heat_map(values: NDArray[np.float32], x: NDArray[Any], y: NDArray[Any], theme: Theme) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return {
        "type": "heatmap",
        "x": x,
        "y": y,
        "z": values.astype(np.float32),
        "zmin": low,
        "zmax": high if high > low else low + 1e-9,
        "colorscale": _COLORSCALE,
        "zsmooth": "best",
        "colorbar": {
            "thickness": 10,
            "outlinewidth": 0,
            "len": 0.92,
            "xpad": 8,
            "title": {"text": "Q(s, a)", "font": {"size": 11, "color": muted(theme)}},
            "tickfont": {"size": 10, "color": muted(theme)},
            "nticks": 6,
        },
        "hovertemplate": "a = (%{x:.2f}, %{y:.2f})<br>Q = %{z:.4g}<extra></extra>",
    }


def _arrows(arrays: Mapping[str, xr.DataArray], state: int, critic: int) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "quiver",
        "name": "∇<sub>a</sub>Q (length ∝ √)",
        "yaxis": "y2",
        "arrowref": "data",
        "lengthmode": "raw",
        "anchor": "center",
        "marker": {"color": "rgba(255,255,255,0.82)", "line": {"width": 1.3}, "arrowsize": 1.1},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    if "gradient" not in arrays:
        return {**trace, "x": [], "y": [], "u": [], "v": []}
    gradient = arrays["gradient"].isel(critic=critic, state=state).transpose("arrow_y", "arrow_x", "component")
    x, y = gradient["arrow_x"].values.astype(np.float64), gradient["arrow_y"].values.astype(np.float64)
    u, v = scaled_arrows(gradient.values.astype(np.float64), x, y)
    grid_x, grid_y = np.meshgrid(x, y)
    return {**trace, "x": grid_x.ravel(), "y": grid_y.ravel(), "u": u.ravel(), "v": v.ravel()}


def scaled_arrows(
    gradient: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Arrows in the units of the axes, length ∝ √‖g‖, the longest 0.9 of a cell.

    Args:
        gradient: [y, x, 2]; what is not finite gets no arrow.
        x: coordinates along the first action.
        y: coordinates along the second.

    Example:
        >>> u, v = scaled_arrows(np.array([[[4.0, 0.0], [0.0, 1.0]]]), np.array([0.0, 1.0]), np.array([0.0]))
        >>> [float(u[0, 0].round(2)), float(v[0, 1].round(2))]
        [0.8999999761581421, 0.44999998807907104]
    """
    gradient = np.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
    norm = np.linalg.norm(gradient, axis=-1)
    cells = [abs(float(c[1] - c[0])) for c in (x, y) if len(c) > 1]
    cell = min(cells, default=1.0)
    largest = float(norm.max()) if norm.size else 0.0
    if largest == 0.0:
        zero = np.zeros(norm.shape, dtype=np.float32)
        return zero, zero
    length = _LONGEST * cell * np.sqrt(norm / largest)
    direction = gradient / np.where(norm > 0, norm, 1.0)[..., None]
    drawn = (direction * length[..., None]).astype(np.float32)
    return drawn[..., 0], drawn[..., 1]


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
            **_points(path, "actor's ascent", "lines+markers"),
            "line": {"color": ACCENT, "width": 2.5},
            "marker": {"color": ACCENT, "size": 4},
            "hovertemplate": f"ascent path<br>{place}<extra></extra>",
        },
        {
            **_points(others, "local optima", "markers"),
            "marker": {
                "symbol": "diamond-open", "size": 11, "color": OPTIMUM, "line": {"width": 2, "color": OPTIMUM},
            },
            "customdata": values[1:],
            "hovertemplate": f"local optimum, Q = %{{customdata:.4g}}<br>{place}<extra></extra>",
        },
        {
            **_points(best, "best optimum", "markers"),
            "marker": {"symbol": "star", "size": 16, "color": OPTIMUM, "line": {"width": 1.2, "color": "#14101f"}},
            "customdata": values[:1],
            "hovertemplate": f"best optimum, Q = %{{customdata:.4g}}<br>{place}<extra></extra>",
        },
        {
            **_points(actor, "actor", "markers"),
            "marker": {"symbol": "circle", "size": 12, "color": ACCENT, "line": {"width": 2.5, "color": "#ffffff"}},
            "hovertemplate": f"actor's action<br>{place}<extra></extra>",
        },
    ]  # fmt: skip


def _points(points: NDArray[Any], name: str, mode: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": mode, "name": name, "yaxis": "y2", "cliponaxis": False,
        "x": points[:, 0].astype(np.float64), "y": points[:, 1].astype(np.float64),
    }  # fmt: skip


def _finite(rows: NDArray[Any]) -> NDArray[Any]:
    return rows[np.isfinite(rows).all(axis=1)]
