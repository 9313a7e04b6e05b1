"""Figure: how many local optima the critic has, and how far the actor is from the best of them."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.panels import panels
from dashboards.style import Theme
from dashboards.words import LANDSCAPE

#: The numbers of each panel.
ROWS = (
    ("optima", "births", "deaths"),
    ("gap", "own_fit", "basin_choice"),
    ("best_basin_share", "relative_gap", "boundary_share", "actor_changed", "level_share"),
)


def landscape(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "landscape") -> go.Figure:
    """Local optima per state and what became of them, the actor's gap and its parts, and shares of states.

    Each is over training, with 95 % intervals.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> landscape({}).layout.yaxis3.tickformat
        '.0%'
    """
    return panels(series, "landscape", ROWS, LANDSCAPE, theme=theme, uirevision=uirevision)
