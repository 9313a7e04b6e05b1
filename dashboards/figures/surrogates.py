"""Figure: what is left of the landscape on SAVO's successive surrogates, at one step of training."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards.figures.at_step import Runs, points_at, styled
from dashboards.figures.curves import Line, Panel, curves
from dashboards.figures.lines import shortened
from dashboards.style import PALETTE, Theme
from dashboards.truth_words import SURROGATES
from dashboards.words import escape

NOTHING = "successive surrogates: not measured in this run"
_NAMES = ["Q", "Ψ₁", "Ψ₂", "Ψ₃", "Ψ₄", "Ψ₅"]


def surrogates(
    runs: Runs, step: int | None = None, theme: Theme = "light", uirevision: str = "surrogates", *, narrow: bool = False
) -> go.Figure:
    """Optima left, the flat share of the box and the chance of reaching the best optimum, surrogate by surrogate.

    Args:
        runs: id and name of each run → its scalars, from ``dashboards.series.collect``.
        step: the newest measurement up to this training step; the newest of all when None.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        narrow: whether there is room for one panel only.

    Example:
        >>> surrogates({}).layout.annotations[0].text
        'successive surrogates: not measured in this run'
    """
    x = {"tickvals": list(range(len(_NAMES))), "ticktext": _NAMES, "showgrid": False}
    panels = []
    for index, (name, word) in enumerate(SURROGATES.items()):
        lines = []
        for run, series in runs.items():
            points = points_at(series, "landscape", "surrogate/", f"/{name}", step)
            alone = (word.label, PALETTE[index][theme == "dark"], ("circle", "square", "diamond")[index], "solid")
            several = (escape(shortened(run[1], 28)), *styled(run, theme))
            lines.append(Line(*(several if len(runs) > 1 else alone), points))
        share = {"tickformat": ".0%", "range": [-0.04, 1.04]}
        y = share if word.scale == "share" else {"rangemode": "tozero", "nticks": 6}
        panels.append(Panel(word.label, word.meaning, x, y, lines))
    figure = curves(panels, theme, uirevision, nothing=NOTHING, narrow=narrow)
    # Of one run the captions say which line it is.
    figure.layout.showlegend = len(runs) > 1
    return figure
