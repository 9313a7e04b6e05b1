"""Figure: the terms of the error ledger over training."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.panels import panels
from dashboards.gradient_words import ledger_words
from dashboards.style import Theme

_WORDS = ledger_words("norm_squared")
_ROWS = (
    ("total", "truth"),
    ("critic_error", "truncation"),
    ("estimator_noise", "minibatch_noise"),
    ("state_distribution", "smoothing", "entropy"),
)


def ledger_terms(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "ledger-terms") -> go.Figure:
    """Squared norm of each term, of the total error and of the truth over training, with 95 % intervals.

    Terms that were not measured are left out.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> ledger_terms({}).layout.annotations[-1].text
        'waiting for the first measurement'
    """
    there = {key.name for key in series if key.probe == "simulator"}
    named = [tuple(f"ledger/{name}/norm_squared" for name in row) for row in _ROWS]
    rows = [kept for row in named if (kept := tuple(name for name in row if name in there))] or named[:1]
    return panels(series, "simulator", rows, _WORDS, theme=theme, uirevision=uirevision, gap=0.1)
