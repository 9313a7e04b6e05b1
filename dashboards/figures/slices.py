"""Figure: Q and ∇_a Q on any plane of actions, with the actor and the optima in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from dashboards.figures.maps import arrows, heat_map, points
from dashboards.style import ACCENT, OPTIMUM, Theme, axis, drawing, layout, look, muted

#: Most arrows along a side; more are a texture.
_ARROWS = 21
_MARKS: dict[str, dict[str, Any]] = {
    "second best": {"symbol": "diamond-open", "size": 12, "color": OPTIMUM, "line": {"width": 2, "color": OPTIMUM}},
    "best optimum": {"symbol": "star", "size": 16, "color": OPTIMUM, "line": {"width": 1.2, "color": "#14101f"}},
    "actor": {"symbol": "circle", "size": 12, "color": ACCENT, "line": {"width": 2.5, "color": "#ffffff"}},
}
_OTHER = {"symbol": "square-open", "size": 11, "color": "#ffffff", "line": {"width": 2}}


def action_slice(
    arrays: Mapping[Any, xr.DataArray],
    state: int = 0,
    critic: int = 0,
    *,
    shown: str = "q",
    theme: Theme = "light",
    uirevision: str = "slice",
) -> go.Figure:
    """A slice through a landscape of Q over actions, blank outside the box and cut to what is inside.

    Arrows are the in-plane parts of ∇_a Q, of length proportional to √‖∇_a Q‖; marks are the points that the plane was
    laid through. With one action Q is a line, with its slope on an axis at the right.

    Args:
        arrays: the dataset of ``gradlab.landscape.slice_plane``, or its arrays by name.
        state: which of the states.
        critic: which of the critics.
        shown: ``"q"``, ``"gradient_norm"``, or ``"spread"`` over the critics.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> import torch
        >>> from gradlab.agent import Agent
        >>> from gradlab.landscape import slice_plane
        >>> agent = Agent(torch.nn.Linear(1, 2), [lambda obs, act: act.sum(-1)], [-1.0, -1.0], [1.0, 1.0])
        >>> [trace.type for trace in action_slice(slice_plane(agent, torch.zeros(1, 1))).data]
        ['heatmap', 'quiver', 'scatter']
    """
    values = arrays[shown]
    state = min(max(state, 0), values.sizes["state"] - 1)
    critic = min(max(critic, 0), arrays["q"].sizes["critic"] - 1)

    def chosen(name: str) -> xr.DataArray:
        one = arrays[name].isel(state=state)
        return one.isel(critic=critic) if "critic" in one.dims else one

    if "y" not in values.dims:
        return _line(arrays, chosen, theme, uirevision)
    picture = chosen(shown).transpose("y", "x")
    x, y = picture["x"].values.astype(np.float64), picture["y"].values.astype(np.float64)
    title = {"q": "Q(s, a)", "gradient_norm": "‖∇<sub>a</sub>Q‖", "spread": "std of Q"}[shown]
    hover = f"(%{{x:.2f}}, %{{y:.2f}})<br>{title} = %{{z:.4g}}<extra></extra>"
    traces = [heat_map(picture.values, x, y, theme, title, hover)]
    if "gradient" in arrays:
        sparse = max(1, round((max(len(x), len(y)) - 1) / (_ARROWS - 1)))
        slopes = chosen("gradient").transpose("y", "x", "component").values
        traces.append(arrows(slopes[::sparse, ::sparse], x[::sparse], y[::sparse]))
    if "mark_place" in arrays:
        place = chosen("mark_place").transpose("mark", "component").values
        names = [str(name) for name in arrays["mark_place"]["mark"].values]
        # The actor is drawn last, on top.
        for name, at in sorted(zip(names, place, strict=True), key=lambda one: one[0] == "actor"):
            traces.append(_mark(name, at[None]))
    shared = {"showgrid": False, "constrain": "domain", "ticks": "outside", "ticklen": 4}
    font = {"font": {"size": 12, "color": muted(theme)}, "standoff": 4}
    words = [str(picture[name].attrs.get("long_name", name)) for name in ("x", "y")]
    if "determined" in arrays:
        known = chosen("determined").values
        words = [word if known[i] else f"random direction (none {word})" for i, word in enumerate(words)]
    held = np.isfinite(picture.values)
    x_range, y_range = _range(x, held.any(axis=0)), _range(y, held.any(axis=1))
    return drawing(
        {
            "data": traces,
            "layout": layout(
                theme,
                uirevision=uirevision,
                margin={"l": 54, "r": 8, "t": 34, "b": 44},
                xaxis=axis(theme, range=x_range, title={**font, "text": words[0]}, **shared),
                yaxis=axis(theme, range=y_range, title={**font, "text": words[1]}, scaleanchor="x", **shared),
                yaxis2={"overlaying": "y", "matches": "y", "range": y_range, "visible": False},
            ),
        }
    )


def _range(side: NDArray[Any], known: NDArray[Any]) -> list[float]:
    """From the first to the last coordinate at which anything is known, and a cell more where it ends inside."""
    at = np.flatnonzero(known)
    if len(at) == 0:
        return [float(side[0]), float(side[-1])]
    cell = abs(float(side[1] - side[0]))
    first, last = int(at[0]), int(at[-1])
    low = float(side[first]) - (cell if first > 0 else 0.0)
    return [low, float(side[last]) + (cell if last < len(side) - 1 else 0.0)]


def _mark(name: str, at: NDArray[Any]) -> dict[str, Any]:
    at = at[np.isfinite(at).all(axis=1)]
    return {
        **points(at, name, "markers"),
        "marker": _MARKS.get(name, _OTHER),
        "hovertemplate": f"{name}<br>(%{{x:.2f}}, %{{y:.2f}})<extra></extra>",
    }


def _line(arrays: Mapping[Any, xr.DataArray], chosen: Any, theme: Theme, uirevision: str) -> go.Figure:
    """Q(s, ·) of one action with the marks on it, and dQ/da."""
    q = chosen("q")
    x, height = q["x"].values.astype(np.float64), q.values.astype(np.float64)
    blue, pink = look("deterministic").color(theme), look("score-function").color(theme)
    curve = {"type": "scatter", "mode": "lines", "x": x}
    traces: list[dict[str, Any]] = [{**curve, "name": "Q(s, a)", "y": height, "line": {"color": blue, "width": 2.5}}]
    if "gradient" in arrays:
        slope = chosen("gradient").values[..., 0].astype(np.float64)
        dashed = {"color": pink, "width": 1.5, "dash": "dash"}
        traces.append({**curve, "name": "dQ/da (right)", "y": slope, "yaxis": "y2", "line": dashed})
    if "mark_place" in arrays:
        names = [str(name) for name in arrays["mark_place"]["mark"].values]
        for name, at in zip(names, chosen("mark_place").values[:, 0].astype(np.float64), strict=True):
            known = np.array([at])[np.isfinite([at])]
            traces.append({**_mark(name, np.empty((0, 2))), "x": known, "y": np.interp(known, x, height), "yaxis": "y"})
    font = {"font": {"size": 12, "color": muted(theme)}}
    return drawing(
        {
            "data": traces,
            "layout": layout(
                theme,
                uirevision=uirevision,
                margin={"l": 56, "r": 56, "t": 34, "b": 42},
                xaxis=axis(theme, title={**font, "text": str(q["x"].attrs.get("long_name", "x"))}),
                yaxis=axis(theme, title={**font, "text": "Q(s, a)"}),
                yaxis2=axis(theme, title={**font, "text": "dQ/da"}, overlaying="y", side="right", showgrid=False),
            ),
        }
    )
