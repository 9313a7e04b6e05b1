"""Figure: mixed partials, action curvature and their ratio over training."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.panels import panels
from dashboards.style import Theme
from dashboards.words import CURVATURE

_RATIO = ("ratio", "policy_jacobian")
_ROWS = (("mixed_partial", "curvature"), ("valid_share", "interior_share"))
#: Whose alarms are marked.
_WATCHED = ("ratio", "policy_jacobian", "mixed_partial", "curvature")


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
    exact = ("exact_ratio",) if data.select(series, "curvature", "exact_ratio") is not None else ()
    rows = ((*_RATIO, *exact), *_ROWS)
    return panels(series, "curvature", rows, CURVATURE, theme=theme, uirevision=uirevision, watched=_WATCHED)
