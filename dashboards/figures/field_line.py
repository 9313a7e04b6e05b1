"""The Q-gradient field of an agent with one action: Q and dQ/da as lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from dashboards.style import ACCENT, OPTIMUM, Theme, axis, drawing, layout, look, muted


def field_line(arrays: Mapping[str, xr.DataArray], state: int, critic: int, theme: Theme, uirevision: str) -> go.Figure:
    """Q(s, ·) with the actor, its ascent and the optima; dQ/da on an axis of its own at the right.

    Args:
        arrays: what the probe ``field`` stored; ``q`` has dims (critic, state, x).
        state: which of the stored states.
        critic: which of the stored critics.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
    """
    q = arrays["q"].isel(critic=critic, state=state)
    x, height = q["x"].values.astype(np.float64), q.values.astype(np.float64)
    color, slope = look("deterministic").color(theme), look("score-function").color(theme)

    def on_curve(actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        actions = actions[np.isfinite(actions)].astype(np.float64)
        return actions, np.interp(actions, x, height)

    empty = np.empty(0)
    path = on_curve(_one(arrays, "ascent", critic=critic, state=state))
    actor = on_curve(_one(arrays, "actor", state=state))
    optima, values = _one(arrays, "optima", critic=critic, state=state), empty
    if "optima_value" in arrays:
        values = arrays["optima_value"].isel(critic=critic, state=state).values.ravel().astype(np.float64)
    known = np.isfinite(optima) & np.isfinite(values) if len(optima) == len(values) else np.zeros(len(optima), bool)
    order = np.argsort(-values[known], kind="stable") if known.any() else np.empty(0, dtype=int)
    optima, values = optima[known][order], values[known][order]
    gradient = (empty, empty)
    if "gradient" in arrays:
        slopes = arrays["gradient"].isel(critic=critic, state=state)
        gradient = slopes["arrow_x"].values.astype(np.float64), slopes.values.reshape(len(slopes["arrow_x"]), -1)[:, 0]

    def points(xy: tuple[Any, Any], name: str, mode: str, **more: Any) -> dict[str, Any]:
        return {"type": "scatter", "mode": mode, "name": name, "x": xy[0], "y": xy[1], **more}

    label = {"font": {"size": 12, "color": muted(theme)}}
    return drawing(
        {
            "data": [
                points((x, height), "Q(s, a)", "lines", line={"color": color, "width": 2.5}),
                points(
                    gradient, "dQ/da (right)", "lines", yaxis="y2", line={"color": slope, "width": 1.5, "dash": "dash"}
                ),
                points(path, "actor's ascent", "lines+markers", line={"color": ACCENT, "width": 3}),
                points(
                    (optima[1:], values[1:]), "local optima", "markers",
                    marker={"symbol": "diamond-open", "size": 12, "color": OPTIMUM, "line": {"width": 2}},
                ),
                points(
                    (optima[:1], values[:1]), "best optimum", "markers",
                    marker={"symbol": "star", "size": 16, "color": OPTIMUM, "line": {"width": 1, "color": "#14101f"}},
                ),
                points(
                    actor, "actor", "markers",
                    marker={"symbol": "circle", "size": 12, "color": ACCENT, "line": {"width": 2.5, "color": "#fff"}},
                ),
            ],
            "layout": layout(
                theme,
                uirevision=uirevision,
                margin={"l": 56, "r": 56, "t": 34, "b": 42},
                xaxis=axis(theme, title={**label, "text": "action 1"}, range=[float(x[0]), float(x[-1])]),
                yaxis=axis(theme, title={**label, "text": "Q(s, a)"}),
                yaxis2=axis(
                    theme, title={**label, "text": "dQ/da"}, overlaying="y", side="right", showgrid=False, zeroline=True
                ),
            ),
        }
    )  # fmt: skip


def _one(arrays: Mapping[str, xr.DataArray], name: str, **index: int) -> np.ndarray:
    """The one action's values along what is left of the dimensions."""
    if name not in arrays:
        return np.empty(0)
    return np.asarray(arrays[name].isel(index).isel(action=0).values, dtype=np.float64).reshape(-1)
