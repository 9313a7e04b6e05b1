"""Figure: how much of each estimator's noise comes from which states it sees, and how much from its own draws."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.at_step import snapshot
from dashboards.figures.composition import Row, composition
from dashboards.gradient_words import PARTS
from dashboards.style import PALETTE, Theme
from dashboards.words import escape, estimator_label

_NAMES = ("state_variance", "draw_variance", "total_variance")


def variance_split(
    series: data.SeriesSet, step: int | None = None, theme: Theme = "light", uirevision: str = "variance-split"
) -> go.Figure:
    """Variance of one sample's gradient between states and within a state, as shares, and the variance itself.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        step: the newest measurement at this training step; the newest of all when None.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> variance_split({}).layout.annotations[0].text
        'waiting for the first measurement'
    """
    shown = snapshot(series, "estimators", step, lambda name: name.rpartition("/")[2] in _NAMES)
    totals = {
        name.removesuffix("/total_variance"): shown.value(name)
        for name in shown.points
        if name.endswith("/total_variance")
    }
    rows = [
        Row(
            escape(estimator_label(name)),
            f"{name}/total_variance",
            [f"{name}/{part}" for part in _NAMES[:2]],
            "" if totals[name] > 0 else "no variance above zero",
        )
        for name in sorted(totals, key=totals.__getitem__)
    ]
    words = [PARTS[name] for name in _NAMES]
    return composition(
        shown,
        rows,
        [(word.label, PALETTE[place][theme == "dark"]) for word, place in zip(words[:2], (2, 3), strict=True)],
        ("Noise from", "<br>".join(f"{word.label}: {word.meaning}" for word in words[:2])),
        ("variance", words[2].meaning),
        theme,
        uirevision,
        "waiting for the first measurement",
    )
