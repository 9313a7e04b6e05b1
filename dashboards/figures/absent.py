"""Measurements that were tried and gave no number: where they were, and why."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from dashboards.figures.lines import message
from dashboards.style import Theme, muted
from dashboards.words import escape

#: (training step, reason) of measurements without a number, oldest first.
Absent = Sequence[tuple[int, str]]
#: More marks than this would only cover each other.
_MARKS = 40


def waiting(text: str, absent: Absent, theme: Theme) -> dict[str, Any]:
    """What an empty figure says: that it waits, and why the last measurement gave no number, where one was tried.

    Example:
        >>> waiting("waiting", [(2000, "no state passed its gate")], "light")["text"]
        '<b>no number at step 2,000</b><br>no state passed its gate'
    """
    if not absent:
        return message(text, theme)
    step, reason = absent[-1]
    return message(f"<b>no number at step {step:,}</b><br>{_lines(reason, 44)}", theme)


def marks(absent: Absent, theme: Theme, *, xref: str = "x", y: float = 0.0) -> list[dict[str, Any]]:
    """A cross on the axis of steps for each measurement without a number; its reason is its tooltip.

    Args:
        absent: (step, reason) of the measurements, oldest first.
        theme: light or dark.
        xref: plotly's name of the axis of steps.
        y: where that axis is, as a share of the figure's height.
    """
    return [
        {
            "text": "×",
            "showarrow": False,
            "xref": xref,
            "x": step,
            "yref": "paper",
            "y": y,
            "yanchor": "middle",
            "font": {"size": 15, "color": muted(theme)},
            "captureevents": True,
            "hovertext": f"<b>no number at step {step:,}</b><br>{_lines(reason, 60)}",
        }
        for step, reason in absent[-_MARKS:]
    ]


def _lines(text: str, width: int) -> str:
    return "<br>".join(escape(line) for line in wrap(text, width))
