"""Figure: how well V fits a rollout's targets, and the policy's entropy."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.panels import panels
from dashboards.style import Theme
from dashboards.words import ON_POLICY

_ROWS = (("value/explained_variance",), ("value/rmse", "value/bias"), ("policy/entropy",))


def rollout_value(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "rollout-value") -> go.Figure:
    """Explained variance; V's root-mean-square error and bias; entropy. Each over training, with 95 % intervals.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> rollout_value({}).layout.annotations[0].text
        'waiting for the first measurement'
    """
    return panels(series, "on-policy", _ROWS, ON_POLICY, theme=theme, uirevision=uirevision, gap=0.1)
