"""Figure: numbers of several runs over training, a panel a number and a colour a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.lines import caption, defined, emptied, line, message, rule, shortened
from dashboards.scale import Scale
from dashboards.style import RunLook, Theme, axis, drawing, layout, rgba, run_look, step_axis
from dashboards.words import Word, escape, samples

#: Between two columns, in columns, and two rows, as a share of the figure.
_GAP, _ROW_GAP = 0.1, 0.1
#: Up to so many panels lie under each other.
_WIDE = 3
#: Pixels of a line of the legend.
_ENTRY = 20


class Number(NamedTuple):
    """A number that is compared: its name in the store and what it is called."""

    name: str
    word: Word


Numbers = Sequence[Number]


def compared(
    runs: Mapping[tuple[int, str], data.SeriesSet],
    probe: str,
    numbers: Numbers,
    theme: Theme = "light",
    uirevision: str = "compared",
    *,
    columns: int = 2,
) -> go.Figure:
    """One panel a number, one line with its 95 % band a run, in the run's colour and with its mark.

    Args:
        runs: id and name of a run → its scalars, from ``dashboards.series.collect``.
        probe: whose numbers they are.
        numbers: which.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        columns: panels beside each other where there are many; with one, the legend has a line for each run.

    Example:
        >>> compared({}, "curvature", []).layout.annotations[0].text
        'none of these runs has a number to compare'
    """
    numbers = [
        one for one in numbers if any(data.select(series, probe, one.name) is not None for series in runs.values())
    ]
    # Few panels are better wide: what is compared lies beside each other along the steps.
    lines = math.ceil(len(runs) / (4 if columns > 1 else 1))
    columns = columns if len(numbers) > _WIDE else 1
    rows = max(1, math.ceil(len(numbers) / columns))
    width = 1 / (columns + _GAP * (columns - 1))
    height = (1 - _ROW_GAP * (rows - 1)) / rows
    # The more bands lie over each other, the fainter each: their edges still tell them apart.
    alpha = max(0.05, 0.26 / max(2, len(runs)))
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    told: set[int] = set()
    for index, one in enumerate(numbers):
        row, column = divmod(index, columns)
        number = "" if index == 0 else str(index + 1)
        left, top = column * width * (1 + _GAP), 1 - row * (height + _ROW_GAP)
        found = {run: data.select(series, probe, one.name) for run, series in runs.items()}
        drawn = {run: series for run, series in found.items() if series is not None and len(series)}
        scale = Scale(one.word.scale, list(drawn.values()))
        lowest = index + columns >= len(numbers)
        extra[f"yaxis{number}"] = axis(
            theme, domain=[max(0.0, top - height), top], anchor=f"x{number}", **scale.axis()
        )  # fmt: skip
        extra[f"xaxis{number}"] = (step_axis if lowest else axis)(
            theme, domain=[left, min(1.0, left + width)], anchor=f"y{number}", nticks=6,
            **({"matches": "x"} if number else {}),
        )  # fmt: skip
        notes.append({**caption(one.word.label, defined(one.word.label, one.word.meaning), y=top), "x": left})
        if one.word.scale == "cosine":
            shapes.append({**rule(1.0, theme, yref=f"y{number}"), "xref": f"x{number} domain"})
        for (run, name), series in drawn.items():
            look = run_look(run)
            band, *curve = line(
                series,
                escape(shortened(name, 36)),
                look.color(theme),
                look.symbol,
                scale=scale,
                xaxis=f"x{number}",
                yaxis=f"y{number}",
                points=200,
                legend=run not in told,
                group=str(run),
                dash=look.dash,
                null=None if scale.kind == "share" else 0.0,
                unit=samples(probe, series.reference),
            )
            traces += [{**band, "fillcolor": rgba(look.color(theme), alpha)}, *curve]
            told.add(run)
    if traces:
        traces += [_missing(name, run_look(run), theme) for run, name in runs if run not in told]
    else:
        notes = [message("none of these runs has a number to compare", theme)]
    whole = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        shapes=shapes,
        margin={"l": 52, "r": 12, "t": 30 + _ENTRY * lines, "b": 40},
        **extra,
    )
    place = {"xref": "container", "yref": "container", "y": 1, "yanchor": "top", "tracegroupgap": 0}
    whole["legend"] = {**whole["legend"], **place}
    return drawing({"data": traces, "layout": whole if traces else emptied({**whole, "xaxis": {}, "yaxis": {}})})


def _missing(name: str, look: RunLook, theme: Theme) -> dict[str, Any]:
    """In the legend of what is drawn, a run that has none of it: it is not to vanish unseen."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"{escape(shortened(name, 28))}: not measured",
        "x": [None],
        "y": [None],
        "line": {"color": look.color(theme), "dash": look.dash},
        "marker": {"color": look.color(theme), "symbol": f"{look.symbol}-open", "size": 6},
        "showlegend": True,
        "hoverinfo": "skip",
    }
