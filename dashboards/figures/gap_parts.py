"""Figure: what the actor leaves on the table, split into its own fit and its choice of a basin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from dashboards.style import Theme, axis, drawing, layout, muted
from gradlab.estimate import Estimate

_PARTS = {"relative_own_fit": ("own fit", "#0072b2"), "relative_basin_choice": ("basin choice", "#d55e00")}


def gap_parts(
    checkpoints: Mapping[tuple[str, str], Mapping[str, Estimate]],
    theme: Theme = "light",
    uirevision: str = "gap-parts",
) -> go.Figure:
    """A bar a checkpoint, of the two parts of the gap relative to Q's range, with the gap's 95 % interval.

    Args:
        checkpoints: (task, checkpoint) → the numbers ``relative_gap``, ``relative_own_fit``, ``relative_basin_choice``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> parts = {"relative_own_fit": 0.2, "relative_basin_choice": 0.1, "relative_gap": 0.3}
        >>> numbers = {name: Estimate(value, 0.01, 30) for name, value in parts.items()}
        >>> [list(bar.y) for bar in gap_parts({("Reacher-v5", "1,000 steps"): numbers}).data]
        [[0.2], [0.1]]
    """
    x = [[task for task, _ in checkpoints], [label for _, label in checkpoints]]
    total = [numbers["relative_gap"] for numbers in checkpoints.values()]
    ends = [estimate.interval() for estimate in total]
    traces: list[dict[str, Any]] = [
        {
            "type": "bar", "name": label, "x": x, "y": [numbers[name].value for numbers in checkpoints.values()],
            "marker": {"color": color}, "hovertemplate": f"{label}: %{{y:.1%}} of Q's range<extra></extra>",
        }
        for name, (label, color) in _PARTS.items()
    ]  # fmt: skip
    # The interval is that of both parts together, which the upper one ends at.
    traces[-1]["error_y"] = {
        "type": "data", "symmetric": False, "thickness": 1.2, "width": 4, "color": muted(theme),
        "array": [high - estimate.value for (_, high), estimate in zip(ends, total, strict=True)],
        "arrayminus": [estimate.value - low for (low, _), estimate in zip(ends, total, strict=True)],
    }  # fmt: skip
    title = {"text": "gap, of Q's range", "font": {"size": 11, "color": muted(theme)}, "standoff": 4}
    whole = layout(
        theme,
        uirevision=uirevision,
        barmode="stack",
        bargap=0.45,
        margin={"l": 56, "r": 12, "t": 30, "b": 48},
        xaxis=axis(theme, type="multicategory", showgrid=False),
        yaxis=axis(theme, title=title, tickformat=".0%", rangemode="tozero"),
    )
    return drawing({"data": traces, "layout": whole})
