"""Figure: whether the actor can move, whether actor and critics do, and whether the replay is what the run visits."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.panels import panels
from dashboards.health_words import HEALTH
from dashboards.style import Theme

#: The numbers of each panel.
ROWS = (
    ("actor/saturated_share", "actor/stuck_share", "actor/passed"),
    ("actor/change", "critic/change"),
    ("replay/novel_share", "replay/entered_share"),
    ("replay/td_error", "visited/td_error"),
)


def health(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "health") -> go.Figure:
    """Saturation, movement of the parameters, how far the replay is from what the run visits, and TD errors of both.

    Each is over training, with 95 % intervals.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> health({}).layout.yaxis.tickformat
        '.0%'
    """
    return panels(series, "health", ROWS, HEALTH, theme=theme, uirevision=uirevision, gap=0.1)
