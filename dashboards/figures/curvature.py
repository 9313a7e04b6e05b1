"""Figure: mixed partials, action curvature and their ratio over training."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.panels import panels
from dashboards.style import Theme
from dashboards.words import CURVATURE

#: The numbers of each panel; the first has ``EXACT`` as well where there is any.
ROWS = (("ratio", "policy_jacobian"), ("mixed_partial", "curvature"), ("valid_share", "interior_share"))
EXACT = "exact_ratio"
#: Whose alarms are marked.
WATCHED = ("ratio", "policy_jacobian", "mixed_partial", "curvature")


def curvature(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "curvature") -> go.Figure:
    """M/μ beside the actor's own sensitivity; M and μ; the shares of states where the ratio means something.

    Of smooth critics exact M/μ is drawn beside that at a scale. Where M/μ, the actor's sensitivity, M or μ
    departs from the run's own history is marked, and said on hover.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> curvature({}).layout.annotations[0].text
        'waiting for the first measurement'
    """
    # Only smooth critics have it.
    exact = (EXACT,) if data.select(series, "curvature", EXACT) is not None else ()
    rows = ((*ROWS[0], *exact), *ROWS[1:])
    return panels(series, "curvature", rows, CURVATURE, theme=theme, uirevision=uirevision, watched=WATCHED)
