"""What a number is made of, a row each: parts as shares at the left, the number itself at the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dashboards.at_step import Snapshot, together
from dashboards.figures.lines import caption, emptied, message
from dashboards.figures.rows import bar, dots, key, named, rows_axis, said
from dashboards.scale import Scale
from dashboards.style import Theme, axis, drawing, layout, muted

#: Parts are told apart by their hatch as well as by their colour.
_HATCH = ("", "/", ".", "x", "-", "\\", "|", "+")
_MARKS = "■▨▦▩▤▧▥▣"
_RIGHT = 0.66


class Row(NamedTuple):
    """One row.

    Attributes:
        label: its name, safe for plotly.
        whole: name of the number.
        parts: names of its parts, in the order of the legend.
        remark: what is said in place of the bar; a bar is drawn where it is empty.
    """

    label: str
    whole: str
    parts: Sequence[str]
    remark: str = ""


def composition(
    snapshot: Snapshot,
    rows: Sequence[Row],
    parts: Sequence[tuple[str, str]],
    left: tuple[str, str],
    right: tuple[str, str],
    theme: Theme,
    uirevision: str,
    empty: str,
) -> go.Figure:
    """Horizontal bars of 100 %, a part below zero to the left of it, and the wholes on a scale of their own.

    Args:
        snapshot: the measurement.
        rows: from the top.
        parts: label and colour of each part.
        left: title of the bars and its meaning.
        right: title of the wholes and its meaning.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        empty: what is said where there is no measurement.
    """
    if not rows:
        return drawing({"data": [], "layout": emptied(layout(
            theme, uirevision=uirevision, annotations=[message(empty, theme)], xaxis={}, yaxis={}
        ))})  # fmt: skip
    traces: list[dict[str, Any]] = []
    wholes = any(row.whole for row in rows)
    notes = [
        {**caption(f"{left[0]}, step {snapshot.step:,}", left[1], y=1.0), "yshift": 20},
        *([{**caption(right[0], right[1], y=1.0), "x": _RIGHT, "yshift": 20}] if wholes else []),
    ]
    legend = key([(_MARKS[i % len(_MARKS)], color, label) for i, (label, color) in enumerate(parts)])
    notes.append({**caption("", "", y=1.0), "text": legend, "captureevents": False, "yshift": 2, "font": {"size": 11}})
    ends = [0.0, 1.0]
    for place, row in enumerate(rows):
        notes.append(named(f"<b>{row.label}</b>", place, theme))
        values = [snapshot.value(name) for name in row.parts]
        whole = sum(value for value in values if math.isfinite(value))
        if remark := row.remark or ("" if whole > 0 else "not above zero, so that it has no shares"):
            notes.append({**named(remark, place, theme, quiet=True), "y": place, "yanchor": "middle"})
            continue
        below, above = 0.0, 0.0
        for index, (name, value) in enumerate(zip(row.parts, values, strict=True)):
            if not math.isfinite(value):
                continue
            share = value / whole
            start = above if share >= 0 else below
            text = f"{share:.0%}".replace("-", "−")
            traces.append(
                bar(
                    place, start, start + share, parts[index][1], hatch=_HATCH[index % len(_HATCH)],
                    hovertemplate=f"<b>{row.label}</b>, {parts[index][0]}: {text}<br>{said(snapshot, name)}"
                    "<extra></extra>",
                )
            )  # fmt: skip
            if abs(share) > 0.13:
                ground = "#1f2024" if theme == "dark" else "#ffffff"
                notes.append({
                    "text": text, "showarrow": False, "x": start + share / 2, "y": place, "bgcolor": ground,
                    "font": {"size": 11}, "borderpad": 1, "xref": "x", "yref": "y",
                })  # fmt: skip
            above, below = max(above, start + share), min(below, start + share)
        ends += [below, above]
    drawn = [(place, row) for place, row in enumerate(rows) if row.whole in snapshot.points and not row.remark]
    right_width = _RIGHT - 0.06 if wholes else 1.0
    scale = Scale("log", [together([snapshot.points[row.whole] for _, row in drawn])])
    if wholes:
        marks = dots(snapshot, [row.whole for _, row in drawn], [row.label for _, row in drawn], theme, scale)
        traces.append({**marks, "y": [place for place, _ in drawn], "xaxis": "x2", "yaxis": "y2"})
    reach = max(abs(end) for end in ends)
    whole_layout = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        barmode="overlay",
        margin={"l": 14, "r": 16, "t": 48, "b": 40},
        xaxis=axis(
            theme, domain=[0, right_width], tickformat=".0%", zeroline=True, nticks=6,
            range=[min(ends) - 0.02 * reach, max(ends) + 0.02 * reach],
        ),
        yaxis=rows_axis(len(rows)),
        **({
            "xaxis2": axis(theme, domain=[_RIGHT, 1], anchor="y2", **scale.axis()),
            "yaxis2": rows_axis(len(rows), anchor="x2", matches="y"),
        } if wholes else {}),
    )  # fmt: skip
    whole_layout["xaxis"]["zerolinecolor"] = muted(theme)
    return drawing({"data": traces, "layout": whole_layout})
