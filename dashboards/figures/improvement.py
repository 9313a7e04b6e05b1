"""Figure: what a step along the critic's gradient gains, by the critic and in simulated return, over its length."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards.figures.at_step import Runs, points_at, styled
from dashboards.figures.curves import Line, Panel, curves
from dashboards.figures.lines import shortened
from dashboards.style import PALETTE, Theme
from dashboards.truth_words import STEP
from dashboards.words import escape

NOTHING = "realised against predicted improvement: not measured in this run"
_AXIS = {
    "type": "log",
    "tickvals": [0.01, 0.03, 0.1, 0.3],
    "ticktext": ["1 %", "3 %", "10 %", "30 %"],
    "title": "length of the step, of the box's diagonal",
}


def improvement(
    runs: Runs,
    step: int | None = None,
    theme: Theme = "light",
    uirevision: str = "improvement",
    *,
    narrow: bool = False,
) -> go.Figure:
    """Predicted and realised gain, and the share of states where the step makes it worse, at one training step.

    Of several runs the realised gain over the predicted one in the place of both.

    Args:
        runs: id and name of each run → its scalars, from ``dashboards.series.collect``.
        step: the newest measurement up to this training step; the newest of all when None.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        narrow: whether there is room for one panel only.

    Example:
        >>> improvement({}).layout.annotations[0].text
        'realised against predicted improvement: not measured in this run'
    """
    dark = theme == "dark"

    def lines(name: str, label: str = "", color: int = 0, symbol: str = "circle", dash: str = "solid") -> list[Line]:
        return [
            Line(
                *(
                    (escape(shortened(run[1], 28)), *styled(run, theme))
                    if len(runs) > 1
                    else (label, PALETTE[color][dark], symbol, dash)
                ),
                points_at(series, "returns", "step/", f"/{name}", step),
                "episodes",
            )
            for run, series in runs.items()
        ]

    worse = Panel(
        "share of states made worse", STEP["worse"].meaning, _AXIS, {"tickformat": ".0%", "range": [-0.04, 1.04]},
        lines("worse", "worse", 3, "square"), (0.5,),
    )  # fmt: skip
    if len(runs) > 1:
        ratio = STEP["ratio"]
        first = Panel(ratio.label, ratio.meaning, _AXIS, {"nticks": 6}, lines("ratio"), (1.0,))
    else:
        gains = [*lines("predicted", "predicted by the critic"), *lines("realised", "realised", 1, "diamond", "dash")]
        meaning = f"{STEP['predicted'].meaning}<br>{STEP['realised'].meaning}"
        first = Panel("gain of one step along ∇ₐQ", meaning, _AXIS, {"nticks": 6}, gains, (0.0,))
    return curves([first, worse], theme, uirevision, nothing=NOTHING, narrow=narrow)
