"""Figure: the share of states where the critic's action gradient points the wrong way."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.absent import Absent, marks, waiting
from dashboards.figures.lines import emptied, line, rule
from dashboards.scale import Scale
from dashboards.style import Theme, axis, drawing, layout, look, muted, step_axis
from dashboards.words import WRONG_DIRECTION, escape, estimator_label, samples


def wrong_direction(
    series: data.SeriesSet, theme: Theme = "light", uirevision: str = "wrong-direction", absent: Absent = ()
) -> go.Figure:
    """Share of states over training with 95 % intervals; at the dotted line a coin would choose as well.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        absent: (step, reason) of measurements that were tried and gave no number, oldest first.

    Example:
        >>> wrong_direction({}).layout.yaxis.tickformat
        '.0%'
    """
    traces = []
    scale = Scale("share", [])
    for name in data.estimators(series, "simulator", ["wrong_direction"]):
        one = data.select(series, "simulator", f"{name}/wrong_direction")
        if one is None or not len(one):
            continue
        style = look(name)
        traces += line(
            one,
            escape(estimator_label(name)),
            style.color(theme),
            style.symbol,
            scale=scale,
            legend=False,
            null=0.5,
            unit=samples("simulator", one.reference),
        )
    notes = [
        {
            "text": "⋯ as good as a coin",
            "showarrow": False,
            "xref": "paper",
            "x": 1,
            "xanchor": "right",
            "yref": "paper",
            "y": 1,
            "yanchor": "bottom",
            "font": {"size": 10, "color": muted(theme)},
            "hovertext": WRONG_DIRECTION.meaning,
        },
        *marks(absent, theme),
    ]
    if not traces:
        notes = [waiting("waiting for the simulator's first measurement", absent, theme)]
    whole = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        shapes=[rule(0.5, theme)],
        xaxis=step_axis(theme),
        yaxis=axis(theme, **scale.axis()),
        margin={"l": 48, "r": 12, "t": 22, "b": 40},
    )
    return drawing({"data": traces, "layout": whole if traces else emptied(whole)})
