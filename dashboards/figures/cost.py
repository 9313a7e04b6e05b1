"""Figure: what measuring cost beside its budget, in the training process and in the background apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboards.costs import Costs, OverTime
from dashboards.figures.lines import caption, emptied, message
from dashboards.style import ACCENTS, Theme, axis, color_of, drawing, layout, muted, rgba
from dashboards.words import escape
from gradlab.store.records import Where

_GAP = 0.2
#: An area of this share of its panel has its name at its right end.
_NAMED = 0.07
_PLACES: dict[Where, tuple[str, str]] = {
    "inline": (
        "training process",
        (
            "Time so far in which training waited for these probes. The budget<br>also counts the copies of the agent "
            "and the writing of numbers,<br>which are not stored: it is used up sooner."
        ),
    ),
    "background": (
        "background process",
        (
            "Time so far in which the process beside training was measuring.<br>Training does not wait for it; one "
            "that is always busy is at 100 %."
        ),
    ),
}
_PLANNED = "<b>planned</b>: what these probes would have taken were nothing left out"
_BUDGET = "<b>budget</b>: what they may take"
#: From so many seconds on, the unit's length in seconds, and its name.
_UNITS = ((7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (0.0, 1.0, "s"))


def cost(costs: Costs, theme: Theme = "light", uirevision: str = "cost") -> go.Figure:
    """Time spent so far over time, stacked by probe; dashed what was planned, dotted the budget.

    Args:
        costs: from ``dashboards.costs.costs``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> cost(Costs()).layout.annotations[0].text
        'nothing has been measured yet'
    """
    names = list(dict.fromkeys(probe.name for probe in costs.probes))
    size, unit = _unit(costs.elapsed)
    rows = len(costs.over_time)
    height = (1 - _GAP * (rows - 1)) / max(rows, 1)
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    named: list[dict[str, Any]] = []
    for row, (where, line) in enumerate(costs.over_time.items()):
        number = "" if row == 0 else str(row + 1)
        top = 1 - row * (height + _GAP)
        budget = costs.budget if where == "inline" else None
        drawn = _Panel(line, names, budget, (size, unit), number, theme)
        traces += drawn.traces()
        extra[f"yaxis{number}"] = axis(
            theme, domain=[max(0.0, top - height), top], ticksuffix=f" {drawn.unit}", nticks=5, rangemode="tozero"
        )
        label, meaning = _PLACES[where]
        head = f"{label}: {percent(costs.spent(where))} of the time"
        keys = [f"<span style='color:{muted(theme)}'>╌ planned</span>"]
        if budget is not None:
            accent = ACCENTS[theme == "dark"]
            keys.append(f"<span style='color:{accent}'>⋯</span> <span>budget {percent(budget)}</span>")
        said = "<br>".join([meaning, _PLANNED, *([_BUDGET] if budget is not None else [])])
        named += drawn.names()
        notes.append(caption(f"{head}<br><span style='font-weight:400'>{'   '.join(keys)}</span>", said, y=top))
    notes += named
    if not traces:
        notes.append(message("nothing has been measured yet", theme))
    title = {"text": f"{_LONG[unit]} since the run began", "font": {"size": 11, "color": muted(theme)}, "standoff": 6}
    whole = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        # At the right of the panels are the names of their areas.
        margin={"l": 52, "r": 80 if traces else 12, "t": 40, "b": 40},
        xaxis=axis(theme, title=title, anchor=f"y{rows}" if rows > 1 else "y", domain=[0, 1], rangemode="tozero"),
        **(extra or {"yaxis": {}}),
    )
    return drawing({"data": traces, "layout": whole if traces else emptied(whole)})


def percent(share: float) -> str:
    """A share in per cent with two digits.

    Example:
        >>> percent(0.0234), percent(0.31), percent(0.0), percent(2e-6)
        ('2.3 %', '31 %', '0 %', '< 0.01 %')
    """
    if 0 < share < 1e-4:
        return "< 0.01 %"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


_LONG = {"h": "hours", "min": "minutes", "s": "seconds"}


def _unit(seconds: float) -> tuple[float, str]:
    return next((size, unit) for least, size, unit in _UNITS if seconds >= least)


class _Panel:
    """One process: its lines."""

    def __init__(
        self,
        line: OverTime,
        names: Sequence[str],
        budget: float | None,
        time: tuple[float, str],
        number: str,
        theme: Theme,
    ) -> None:
        self._line = line
        self._names = names
        self._budget = budget
        self._theme = theme
        self._total = np.sum(list(line.spent.values()), axis=0)
        self._highest = float(max(self._total[-1], line.planned[-1], (budget or 0) * line.seconds[-1]))
        self._size, self.unit = _unit(self._highest)
        self._yaxis = f"y{number}"
        after, unit = time
        self._place = {
            "type": "scatter", "mode": "lines", "x": line.seconds / after, "xaxis": "x", "yaxis": f"y{number}",
            "showlegend": False,
        }  # fmt: skip
        self._after = f"after %{{x:.3g}} {unit}"
        self._words = f"%{{customdata[0]:.3~g}} {self.unit}, %{{customdata[1]:.2~r}} % of the time"

    def traces(self) -> list[dict[str, Any]]:
        """An area a probe, and what was planned and is allowed for all of them."""
        made: list[dict[str, Any]] = []
        total = np.zeros(len(self._line.seconds))
        for name, spent in self._line.spent.items():
            color = color_of(self._names, name, self._theme)
            total = total + spent
            made.append(
                {
                    **self._place,
                    "name": escape(name),
                    "y": (total / self._size).astype(np.float32),
                    "customdata": self._said(spent),
                    "fill": "tozeroy" if not made else "tonexty",
                    "fillcolor": rgba(color, 0.35),
                    # The outline of what is next to nothing would hide that of the area below it.
                    "line": {"color": color, "width": 1.4 if spent[-1] > 0.01 * self._total[-1] else 0, "shape": "hv"},
                    "hovertemplate": f"<b>{escape(name)}</b>, {self._after}<br>{self._words}<extra></extra>",
                }
            )
        made.append(self._rule("planned", self._line.planned, muted(self._theme), "dash"))
        if self._budget is not None:
            made.append(self._rule("budget", self._budget * self._line.seconds, ACCENTS[self._theme == "dark"], "dot"))
        return made

    def names(self) -> list[dict[str, Any]]:
        """The areas' names at their right ends, where these are high enough for one: colour alone tells none."""
        made: list[dict[str, Any]] = []
        below = 0.0
        for name, spent in self._line.spent.items():
            end = float(spent[-1])
            if end > _NAMED * self._highest:
                made.append({
                    "text": escape(name), "showarrow": False, "xref": "paper", "x": 1, "xanchor": "left", "xshift": 4,
                    "yref": self._yaxis, "y": (below + end / 2) / self._size, "font": {"size": 11},
                })  # fmt: skip
            below += end
        return made

    def _rule(self, name: str, seconds: Any, color: str, dash: str) -> dict[str, Any]:
        return {
            **self._place,
            "name": name,
            "y": (seconds / self._size).astype(np.float32),
            "customdata": self._said(seconds),
            "line": {"color": color, "width": 1.6, "dash": dash},
            "hovertemplate": f"{name}, {self._after}<br>{self._words}<extra></extra>",
        }

    def _said(self, seconds: NDArray[np.float64]) -> NDArray[np.float32]:
        """What is told of each number: the time, and per cent of the time so far; [n, 2]."""
        shares = 100 * seconds / np.maximum(self._line.seconds, 1e-9)
        return np.column_stack([seconds / self._size, shares]).astype(np.float32)
