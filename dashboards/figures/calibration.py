"""Figure: simulated return over what the critic says, state by state, with a reliability line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from dashboards.figures.lines import shortened
from dashboards.figures.scatter import Cloud, scatter
from dashboards.style import PALETTE, Theme, run_look
from dashboards.words import escape

NOTHING = "calibration of Q: not measured in this run"
#: States of a bin at least, and bins at most.
_LEAST, _BINS = 4, 5


def calibration(
    runs: Mapping[tuple[int, str], Mapping[str, xr.DataArray]],
    theme: Theme = "light",
    uirevision: str = "calibration",
    nothing: str = NOTHING,
) -> go.Figure:
    """A point a state: its simulated return over Q(s, π(s)). On the dotted line the critic is right.

    The line is the mean return of the states of each fifth of Q; its whiskers are two standard errors of that mean.

    Args:
        runs: id and name of each run → the arrays of a measurement of the probe ``returns``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        nothing: what it says where no run has such a measurement.

    Example:
        >>> q = np.arange(8.0)
        >>> table = xr.DataArray(np.stack([q, q + 1, 0 * q], -1), dims=("state", "part"),
        ...                      coords={"part": ["critic", "true", "stderr"]})
        >>> figure = calibration({(1, "mine"): {"value": table}})
        >>> figure.data[-1].x, figure.data[-1].y
        ((1.5, 5.5), (2.5, 6.5))
    """
    clouds: list[Cloud] = []
    lines: list[dict[str, Any]] = []
    titles = ("Q(s, π(s)) by the critic", "simulated return")
    for (number, name), arrays in runs.items():
        table = arrays.get("value")
        if table is None:
            continue
        q, true = (table.sel(part=part).values.astype(np.float64) for part in ("critic", "true"))
        several = len(runs) > 1
        look = run_look(number)
        color = look.color(theme) if several else PALETTE[0][theme == "dark"]
        label = escape(shortened(name, 28)) if several else "states"
        clouds.append(Cloud(label, color, look.symbol if several else "circle", q, true))
        second = color if several else PALETTE[1][theme == "dark"]
        x, y, error = reliability(q, true)
        lines.append(
            {"type": "scatter", "mode": "lines+markers", "name": f"{label}, mean" if several else "mean of each fifth",
             "x": x.tolist(), "y": y.tolist(), "line": {"color": second, "width": 2},
             "marker": {"symbol": "diamond", "size": 8}, "showlegend": not several,
             "error_y": {"type": "data", "array": error.tolist(), "thickness": 1.4, "width": 4},
             "hovertemplate": "mean of these states<br>Q %{x:.4g}: return %{y:.4g}<extra></extra>"}
        )  # fmt: skip
    return scatter(clouds, titles, theme, uirevision, nothing=nothing, lines=tuple(lines))


def reliability(
    q: NDArray[np.float64], true: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Means of Q and of the return over bins of states of about as many each, and two standard errors of the latter.

    Example:
        >>> x, y, error = reliability(np.arange(8.0), np.arange(8.0) % 4)
        >>> x.tolist(), y.tolist(), error.round(2).tolist()
        ([1.5, 5.5], [1.5, 1.5], [1.29, 1.29])
    """
    there = np.isfinite(q) & np.isfinite(true)
    q, true = q[there], true[there]
    bins = [part for part in np.array_split(np.argsort(q), min(_BINS, max(len(q) // _LEAST, 1))) if len(part) > 1]
    rows = [(q[one].mean(), true[one].mean(), 2 * true[one].std(ddof=1) / len(one) ** 0.5) for one in bins]
    table = np.array(rows).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]
