"""Figure: the bound M/μ of each state beside the sensitivity that the actor has, and that was seen of its actions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from dashboards.figures.lines import shortened
from dashboards.figures.scatter import Cloud, scatter
from dashboards.style import PALETTE, Theme, run_look
from dashboards.words import escape

NOTHING = "bound against observed sensitivity: not measured in this run"
_SEEN = {"actor": ("‖∂π/∂s‖", "circle", 0), "observed": ("seen, ‖Δa‖/‖Δs‖", "diamond", 1)}


def bound_and_observed(
    runs: Mapping[tuple[int, str], Mapping[str, xr.DataArray]],
    theme: Theme = "light",
    uirevision: str = "bound",
    nothing: str = NOTHING,
) -> go.Figure:
    """A point a state where μ > 0: sensitivity over M/μ, on logarithms; above the dotted line the bound is violated.

    Of one run the actor's Jacobian and what was seen; of several what was seen.

    Args:
        runs: id and name of each run → the arrays of a measurement of the probe ``smoothness``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        nothing: what it says where no run has such a measurement.

    Example:
        >>> table = xr.DataArray([[2.0, 1.0, 0.5], [np.nan, 1.0, 1.0]], dims=("state", "part"),
        ...                      coords={"part": ["bound", "actor", "observed"]})
        >>> [trace.y for trace in bound_and_observed({(1, "mine"): {"states": table}}).data[1:]]
        [(1.0,), (0.5,)]
    """
    clouds: list[Cloud] = []
    several = len(runs) > 1
    for (number, name), arrays in runs.items():
        table = arrays.get("states")
        if table is None:
            continue
        columns = {str(part): table.sel(part=part).values.astype(np.float64) for part in table["part"].values}
        for part, (label, symbol, place) in _SEEN.items():
            if several and part == "actor":
                continue
            color = run_look(number).color(theme) if several else PALETTE[place][theme == "dark"]
            said = escape(shortened(name, 28)) if several else label
            mark = run_look(number).symbol if several else symbol
            clouds.append(Cloud(said, color, mark, columns["bound"], columns[part]))
    return scatter(clouds, ("bound M/μ", "sensitivity"), theme, uirevision, nothing=nothing, log=True)
