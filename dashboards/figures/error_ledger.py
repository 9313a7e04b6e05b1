"""Figure: the error ledger as a waterfall, from the terms of the applied gradient's error to the whole of it."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.at_step import printed, snapshot
from dashboards.figures.lines import caption, defined, emptied, message
from dashboards.figures.rows import HALF, bar, named, rows_axis
from dashboards.gradient_words import CONTRIBUTION, TERMS, TOTAL, TRUTH
from dashboards.style import PALETTE, Theme, axis, drawing, layout, muted

#: Terms that only some ledgers have; where they are not there, nothing is missing.
_ONLY_SOMETIMES = {"closed_gates"}
_ABSENT = {
    "truncation": "not measured: it takes a second reference of a longer horizon",
    "critic_error": "not measured: it takes a reference, such as the simulator",
}


def error_ledger(
    series: data.SeriesSet, step: int | None = None, theme: Theme = "light", uirevision: str = "ledger"
) -> go.Figure:
    """Contribution of each term to ‖applied − truth‖², bar upon bar, with its 95 % interval; hatched: not resolved.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        step: the newest measurement at this training step; the newest of all when None.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> error_ledger({}).layout.annotations[0].text[:29]
        'no error ledger has been meas'
    """
    shown = snapshot(series, "simulator", step, lambda name: name.startswith("ledger/"))
    if "ledger/total/contribution" not in shown.points:
        text = "no error ledger has been measured: it takes the simulator's reference<br>and observations of the replay"
        return drawing({"data": [], "layout": emptied(layout(
            theme, uirevision=uirevision, annotations=[message(text, theme)], xaxis={}, yaxis={}
        ))})  # fmt: skip
    terms = [name for name in TERMS if f"ledger/{name}/contribution" in shown.points or name not in _ONLY_SOMETIMES]
    up, down, whole = (PALETTE[place][theme == "dark"] for place in (1, 2, 7))
    traces: list[dict[str, Any]] = []
    notes = [
        caption(
            f"Contributions to the squared error, step {shown.step:,}",
            "<br>".join(defined(word.label, word.meaning) for word in (CONTRIBUTION, TOTAL)),
            y=1.0,
        )
    ]
    at, reach = 0.0, [0.0]
    for place, name in enumerate([*terms, "total"]):
        key, word = f"ledger/{name}/contribution", TERMS.get(name, TOTAL)
        hover = defined(word.label, word.meaning)
        if key not in shown.points:
            text = f"{word.label}: {_ABSENT.get(name, 'not measured')}"
            notes.append(named(text, place, theme, quiet=True, hover=hover))
            continue
        value, (low, high) = shown.value(key), shown.ends(key)
        start = 0.0 if name == "total" else at
        none = value == low == high == 0.0
        sure = none or shown.resolved(key)
        text = "none" if none else printed(value, low, high) + ("" if sure else ", not resolved")
        notes.append(named(f"<b>{word.label}</b>  {text}", place, theme, hover=hover))
        color = whole if name == "total" else up if value >= 0 else down
        traces.append(
            bar(place, start, start + value, color, hatch="" if sure else "/",
                hovertemplate=f"<b>{word.label}</b>: {text}<extra></extra>")
        )  # fmt: skip
        if none:
            traces.pop()
        else:
            traces.append(_whisker(place, start + value, start + low, start + high, theme))
        if name != "total":
            at += value
        reach += [start, start + value]
    truth = shown.value("ledger/truth/norm_squared")
    shapes = []
    if truth > 0 and shown.resolved("ledger/truth/norm_squared"):
        reach.append(truth)
        shapes.append(_line(truth, theme))
        mark = {"xref": "x", "x": truth, "xanchor": "center", "yshift": -6, "font": {"size": 10, "color": muted(theme)}}
        notes.append(caption("as bad as no update", defined(TRUTH.label, TRUTH.meaning), y=1.0) | mark)
    span = max(max(reach) - min(reach), 1e-30)
    layout_of = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        shapes=shapes,
        barmode="overlay",
        margin={"l": 14, "r": 16, "t": 32, "b": 40},
        # Intervals may be a hundred times as wide as what is stacked; they go on beyond the plot.
        xaxis=axis(
            theme, zeroline=True, nticks=6, range=[min(reach) - 0.35 * span, max(reach) + 0.35 * span],
            title={"text": "squared gradient", "font": {"size": 11, "color": muted(theme)}, "standoff": 4},
        ),
        yaxis=rows_axis(len(terms) + 1),
    )  # fmt: skip
    return drawing({"data": traces, "layout": layout_of})


def _whisker(row: float, value: float, low: float, high: float, theme: Theme) -> dict[str, Any]:
    color = "#f1f3f5" if theme == "dark" else "#212529"
    far = 1e6 * max(abs(value), 1.0)
    low, high = (end if math.isfinite(end) else sign * far for end, sign in ((low, -1), (high, 1)))
    return {
        "type": "scatter", "mode": "lines+markers", "x": [low, high], "y": [row, row], "hoverinfo": "skip",
        "line": {"color": color, "width": 1.4}, "showlegend": False,
        "marker": {"symbol": "line-ns-open", "size": 60 * HALF, "color": color, "line": {"width": 1.4}},
    }  # fmt: skip


def _line(x: float, theme: Theme) -> dict[str, Any]:
    return {
        "type": "line", "xref": "x", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1,
        "line": {"color": muted(theme), "width": 1, "dash": "dot"}, "layer": "below",
    }  # fmt: skip
