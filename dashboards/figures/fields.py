"""Figure: several panels of the Q-gradient field beside each other, which zoom together and share their colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboards.figures.field_marks import traces
from dashboards.figures.field_panel import Panel
from dashboards.figures.lines import message
from dashboards.style import Theme, axis, drawing, layout, muted

#: Between columns, as a share of the width: with one colour bar for all, with one for each.
_GAPS = {True: 0.055, False: 0.13}


def fields(
    panels: Sequence[Panel],
    *,
    columns: int = 2,
    linked: bool = True,
    shared: bool = True,
    theme: Theme = "light",
    uirevision: str = "fields",
    nothing: str = "waiting for the first picture of the field",
) -> go.Figure:
    """Up to four panels; of one alone it is the figure ``field``.

    Args:
        panels: what is seen, each of the same number of actions.
        columns: at most so many beside each other.
        linked: whether they zoom together, as is right where their axes are the same actions.
        shared: whether a colour is the same Q in all; each has a colour bar of its own otherwise.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        nothing: what it says where there is no panel.

    Example:
        >>> fields([]).layout.annotations[0].text
        'waiting for the first picture of the field'
    """
    if not panels:
        blank: dict[str, Any] = {"visible": False}
        note = [message(nothing, theme)]
        return drawing(
            {"data": [], "layout": layout(theme, uirevision=uirevision, annotations=note, xaxis=blank, yaxis=blank)}
        )
    panels = list(panels)[:4]
    several, flat = len(panels) > 1, panels[0].flat
    columns = max(1, min(columns, len(panels)))
    rows = -(-len(panels) // columns)
    spans, last = _spans(panels, shared)
    # A difference has colours of its own, beside those of what it is the difference of.
    apart = not shared or any(panel.diverging for panel in panels)
    data, extra, notes = [], {}, []
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        x, y, over = (
            f"{name}{index if index > 1 else ''}"
            for name, index in (("x", number + 1), ("y", 2 * number + 1), ("y", 2 * number + 2))
        )
        where = _domain(row, column, rows, columns, not apart and linked and not flat, several)
        drawn = traces(panel, theme, x, y, over, spans[number])
        for one in drawn:
            if several:
                # One entry for all panels, which switches them all.
                one |= {"legendgroup": one["name"] if "name" in one else one["type"], "showlegend": number == 0}
            if one["type"] in ("quiver", "heatmap"):
                one["showlegend"] = False
        if not flat:
            shown = not shared or panel.diverging or number == (last if apart else 0)
            _bar(drawn[0], where, shown=shown, apart=apart)
        data += drawn
        first = linked and number > 0
        extra |= _axes(
            panel, theme, (x, y, over), where, linked=first, flat=flat, several=several, bare=linked and column > 0
        )
        if several and panel.title:
            notes.append(
                {
                    "text": panel.title, "showarrow": False, "xref": f"{x} domain", "yref": f"{y} domain", "x": 0,
                    "xanchor": "left", "y": 1, "yanchor": "bottom", "yshift": 3, "font": {"size": 12.5},
                }
            )  # fmt: skip
    margin = {"l": 52, "r": 56 if flat else 8, "t": 60 if several else 34, "b": 42}
    look = layout(theme, uirevision=uirevision, margin=margin, annotations=notes, **extra)
    if several:
        # Over the titles of the panels.
        look["legend"] = {**look["legend"], "yref": "container", "y": 1, "yanchor": "top"}
    return drawing({"data": data, "layout": look})


def _spans(panels: Sequence[Panel], shared: bool) -> tuple[list[tuple[float, float]], int]:
    """The values at the ends of each panel's colours, and the last that is no difference."""
    spans = [_span(panel) for panel in panels]
    values = [number for number, panel in enumerate(panels) if not panel.diverging]
    if shared and values:
        both = min(spans[number][0] for number in values), max(spans[number][1] for number in values)
        spans = [both if number in values else span for number, span in enumerate(spans)]
    for number, panel in enumerate(panels):
        if panel.diverging:
            most = max(map(abs, spans[number]))
            spans[number] = (-most, most)
    return spans, max(values, default=0)


def _span(panel: Panel) -> tuple[float, float]:
    known = panel.values[np.isfinite(panel.values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return low, high if high > low else low + 1e-9


def _domain(
    row: int, column: int, rows: int, columns: int, shared: bool, several: bool
) -> tuple[list[float], list[float]]:
    gap, gap_y = _GAPS[shared], 0.1
    right = 0.07 if several and not shared else 0.0
    width = (1 - right - gap * (columns - 1)) / columns
    top = 0.95 if several else 1.0
    height = (top - gap_y * (rows - 1)) / rows
    x, y = column * (width + gap), top - row * (height + gap_y)
    return [x, min(1.0, x + width)], [max(0.0, y - height), y]


def _bar(heat: dict[str, Any], where: Any, *, shown: bool, apart: bool) -> None:
    heat["showscale"] = shown
    if apart:
        (_, right), (bottom, top) = where
        heat["colorbar"] |= {
            # A plane is at the top of its place, and seldom as high.
            "x": right, "xanchor": "left", "xpad": 4, "y": top, "yanchor": "top", "len": 0.85 * (top - bottom),
            "thickness": 8, "nticks": 5,
        }  # fmt: skip


def _axes(
    panel: Panel,
    theme: Theme,
    names: tuple[str, str, str],
    where: Any,
    *,
    linked: bool,
    flat: bool,
    several: bool,
    bare: bool = False,
) -> dict[str, Any]:
    """The three axes of a panel: along x, along y, and the one over that."""
    x, y, _ = names
    keys = [f"{name[0]}axis{name[1:]}" for name in names]
    title = {"font": {"size": 12, "color": muted(theme)}, "standoff": 4}
    ranges = [_range(panel, number) for number in range(1 if flat else 2)]
    if flat:
        bottom = {"range": ranges[0], "domain": where[0], "anchor": y, **({"matches": "x"} if linked else {})}
        return {
            keys[0]: axis(theme, title={**title, "text": panel.words[0]}, **bottom),
            keys[1]: axis(
                theme, title={**title, "text": "ΔQ" if panel.diverging else "Q(s, a)"}, domain=where[1], anchor=x
            ),
            keys[2]: axis(
                theme, title={**title, "text": "dQ/da"}, overlaying=y, side="right", anchor=x, showgrid=False,
                zeroline=True, tickmode="auto", nticks=6,
            ),
        }  # fmt: skip
    quiet = {"showgrid": False, "constrain": "domain", "ticks": "outside", "ticklen": 4}
    # The plane is square where the card is not: it keeps to the side of its colour bar.
    return {
        keys[0]: axis(
            theme, range=ranges[0], domain=where[0], anchor=y, constraintoward="right",
            title={**title, "text": panel.words[0]}, **({"matches": "x"} if linked else {}), **quiet,
        ),
        keys[1]: axis(
            theme, range=ranges[1], domain=where[1], anchor=x,
            constraintoward="top" if several else "middle", title={**title, "text": "" if bare else panel.words[1]},
            # What matches the first has its scale.
            **({"matches": "y"} if linked else {"scaleanchor": x}), **quiet,
        ),
        keys[2]: {
            "overlaying": y, "matches": "y" if linked else y, "range": ranges[1], "visible": False, "anchor": x,
        },
    }  # fmt: skip


def _range(panel: Panel, number: int) -> list[float]:
    """From the first to the last coordinate at which Q is known: of a plane through the box the rest is empty."""
    side = panel.sides[number]
    held = np.isfinite(panel.values)
    along = held if panel.flat else held.any(axis=number)
    at = np.flatnonzero(along)
    if not len(at) or len(at) == len(side):
        return [float(side[0]), float(side[-1])]
    cell = abs(float(side[1] - side[0]))
    low, high = float(side[at[0]]) - cell, float(side[at[-1]]) + cell
    return [max(low, float(side[0])), min(high, float(side[-1]))]
