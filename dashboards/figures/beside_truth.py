"""Figure: the critic's landscape beside the true one, at one state over training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from dashboards.style import ACCENT, FIELD_COLORS, OPTIMUM, Theme, axis, drawing, layout, look, muted

_COLORSCALE = [[i / (len(FIELD_COLORS) - 1), color] for i, color in enumerate(FIELD_COLORS)]
_GAP, _ROW_GAP = 0.05, 0.12


def beside_truth(slices: Mapping[str, xr.Dataset], theme: Theme = "light", uirevision: str = "truth") -> go.Figure:
    """A column a checkpoint: Q(s, ·) by the critic above, Q^π(s, ·) by the simulator below, or as two lines.

    All is relative to the actor's action, Q(s, a) − Q(s, π(s)), as critics may be wrong by a constant without harm.
    The colours of a panel go from the 2nd to the 98th percentile of its own values, so that a few returns that are out
    of the way leave the others apart; its title gives the whole range. The marks below are the same actions as above:
    where a critic's optimum lies in a dark place of the truth, it is the critic's invention.

    Args:
        slices: checkpoint → one state's slice, ``true_slice(…).isel(state=0)``; all with one action, or all with more.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> x = np.linspace(-1, 1, 3)
        >>> one = xr.Dataset(
        ...     {"q": (("critic", "x"), [[0.0, 1.0, 0.5]]), "true": ("x", [0.0, 0.2, 0.1]),
        ...      "actor_place": ("component", [-1.0]), "actor_q": 0.0, "actor_true": 0.0,
        ...      "optimum_place": (("optimum", "component"), [[0.0]]), "optimum_q": ("optimum", [1.0]),
        ...      "optimum_true": ("optimum", [0.2])}, coords={"x": x})
        >>> [np.asarray(trace.y).tolist() for trace in beside_truth({"1,000 steps": one}).data][:2]
        [[0.0, 1.0, 0.5], [0.0, 0.2, 0.1]]
    """
    line = all("y" not in one["true"].dims for one in slices.values())
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    width = (1 - _GAP * (len(slices) - 1)) / max(len(slices), 1)
    # The words beside y are said once where all columns share them.
    first = {} if line or not slices else next(iter(slices.values()))["y"].attrs
    for column, (label, one) in enumerate(slices.items()):
        domain = [column * (width + _GAP), column * (width + _GAP) + width]
        drawn, axes, titles = (
            _lines(one, label, column, domain, theme)
            if line
            else _maps(one, label, column, domain, len(slices), theme, named=column == 0 or one["y"].attrs != first)
        )
        traces += drawn
        extra |= axes
        notes += titles
    margin = {"l": 56, "r": 12, "t": 34, "b": 84 if line else 66}
    below = {"orientation": "h", "x": 0, "y": -0.16 if line else -0.07, "yanchor": "top", "font": {"size": 11}}
    whole = layout(theme, uirevision=uirevision, margin=margin, annotations=notes, legend=below, **extra)
    return drawing({"data": traces, "layout": whole})


def _lines(
    one: xr.Dataset, label: str, column: int, domain: list[float], theme: Theme
) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]]]:
    number = "" if column == 0 else str(column + 1)
    x = one["x"].values.astype(np.float64)
    critic, true = _above_actor(one, "q"), _above_actor(one, "true")
    at = one["optimum_place"].values[:, 0]
    shared = {"type": "scatter", "xaxis": f"x{number}", "yaxis": f"y{number}", "showlegend": column == 0}
    traces = [
        {**shared, "name": "critic", "x": x, "y": critic, "mode": "lines",
         "line": {"color": look("deterministic").color(theme), "width": 2.5}},
        {**shared, "name": "truth", "x": x, "y": true, "mode": "lines",
         "line": {"color": look("score-function").color(theme), "width": 2.5, "dash": "dash"}},
        _optima(at, one["optimum_q"].values - float(one["actor_q"]), shared),
        _actor([float(one["actor_place"][0])], [0.0], shared),
    ]  # fmt: skip
    title = {"font": {"size": 11, "color": muted(theme)}, "standoff": 4}
    axes = {
        f"xaxis{number}": axis(
            theme, domain=domain, anchor=f"y{number}", range=[x[0], x[-1]], title={**title, "text": "action"}
        ),
        f"yaxis{number}": axis(
            theme,
            anchor=f"x{number}",
            zeroline=True,
            **({"title": {**title, "text": "Q(s, a) − Q(s, π(s))"}} if column == 0 else {}),
        ),
    }
    return traces, axes, [_title(f"<b>{label}</b>", domain, 1.0)]


def _maps(
    one: xr.Dataset, label: str, column: int, domain: list[float], columns: int, theme: Theme, *, named: bool
) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]]]:
    height = (1 - _ROW_GAP) / 2
    traces: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    notes = []
    words = [str(one[name].attrs.get("long_name", name)) for name in ("x", "y")]
    for row, (name, who) in enumerate((("q", "critic"), ("true", "truth"))):
        index = row * columns + column
        number = "" if index == 0 else str(index + 1)
        top = 1 - row * (height + _ROW_GAP)
        picture = _above_actor(one, name)
        shared = {"type": "scatter", "xaxis": f"x{number}", "yaxis": f"y{number}", "showlegend": index == 0}
        place = one["optimum_place"].values
        darkest, lightest = (float(end) for end in np.nanpercentile(picture, [2, 98]))
        traces += [
            {"type": "heatmap", "x": one["x"].values.astype(np.float64), "y": one["y"].values.astype(np.float64),
             "z": picture, "xaxis": f"x{number}", "yaxis": f"y{number}", "colorscale": _COLORSCALE, "zsmooth": False,
             "zmin": darkest, "zmax": lightest,
             "showscale": False, "name": who},
            _optima(place[:, 0], place[:, 1], shared),
            _actor([float(one["actor_place"][0])], [float(one["actor_place"][1])], shared),
        ]  # fmt: skip
        title = {"font": {"size": 11, "color": muted(theme)}, "standoff": 2}
        quiet = {"showgrid": False, "constrain": "domain", "ticks": "outside", "ticklen": 3}
        axes[f"xaxis{number}"] = axis(
            theme,
            domain=domain,
            anchor=f"y{number}",
            **quiet,
            **({"title": {**title, "text": words[0]}} if row == 1 else {}),
        )
        axes[f"yaxis{number}"] = axis(
            theme,
            domain=[max(0.0, top - height), top],
            anchor=f"x{number}",
            scaleanchor=f"x{number}",
            **quiet,
            **({"title": {**title, "text": words[1]}} if named else {}),
        )
        span = float(np.nanmax(picture) - np.nanmin(picture))
        notes.append(_title(f"<b>{label}</b>, {who}: spans {span:.3g}", domain, top))
    return traces, axes, notes


def _above_actor(one: xr.Dataset, name: str) -> np.ndarray:
    """Q less its value at the actor's action: [x] or [y, x]."""
    picture = one[name].isel(critic=0) if "critic" in one[name].dims else one[name]
    dims = [axis for axis in ("y", "x") if axis in picture.dims]
    return np.asarray(picture.transpose(*dims).values, dtype=np.float64) - float(one[f"actor_{name}"])


def _optima(x: Any, y: Any, shared: dict[str, Any]) -> dict[str, Any]:
    known = np.isfinite(np.asarray(x, dtype=np.float64)) & np.isfinite(np.asarray(y, dtype=np.float64))
    sizes = [14] + [9] * (len(known) - 1)
    return {
        **shared, "name": "critic's local optima (the best is a star)", "mode": "markers",
        "x": np.asarray(x, dtype=np.float64)[known], "y": np.asarray(y, dtype=np.float64)[known], "cliponaxis": False,
        "marker": {
            "symbol": ["star", *["diamond"] * (len(known) - 1)][: int(known.sum())],
            "size": sizes[: int(known.sum())], "color": OPTIMUM, "line": {"width": 1.2, "color": "#14101f"},
        },
    }  # fmt: skip


def _actor(x: list[float], y: list[float], shared: dict[str, Any]) -> dict[str, Any]:
    return {
        **shared, "name": "actor", "mode": "markers", "x": x, "y": y, "cliponaxis": False,
        "marker": {"symbol": "circle", "size": 10, "color": ACCENT, "line": {"width": 2, "color": "#ffffff"}},
    }  # fmt: skip


def _title(text: str, domain: list[float], top: float) -> dict[str, Any]:
    return {
        "text": text, "xref": "paper", "yref": "paper", "x": sum(domain) / 2, "y": top, "xanchor": "center",
        "yanchor": "bottom", "showarrow": False, "font": {"size": 12},
    }  # fmt: skip
