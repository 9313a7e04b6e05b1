"""Figure: what is in a rollout's mean gradient that is not the return's, and what clipping takes off it."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.panels import panels
from dashboards.style import Theme
from dashboards.words import ON_POLICY

_ROWS = (
    ("ledger/gae_bias", "ledger/state_distribution", "ledger/entropy_bonus", "ledger/value_loss"),
    ("clipping/share",),
    ("clipping/removed", "clipping/unclipped"),
    ("policy/kl",),
)


def rollout_ledger(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "rollout-ledger") -> go.Figure:
    """Terms of the ledger; share of steps clipped; what clipping takes off; KL. Over training, with 95 % intervals.

    Numbers that the algorithm has not are left out.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> rollout_ledger({}).layout.annotations[-1].text
        'waiting for the first measurement'
    """
    there = {key.name for key in series if key.probe == "on-policy"}
    rows = [kept for row in _ROWS if (kept := tuple(name for name in row if name in there))] or _ROWS
    return panels(series, "on-policy", rows, ON_POLICY, theme=theme, uirevision=uirevision, gap=0.1)
