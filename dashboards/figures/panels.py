"""Plain numbers over training, one small panel a number: what the curvature and landscape figures are made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboards import series as data
from dashboards.alarms import MEANING, Mark, marks
from dashboards.figures.lines import caption, defined, emptied, line, message
from dashboards.scale import Scale
from dashboards.style import Theme, axis, color_of, drawing, layout, step_axis
from dashboards.words import Word, escape, samples

#: Height between two panels, as a share of the figure.
_GAP = 0.12
#: In the order in which the lines of a panel are drawn, as their colours are.
_MARKS = (
    ("circle", "solid"), ("diamond", "dash"), ("square", "dot"), ("triangle-up", "dashdot"), ("cross", "longdash"),
)  # fmt: skip
#: Of alarms, on light and on dark.
_ALARM = ("#c2255c", "#ff6bb5")
_MARK = "▲▼✱"
_SYMBOLS = {"jump up": "triangle-up-open", "jump down": "triangle-down-open", "growing scatter": "asterisk-open"}


def panels(
    series: data.SeriesSet,
    probe: str,
    rows: Sequence[Sequence[str]],
    words: Mapping[str, Word],
    *,
    theme: Theme,
    uirevision: str,
    watched: Collection[str] = (),
    gap: float = _GAP,
    nothing: str = "waiting for the first measurement",
) -> go.Figure:
    """Panels from top to bottom; the numbers of one panel share its axis.

    Args:
        series: the scalars of one run.
        probe: whose numbers they are.
        rows: names of the numbers of each panel.
        words: what they are called and mean.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        watched: names of numbers whose alarms are marked.
        gap: height between two panels, as a share of the figure.
        nothing: what is said where there is no number.
    """
    height = (1 - gap * (len(rows) - 1)) / len(rows)
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    for row, names in enumerate(rows):
        number = "" if row == 0 else str(row + 1)
        top = 1 - row * (height + gap)
        found = {name: data.select(series, probe, name) for name in names}
        drawn = {name: one for name, one in found.items() if one is not None and len(one)}
        scale = Scale(words[names[0]].scale, list(drawn.values()))
        extra[f"yaxis{number}"] = axis(theme, domain=[max(0.0, top - height), top], **scale.axis())
        parts = []
        for index, name in enumerate(names):
            color = color_of(names, name, theme)
            symbol, dash = _MARKS[index % len(_MARKS)]
            mark = {"circle": "●", "diamond": "◆", "square": "■", "triangle-up": "▲", "cross": "✚"}[symbol]
            parts.append(f"<span style='color:{color}'>{mark}</span> {words[name].label}")
            if name in drawn:
                traces += line(
                    drawn[name],
                    escape(words[name].label),
                    color,
                    symbol,
                    scale=scale,
                    yaxis=f"y{number}",
                    points=240,
                    legend=False,
                    dash=dash,
                    null=None if scale.kind == "share" else 0.0,
                    unit=samples(probe, drawn[name].reference),
                )
        watched_here = {name: one for name, one in drawn.items() if name in watched}
        traces += [{**trace, "yaxis": f"y{number}"} for trace in _alarms(watched_here, words, scale, theme)]
        meanings = {words[name].label: words[name].meaning for name in names}
        if any(name in watched for name in names):
            parts.append(f"<span style='color:{_ALARM[theme == 'dark']}'>{_MARK}</span> alarms")
            meanings[f"{_MARK} alarms"] = MEANING
        meaning = "<br>".join(defined(label, said) for label, said in meanings.items())
        notes.append(caption(_in_lines(parts), meaning, y=top))
    if not traces:
        notes.append(message(nothing, theme))
    anchor = f"y{len(rows)}" if len(rows) > 1 else "y"
    whole = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        # The first panel's names may need two lines.
        margin={"l": 52, "r": 12, "t": 28 if len(rows[0]) <= 3 else 44, "b": 40},
        xaxis=step_axis(theme, anchor=anchor, domain=[0, 1]),
        **extra,
    )
    return drawing({"data": traces, "layout": whole if traces else emptied(whole)})


def _in_lines(parts: Sequence[str]) -> str:
    """Names of a panel's numbers; of more than three on two lines, for a narrow card cuts a longer one."""
    first = parts if len(parts) <= 3 else parts[:2]
    return "<br>".join("   ".join(line) for line in (first, parts[len(first) :]) if line)


def _alarms(
    watched: Mapping[str, data.Series], words: Mapping[str, Word], scale: Scale, theme: Theme
) -> list[dict[str, Any]]:
    """Marks of a panel's alarms, and what is said of them; there although there are none, so that a first one is data.

    Of points near the pointer plotly tells of the smallest mark, and of equals of the last; those of alarms are large.
    What is said of them has points of its own, which are not seen.
    """
    if not watched:
        return []
    # Where two alarms are at one point, the first of them is drawn and says both.
    places: dict[tuple[int, float], list[Mark]] = {}
    for name, one in watched.items():
        for mark in marks(one, escape(words[name].label)):
            places.setdefault((int(one.step[mark.index]), float(one.value[mark.index])), []).append(mark)
    heights = scale.height(np.array([value for _, value in places], dtype=np.float64))
    shared = {
        "type": "scatter",
        "mode": "markers",
        "x": [step for step, _ in places],
        "y": heights.tolist(),
        "showlegend": False,
        "xaxis": "x",
    }
    color = _ALARM[theme == "dark"]
    told = {
        **shared,
        "text": ["<br><br>".join("<br>".join(mark.text) for mark in here) for here in places.values()],
        "marker": {"size": 6, "opacity": 0, "color": color},
        "hovertemplate": "%{text}<extra></extra>",
    }
    marked = {
        **shared,
        "hoverinfo": "skip",
        "marker": {
            "color": color,
            "symbol": [_SYMBOLS[here[0].kind] for here in places.values()],
            "size": 9,
            "opacity": 1,
            "line": {"color": color, "width": 2},
        },
    }
    return [marked, told]
