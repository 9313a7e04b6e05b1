"""Figure: bias, variance and direction of each estimator's gradient over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.absent import Absent, marks, waiting
from dashboards.figures.lines import caption, emptied, line, rule
from dashboards.scale import Scale
from dashboards.style import Theme, axis, drawing, layout, look, muted, step_axis
from dashboards.words import DEFAULT_METRICS, METRICS, REFERENCES, escape, estimator_label, samples

#: Height of the gap between two panels, as a share of the figure.
_GAP = 0.085
#: Pixels of a line of the legend.
_ENTRY = 20


def gradient_error(
    series: data.SeriesSet,
    metrics: Sequence[str] = DEFAULT_METRICS,
    probe: str = "gradient",
    theme: Theme = "light",
    uirevision: str = "gradient",
    absent: Absent = (),
    *,
    narrow: bool = False,
) -> go.Figure:
    """One panel a metric, one line an estimator, bands of 95 % intervals; hollow marks are not resolved from zero.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        metrics: keys of ``dashboards.words.METRICS``, drawn from top to bottom.
        probe: ``gradient`` (against the critic) or ``simulator`` (against the simulator).
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        absent: (step, reason) of measurements that were tried and gave no number, oldest first.
        narrow: whether the legend has room for one name a line only.

    Example:
        >>> [len(gradient_error({}).data), gradient_error({}).layout.annotations[-1].text[:7]]
        [0, 'waiting']
    """
    metrics = [metric for metric in METRICS if metric in metrics] or [DEFAULT_METRICS[0]]
    names = data.estimators(series, probe, metrics)
    height = (1 - _GAP * (len(metrics) - 1)) / len(metrics)
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    seen: set[str] = set()
    for row, metric in enumerate(metrics):
        word = METRICS[metric]
        number = "" if row == 0 else str(row + 1)
        top = 1 - row * (height + _GAP)
        found = {name: data.select(series, probe, f"{name}/{metric}") for name in names}
        drawn = {name: one for name, one in found.items() if one is not None and len(one)}
        scale = Scale(word.scale, list(drawn.values()))
        extra[f"yaxis{number}"] = axis(theme, domain=[max(0.0, top - height), top], **scale.axis())
        notes.append(caption(word.label, word.meaning, y=top))
        notes += _undrawn(drawn, theme, top)
        if metric in ("cosine", "norm_ratio"):
            shapes.append(rule(float(scale.height(np.ones(1))[0]), theme, yref=f"y{number}"))
        for name, one in drawn.items():
            style = look(name)
            label = escape(estimator_label(name))
            traces += line(
                one,
                label,
                style.color(theme),
                style.symbol,
                scale=scale,
                yaxis=f"y{number}",
                points=600 // len(metrics),
                legend=name not in seen,
                group=name,
                unit=samples(probe, one.reference),
            )
            seen.add(name)
    if not traces:
        what = REFERENCES[probe].label if probe in REFERENCES else escape(probe)
        notes.append(waiting(f"waiting for the first measurement against the {what}", absent, theme))
    else:
        notes += marks(absent, theme)
    figure = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        shapes=shapes,
        margin={"l": 52, "r": 12, "t": 28 + _ENTRY * (len(names) if narrow else 2), "b": 40},
        xaxis=step_axis(theme, anchor=f"y{len(metrics)}" if len(metrics) > 1 else "y", domain=[0, 1]),
        **extra,
    )
    place = {"xref": "container", "yref": "container", "y": 1, "yanchor": "top", "tracegroupgap": 0}
    figure["legend"] = {**figure["legend"], **place}
    return drawing({"data": traces, "layout": figure if traces else emptied(figure)})


def _undrawn(drawn: Mapping[str, data.Series], theme: Theme, y: float) -> list[dict[str, Any]]:
    """Says which lines have no newest point: a number that cannot be drawn is not to vanish unseen."""
    words = []
    for name, one in drawn.items():
        newest = float(one.value[-1])
        if not np.isfinite(newest):
            what = "infinite" if np.isinf(newest) else "undefined"
            words.append(f"{escape(estimator_label(name))} is {what}")
    if not words:
        return []
    return [
        {
            "text": "now " + ", ".join(words),
            "showarrow": False,
            "xref": "paper",
            "yref": "paper",
            "x": 1,
            "xanchor": "right",
            "y": y,
            "yanchor": "bottom",
            "font": {"size": 10, "color": muted(theme)},
        }
    ]
