"""Figure: how many local optima there are, over how persistent they must be to count, at one step of training."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards.figures.at_step import Runs, newest_step, points_at, styled
from dashboards.figures.curves import Line, Panel, curves
from dashboards.figures.lines import shortened
from dashboards.style import PALETTE, Theme
from dashboards.truth_words import PERSISTENCE
from dashboards.words import escape

NOTHING = "optima over persistence: not measured in this run"
_AXIS = {
    "type": "log",
    "range": [-3.25, 0.05],
    "tickvals": [0.001, 0.01, 0.1, 1],
    "ticktext": ["0.1 %", "1 %", "10 %", "100 %"],
    "title": "persistence, of Q's range",
}


def optima_over_persistence(
    runs: Runs,
    step: int | None = None,
    theme: Theme = "light",
    uirevision: str = "persistence",
    *,
    narrow: bool = False,
) -> go.Figure:
    """The mean number of optima a state that are at least so persistent, with 95 % intervals.

    Of one run the chosen step and, beside it, the first measurement; of several each at the chosen step.

    Args:
        runs: id and name of each run → its scalars, from ``dashboards.series.collect``.
        step: the newest measurement up to this training step; the newest of all when None.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        narrow: whether there is room for one panel only, which is all there is.

    Example:
        >>> optima_over_persistence({}).layout.annotations[0].text
        'optima over persistence: not measured in this run'
    """
    lines: list[Line] = []
    if len(runs) > 1:
        for run, series in runs.items():
            points = points_at(series, "landscape", "persistence/", step=step)
            lines.append(Line(escape(shortened(run[1], 28)), *styled(run, theme), points))
    else:
        dark = theme == "dark"
        for series in runs.values():
            first = min(
                (int(one.step[0]) for key, one in series.items() if key.name.startswith("persistence/")), default=0
            )
            at = newest_step(series, "landscape", "persistence/", step)
            if at is not None and first < at:
                before = points_at(series, "landscape", "persistence/", step=first)
                lines.append(Line(f"step {first:,}, the first", PALETTE[7][dark], "diamond", "dot", before))
            if at is not None:
                now = points_at(series, "landscape", "persistence/", step=step)
                lines.append(Line(f"step {at:,}", PALETTE[0][dark], "circle", "solid", now))
    panel = Panel(PERSISTENCE.label, PERSISTENCE.meaning, _AXIS, {"rangemode": "tozero", "nticks": 6}, lines, (1.0,))
    return curves([panel], theme, uirevision, nothing=NOTHING, narrow=narrow)
