"""Figure: the Q-gradient field. Q over the plane of two actions, ∇_a Q on it, and where the actor stands."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import xarray as xr

from dashboards.figures.field_panel import Trail, panel
from dashboards.figures.fields import fields
from dashboards.style import Theme


def field(
    arrays: Mapping[str, xr.DataArray],
    state: int = 0,
    critic: int = 0,
    theme: Theme = "light",
    uirevision: str = "field",
    *,
    plane: int = 0,
    trail: Trail | None = None,
) -> go.Figure:
    """Heat map of Q(s, ·), arrows along ∇_a Q, local optima (the best is a star), the actor, its ascent and its trail.

    Arrows have length proportional to √‖∇_a Q‖, the longest 0.9 of the distance between two; they are drawn on an
    overlaying axis, since plotly draws them under the heat map otherwise. The more persistent an optimum, the larger
    its mark; one that is off the plane is hollow, and where it is projected to. With one action, Q is drawn as a line.

    Args:
        arrays: what the probe ``field`` stored, from ``store.arrays(measurement_id)``.
        state: which of the stored states.
        critic: which of the stored critics.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        plane: which of the stored planes.
        trail: where the actor was before.

    Example:
        >>> field({}).layout.annotations[0].text
        'waiting for the first picture of the field'
    """
    panels = [panel(arrays, state, critic, plane, trail)] if "q" in arrays else []
    return fields(panels, theme=theme, uirevision=uirevision)
