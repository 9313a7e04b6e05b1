"""What is drawn in one panel of the field: heat map, arrows and marks on a plane; curve and marks along a line."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.figures.field_panel import Floats, Panel
from dashboards.figures.maps import arrows, heat_map
from dashboards.style import ACCENT, OPTIMUM, Theme, look

#: Pixels of a mark whose persistence is nothing, and of one whose persistence is the whole range of Q.
_SMALL, _LARGE = 7.0, 17.0
_TRAIL = "rgba(255,192,120,0.75)"
#: Colours of differences: blue below zero, red above (ColorBrewer's RdBu), told apart by the colour-blind too.
_DIVERGING = [
    [0.0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#f5f5f5"], [0.75, "#f4a582"], [1.0, "#b2182b"],
]  # fmt: skip


def traces(panel: Panel, theme: Theme, x: str, y: str, over: str, span: tuple[float, float]) -> list[dict[str, Any]]:
    """The traces of a panel, always as many in the same order, so that a new picture is new numbers alone.

    Args:
        panel: what is seen.
        theme: light or dark.
        x: name of its x axis, such as ``x2``.
        y: of its y axis.
        over: of the axis that lies over that.
        span: the values at the ends of the colours.
    """
    if panel.flat:
        return _along(panel, theme, x, y, over)
    place = "(%{x:.2f}, %{y:.2f})"
    noise = {} if panel.stderr is None else {"customdata": panel.stderr.astype(np.float32)}
    what, sure = ("ΔQ" if panel.diverging else "Q"), (" ± %{customdata:.2g} (standard error)" if noise else "")
    hover = f"a = {place}<br>{what} = %{{z:.4g}}{sure}<extra></extra>"
    title = "ΔQ" if panel.diverging else "Q(s, a)"
    heat = {**heat_map(panel.values, *panel.sides, theme, title, hover), "xaxis": x, "yaxis": y, **noise}
    heat |= {"zmin": span[0], "zmax": span[1]}
    quiver = {**arrows(panel.slopes, *panel.slope_sides), "xaxis": x, "yaxis": over}
    if panel.diverging:
        # Its middle is light on either ground, so that its arrows are dark.
        heat["colorscale"] = _DIVERGING
        quiver["marker"] = {**quiver["marker"], "color": "rgba(20,16,31,0.7)"}
    return [heat, quiver, *_marks(panel, lambda at: (at[:, 0], at[:, 1]), {"xaxis": x, "yaxis": over}, place)]


def _along(panel: Panel, theme: Theme, x: str, y: str, over: str) -> list[dict[str, Any]]:
    side, height = panel.sides[0], panel.values
    curve = {
        "type": "scatter", "mode": "lines", "name": "Q(s, a)", "x": side, "y": height, "xaxis": x, "yaxis": y,
        "line": {"color": look("deterministic").color(theme), "width": 2.5},
        "hovertemplate": "a = %{x:.3f}<br>Q = %{y:.4g}<extra></extra>",
    }  # fmt: skip
    slope = {
        "type": "scatter", "mode": "lines", "name": "dQ/da (right)", "x": panel.slope_sides[0], "y": panel.slopes,
        "xaxis": x, "yaxis": over, "line": {"color": look("score-function").color(theme), "width": 1.5, "dash": "dash"},
        "hovertemplate": "a = %{x:.3f}<br>dQ/da = %{y:.4g}<extra></extra>",
    }  # fmt: skip

    def on_curve(at: Floats) -> tuple[Floats, Floats]:
        return at[:, 0], np.interp(at[:, 0], side, height)

    return [curve, slope, *_marks(panel, on_curve, {"xaxis": x, "yaxis": y}, "%{x:.3f}")]


def _marks(panel: Panel, put: Any, axes: dict[str, str], place: str) -> list[dict[str, Any]]:
    """The actor's trail, its ascent, other optima, the best, the actor: five traces, empty where there is none."""

    def points(at: Floats, name: str, mode: str, **more: Any) -> dict[str, Any]:
        x, y = put(at) if len(at) else (np.empty(0), np.empty(0))
        return {"type": "scatter", "mode": mode, "name": name, "cliponaxis": False, "x": x, "y": y, **axes, **more}

    others, best = slice(1, None), slice(0, 1)
    facts = np.column_stack([panel.heights, panel.shares, panel.distances]) if len(panel.heights) else np.empty((0, 3))
    said = [_said(row, inside) for row, inside in zip(facts, panel.inside, strict=True)]

    def optima(which: slice, name: str, symbols: tuple[str, str], least: float) -> dict[str, Any]:
        inside = panel.inside[which]
        marker = {
            "symbol": [symbols[0] if one else symbols[1] for one in inside],
            "size": np.maximum(_sizes(panel.shares[which]), least),
            "color": OPTIMUM,
            "line": {"width": 1.6, "color": OPTIMUM if "open" in symbols[0] else "#14101f"},
        }
        hover = f"{name}, Q = %{{customdata:.4g}}<br>{place}%{{text}}<extra></extra>"
        at = panel.optima[which]
        return points(
            at, name, "markers", marker=marker, customdata=panel.heights[which], text=said[which], hovertemplate=hover
        )

    return [
        points(
            panel.trail, "actor before", "lines+markers", line={"color": _TRAIL, "width": 1.2},
            marker={"color": _TRAIL, "size": 4}, customdata=panel.trail_steps,
            hovertemplate=f"the actor at step %{{customdata:,}}<br>{place}<extra></extra>",
        ),
        points(
            panel.path, "actor's ascent", "lines+markers", line={"color": ACCENT, "width": 2.5},
            marker={"color": ACCENT, "size": 4}, hovertemplate=f"ascent path<br>{place}<extra></extra>",
        ),
        optima(others, "local optima", ("diamond-open", "cross-thin-open"), _SMALL),
        optima(best, "best optimum", ("star", "star-open"), 14.0),
        points(
            panel.actor, "actor", "markers",
            marker={"symbol": "circle", "size": 12, "color": ACCENT, "line": {"width": 2.5, "color": "#ffffff"}},
            hovertemplate=f"actor's action<br>{place}<extra></extra>",
        ),
    ]  # fmt: skip


def _sizes(shares: Floats) -> NDArray[np.float64]:
    """Pixels of marks by persistence, an area in proportion beyond the smallest; in the middle where it is not known.

    Example:
        >>> _sizes(np.array([0.0, 0.25, 1.0, np.nan])).tolist()
        [7.0, 12.0, 17.0, 11.0]
    """
    known = np.sqrt(np.clip(np.nan_to_num(shares), 0.0, 1.0))
    return np.where(np.isfinite(shares), _SMALL + (_LARGE - _SMALL) * known, 11.0)


def _said(facts: Floats, inside: bool) -> str:
    """What more a hover says of an optimum."""
    _, share, distance = facts
    kept = f"<br>persistence {100 * share:.2g} % of the range of Q" if np.isfinite(share) else ""
    return kept + ("" if inside else f"<br>{distance:.2g} off this plane: projected")
