"""Figure: what a state looks like. The body as it stands in it, drawn from its shapes; its coordinates without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from dashboards.figures.lines import message
from dashboards.style import Theme, axis, drawing, layout, look, muted, rgba

Floats = NDArray[np.float64]
#: Coordinates that are shown at most.
_MOST = 30
#: MuJoCo's numbers for kinds of shapes.
_PLANE, _BOX = 0, 6
#: From where it is seen: the directions that are to the right, and up.
_SIDE = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
_TOP = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_OBLIQUE = np.array([[0.82, -0.57, 0.0], [0.22, 0.31, 0.92]])


def state_look(
    arrays: Mapping[str, xr.DataArray], state: int = 0, theme: Theme = "light", uirevision: str = "state"
) -> go.Figure:
    """The body's shapes in one state, by kinematics alone: seen from the side or from above where it moves in a plane.

    Args:
        arrays: what the probe ``field`` stored: ``body_position`` and its like, or ``obs`` alone.
        state: which of the stored states.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> state_look({}).layout.annotations[0].text
        'nothing is stored of the state'
    """
    if "body_position" in arrays and 0 <= state < arrays["body_position"].sizes["state"]:
        return _body(arrays, state, theme, uirevision)
    if "obs" in arrays and 0 <= state < arrays["obs"].sizes["state"]:
        return _coordinates(arrays, state, theme, uirevision)
    blank: dict[str, Any] = {"visible": False}
    note = [message("nothing is stored of the state", theme)]
    return drawing(
        {"data": [], "layout": layout(theme, uirevision=uirevision, annotations=note, xaxis=blank, yaxis=blank)}
    )


def _body(arrays: Mapping[str, xr.DataArray], state: int, theme: Theme, uirevision: str) -> go.Figure:
    places = arrays["body_position"].values.astype(np.float64)
    turns = arrays["body_rotation"].values.astype(np.float64)
    kinds = arrays["body_kind"].values
    sizes = arrays["body_size"].values.astype(np.float64)
    colors = arrays["body_color"].values.astype(np.float64)
    solid = kinds != _PLANE
    view, words = _view(places[:, solid], turns[:, solid])
    depth = np.cross(view[0], view[1])
    order = sorted(np.flatnonzero(solid), key=lambda shape: float(places[state, shape] @ depth))
    edge = "rgba(0,0,0,0.55)" if theme == "light" else "rgba(255,255,255,0.5)"
    traces: list[dict[str, Any]] = []
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for shape in order:
        outline = _outline(int(kinds[shape]), sizes[shape], places[state, shape], turns[state, shape], view)
        low, high = np.minimum(low, outline.min(0)), np.maximum(high, outline.max(0))
        traces.append(
            {
                "type": "scatter", "mode": "lines", "x": outline[:, 0], "y": outline[:, 1], "fill": "toself",
                "fillcolor": _css(colors[shape]), "line": {"color": edge, "width": 1}, "hoverinfo": "skip",
                "showlegend": False,
            }
        )  # fmt: skip
    room = 0.08 * float((high - low).max()) + 1e-6
    ground = places[state, ~solid][:, 2] if words == "seen from the side" and (~solid).any() else np.empty(0)
    if len(ground):
        low[1], high[1] = min(low[1], float(ground[0])), max(high[1], float(ground[0]))
        traces.insert(
            0,
            {
                "type": "scatter", "mode": "lines", "x": [low[0] - 20 * room, high[0] + 20 * room],
                "y": [ground[0]] * 2,
                "line": {"color": muted(theme), "width": 1.5}, "hoverinfo": "skip", "showlegend": False,
            },
        )  # fmt: skip
    title = {"font": {"size": 11, "color": muted(theme)}, "standoff": 4}
    quiet = {"showgrid": True, "constrain": "domain", "nticks": 5}
    text = "metres" if words == "seen at an angle" else "x, metres"
    upward = "" if words == "seen at an angle" else ("z, metres" if words == "seen from the side" else "y, metres")
    return drawing(
        {
            "data": traces,
            "layout": layout(
                theme,
                uirevision=uirevision,
                margin={"l": 50, "r": 10, "t": 24, "b": 40},
                xaxis=axis(theme, range=[low[0] - room, high[0] + room], title={**title, "text": text}, **quiet),
                yaxis=axis(
                    theme, range=[low[1] - room, high[1] + room], scaleanchor="x", title={**title, "text": upward},
                    **quiet,
                ),
                annotations=[
                    {
                        "text": words, "showarrow": False, "xref": "paper", "yref": "paper", "x": 0, "y": 1,
                        "xanchor": "left", "yanchor": "bottom", "font": {"size": 11, "color": muted(theme)},
                    }
                ],
            ),
        }
    )  # fmt: skip


def _view(places: Floats, turns: Floats) -> tuple[Floats, str]:
    """From where a body is seen whole: that of the directions in which it hardly reaches, in any of its states."""
    reach = places.reshape(-1, 3)
    spread = reach.max(0) - reach.min(0)
    # Of shapes that lie along a direction the ends count as well.
    along = np.abs(turns.reshape(-1, 3, 3)[:, :, 2]).max(0)
    largest = float(spread.max()) or 1.0
    if spread[1] < 0.05 * largest and along[1] < 0.05 + 0.95 * (spread[1] == 0):
        return _SIDE, "seen from the side"
    if spread[2] < 0.35 * largest and spread[1] > 0.2 * largest:
        return _TOP, "seen from above"
    return (_SIDE, "seen from the side") if spread[1] < 0.05 * largest else (_OBLIQUE, "seen at an angle")


def _outline(kind: int, size: Floats, place: Floats, turn: Floats, view: Floats) -> Floats:
    """The closed outline of a shape as it is seen, [k, 2]."""
    middle, axes = view @ place, view @ turn
    if kind == _BOX:
        corners = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) * size
        return _hull(middle + corners @ axes.T)
    angle = np.linspace(0, 2 * np.pi, 33)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    if kind == 3:
        ends = [middle + sign * size[1] * axes[:, 2] for sign in (-1, 1)]
        return _hull(np.concatenate([end + size[0] * circle for end in ends]))
    if kind == 5:
        rim = size[0] * circle @ axes[:, :2].T
        return _hull(np.concatenate([middle + sign * size[1] * axes[:, 2] + rim for sign in (-1, 1)]))
    if kind == 4:
        # An ellipsoid is seen as an ellipse: the image of the sphere under axes·size.
        left, lengths, _ = np.linalg.svd(axes * size)
        return np.asarray(middle + circle * lengths @ left.T)
    return np.asarray(middle + size[0] * circle)


def _hull(points: Floats) -> Floats:
    """The convex hull of points [k, 2], closed (Andrew's monotone chain)."""
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]

    def chain(rows: Floats) -> list[Floats]:
        kept: list[Floats] = []
        for row in rows:
            while len(kept) > 1 and _left(kept[-2], kept[-1], row) <= 0:
                kept.pop()
            kept.append(row)
        return kept[:-1]

    found = [*chain(ordered), *chain(ordered[::-1])]
    return np.array([*found, found[0]]) if found else ordered


def _left(a: Floats, b: Floats, c: Floats) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _css(color: Floats) -> str:
    red, green, blue = (round(255 * float(part)) for part in color[:3])
    return f"rgba({red},{green},{blue},{float(color[3]):.2f})"


def _coordinates(arrays: Mapping[str, xr.DataArray], state: int, theme: Theme, uirevision: str) -> go.Figure:
    """Every coordinate of the state, beside those of the other states that are stored."""
    obs = arrays["obs"].transpose("state", "feature").values.astype(np.float64)[:, :_MOST]
    number = np.arange(1, obs.shape[1] + 1)
    others = np.delete(obs, state, axis=0)
    color = look("deterministic").color(theme)
    title = {"font": {"size": 11, "color": muted(theme)}, "standoff": 4}
    left_out = arrays["obs"].sizes["feature"] - obs.shape[1]
    return drawing(
        {
            "data": [
                {
                    "type": "scatter", "mode": "markers", "name": "the other states", "x": others.ravel(),
                    "y": np.tile(number, len(others)), "marker": {"symbol": "line-ns-open", "size": 8,
                    "color": rgba(color, 0.45)}, "hoverinfo": "skip",
                },
                {
                    "type": "scatter", "mode": "markers", "name": f"state {state + 1}", "x": obs[state], "y": number,
                    "marker": {"symbol": "circle", "size": 8, "color": color},
                    "hovertemplate": "observation %{y} = %{x:.4g}<extra></extra>",
                },
            ],
            "layout": layout(
                theme,
                uirevision=uirevision,
                margin={"l": 50, "r": 10, "t": 28, "b": 40},
                xaxis=axis(theme, title={**title, "text": "value"}, zeroline=True),
                yaxis=axis(
                    theme, autorange="reversed", dtick=1 if len(number) < 16 else 5,
                    title={**title, "text": "observation" + (f" ({left_out} more)" if left_out else "")},
                ),
            ),
        }
    )  # fmt: skip
