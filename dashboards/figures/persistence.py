"""Figure: how many local optima a critic has, over how persistent they must be to count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from dashboards.style import Theme, axis, drawing, layout, muted, rgba
from gradlab.estimate import Estimate

#: From the earliest checkpoint to the last.
_COLORS = ("#74b9e7", "#0072b2", "#00416b", "#d55e00", "#8a3d00")
#: Of the same: colour alone tells no line.
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_GAP = 0.06


def persistence(
    tasks: Mapping[str, Mapping[str, Mapping[float, Estimate]]],
    threshold: float = 0.01,
    theme: Theme = "light",
    uirevision: str = "persistence",
) -> go.Figure:
    """A panel a task, a line with its 95 % band a checkpoint: number of optima over relative persistence.

    Args:
        tasks: task → checkpoint → relative persistence → mean number of optima at least that persistent.
        threshold: where the one number that is quoted is read off; a dotted line.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> curve = {0.01: Estimate(2.0, 0.1, 30), 0.1: Estimate(1.5, 0.1, 30)}
        >>> [trace.name for trace in persistence({"Reacher-v5": {"1,000 steps": curve}}).data]
        ['1,000 steps', '1,000 steps, 95 %']
    """
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    width = (1 - _GAP * (len(tasks) - 1)) / max(len(tasks), 1)
    for column, (task, checkpoints) in enumerate(tasks.items()):
        number = "" if column == 0 else str(column + 1)
        left = column * (width + _GAP)
        # Lines of several panels share colours, each with the legend of its own panel.
        legend = f"legend{number}"
        extra[f"xaxis{number}"] = axis(
            theme,
            domain=[left, left + width],
            anchor=f"y{number}",
            type="log",
            tickvals=[0.001, 0.01, 0.1, 1],
            ticktext=["0.1 %", "1 %", "10 %", "100 %"],
            title={"text": "persistence, of Q's range", "font": {"size": 11, "color": muted(theme)}, "standoff": 6},
        )
        highest = max(
            (estimate.interval()[1] for curve in checkpoints.values() for estimate in curve.values()), default=1
        )
        title = {"text": "local optima a state", "font": {"size": 11, "color": muted(theme)}, "standoff": 4}
        extra[f"yaxis{number}"] = axis(
            theme,
            anchor=f"x{number}",
            # Room for the legend.
            range=[0, 1.45 * highest] if highest > 0 else None,
            **({"title": title} if column == 0 else {}),
        )
        extra[legend] = {"x": left + width, "xanchor": "right", "y": 0.98, "yanchor": "top", "font": {"size": 11}}
        notes.append(
            {"text": f"<b>{task}</b>", "xref": "paper", "yref": "paper", "x": left, "y": 1.0, "xanchor": "left",
             "yanchor": "bottom", "showarrow": False, "font": {"size": 12}}
        )  # fmt: skip
        for index, (label, curve) in enumerate(checkpoints.items()):
            color = _COLORS[index % len(_COLORS)]
            x = list(curve)
            ends = [estimate.interval() for estimate in curve.values()]
            shared = {"type": "scatter", "xaxis": f"x{number}", "yaxis": f"y{number}", "legend": legend}
            traces.append(
                {
                    **shared, "name": label, "x": x, "y": [estimate.value for estimate in curve.values()],
                    "mode": "lines+markers",
                    "line": {"color": color, "width": 2, "dash": _DASHES[index % len(_DASHES)]},
                    "marker": {"color": color, "size": 5},
                    "hovertemplate": f"{label}<br>%{{x:.3g}} of the range: %{{y:.3g}}<extra></extra>",
                }
            )  # fmt: skip
            traces.append(
                {
                    **shared, "name": f"{label}, 95 %", "x": [*x, *x[::-1]],
                    "y": [*(high for _, high in ends), *(low for low, _ in ends[::-1])],
                    "fill": "toself", "fillcolor": rgba(color, 0.18), "line": {"width": 0}, "mode": "lines",
                    "hoverinfo": "skip", "showlegend": False,
                }
            )  # fmt: skip
    shapes = [
        {"type": "line", "xref": f"x{'' if i == 0 else i + 1}", "yref": "paper", "x0": threshold, "x1": threshold,
         "y0": 0, "y1": 1, "line": {"color": muted(theme), "width": 1, "dash": "dot"}}
        for i in range(len(tasks))
    ]  # fmt: skip
    margin = {"l": 48, "r": 12, "t": 30, "b": 44}
    whole = layout(theme, uirevision=uirevision, margin=margin, annotations=notes, shapes=shapes, **extra)
    return drawing({"data": traces, "layout": whole})
