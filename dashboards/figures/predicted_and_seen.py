"""Figure: the bound M/μ of each state beside the actor's own sensitivity there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from dashboards.log_ticks import log_ticks
from dashboards.style import Theme, axis, drawing, layout, look, muted, rgba
from dashboards.words import escape

if TYPE_CHECKING:
    from gradlab.curvature import Predictions

_COLUMNS = 3
#: Between two panels, in panels.
_GAP, _ROW_GAP = 0.24, 0.38
#: Decades below the largest that a panel shows: a bound of zero is off any logarithm.
_DECADES = 6


def predicted_and_seen(
    checkpoints: Mapping[str, Predictions], theme: Theme = "light", uirevision: str = "predictions"
) -> go.Figure:
    """A panel a checkpoint, a point a state: ‖∂π/∂s‖ over M/μ, both on a logarithm, and the line where they are equal.

    States where M/μ is not defined are not drawn; their number is in the panel's title.

    Args:
        checkpoints: label → ``gradlab.curvature.Predictions``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> import torch
        >>> from gradlab.curvature import sensitivity_predictions
        >>> from gradlab.worlds import LinearQuadratic
        >>> agent = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4).agent()
        >>> figure = predicted_and_seen({"LQR": sensitivity_predictions(agent, torch.ones(3, 1))})
        >>> [round(float(x), 3) for x in figure.data[1].x], [round(float(y), 3) for y in figure.data[1].y]
        ([1.474, 1.474, 1.474], [0.4, 0.4, 0.4])
    """
    columns = min(_COLUMNS, max(len(checkpoints), 1))
    rows = max(-(-len(checkpoints) // columns), 1)
    width, height = 1 / (columns + _GAP * (columns - 1)), 1 / (rows + _ROW_GAP * (rows - 1))
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    color = look("deterministic").color(theme)
    title = {"font": {"size": 11, "color": muted(theme)}, "standoff": 4}
    for index, (label, found) in enumerate(checkpoints.items()):
        number = "" if index == 0 else str(index + 1)
        left = (index % columns) * width * (1 + _GAP)
        bottom = max(0.0, 1 - height - (index // columns) * height * (1 + _ROW_GAP))
        bound, actor = (part.detach().cpu().numpy() for part in (found.ratio, found.actor_norm))
        drawn = np.isfinite(bound) & (bound > 0) & (actor > 0)
        ends = _ends(bound[drawn], actor[drawn])
        shared = {"type": "scatter", "xaxis": f"x{number}", "yaxis": f"y{number}", "showlegend": False}
        traces.append(
            {**shared, "x": list(ends), "y": list(ends), "mode": "lines", "hoverinfo": "skip",
             "line": {"color": muted(theme), "width": 1, "dash": "dot"}}
        )  # fmt: skip
        traces.append(
            {**shared, "x": bound[drawn], "y": actor[drawn], "mode": "markers",
             "marker": {"color": rgba(color, 0.45), "size": 5},
             "hovertemplate": "M/μ %{x:.3g}<br>‖∂π/∂s‖ %{y:.3g}<extra></extra>"}
        )  # fmt: skip
        span = [math.log10(end) for end in ends]
        whole = {"type": "log", "range": span, **log_ticks(*ends, most=5)}
        extra[f"xaxis{number}"] = axis(
            theme, domain=[left, min(1.0, left + width)], anchor=f"y{number}", **whole,
            **({"title": {**title, "text": "M/μ"}} if index + columns >= len(checkpoints) else {}),
        )  # fmt: skip
        extra[f"yaxis{number}"] = axis(
            theme, domain=[bottom, bottom + height], anchor=f"x{number}", **whole,
            **({"title": {**title, "text": "‖∂π/∂s‖"}} if index % columns == 0 else {}),
        )  # fmt: skip
        words = f"<b>{escape(label)}</b><br>{int(drawn.sum())} of {len(bound)} states"
        notes.append(
            {"text": words, "xref": "paper", "yref": "paper", "x": left, "y": bottom + height, "xanchor": "left",
             "yanchor": "bottom", "align": "left", "showarrow": False, "font": {"size": 11}}
        )  # fmt: skip
    margin = {"l": 56, "r": 12, "t": 44, "b": 44}
    return drawing(
        {"data": traces, "layout": layout(theme, uirevision=uirevision, margin=margin, annotations=notes, **extra)}
    )


def _ends(*parts: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Where both axes begin and end, so that the line of equality is a diagonal."""
    numbers = np.concatenate(parts)
    if len(numbers) == 0:
        return 0.1, 10.0
    highest = float(numbers.max())
    lowest = max(float(numbers.min()), highest / 10**_DECADES)
    return lowest / 1.5, highest * 1.5
