"""Figure: each estimator's mean squared error, and how much of it is bias² and how much is variance."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.at_step import Snapshot, snapshot
from dashboards.figures.composition import Row, composition
from dashboards.style import PALETTE, Theme
from dashboards.words import METRICS, escape, estimator_label

#: Below this share of the largest error an error without width is the rounding of the model's own numbers.
_ROUNDING = 1e-9
_BIAS, _VARIANCE = 1, 0


def error_parts(
    series: data.SeriesSet,
    probe: str = "gradient",
    step: int | None = None,
    theme: Theme = "light",
    uirevision: str = "error-parts",
) -> go.Figure:
    """Bias² and variance as shares of the MSE, stacked, and the MSE itself with its 95 % interval; smallest first.

    Bias² is unbiased and never clipped: where it comes out negative its bar is to the left of zero, and that of the
    variance goes beyond 100 %.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        probe: ``gradient``, against the critic, or ``simulator``.
        step: the newest measurement at this training step; the newest of all when None.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> error_parts({}).layout.annotations[0].text
        'waiting for the first measurement'
    """
    shown = snapshot(series, probe, step, lambda name: name.rpartition("/")[2] in ("bias_squared", "variance", "mse"))
    errors = {
        name.removesuffix("/mse"): shown.value(name)
        for name in shown.points
        if name.endswith("/mse") and name.count("/") == 1
    }
    largest = max((abs(error) for error in errors.values() if math.isfinite(error)), default=0.0)
    rows = [_row(shown, name, largest) for name in sorted(errors, key=errors.__getitem__)]
    colors = [PALETTE[place][theme == "dark"] for place in (_BIAS, _VARIANCE)]
    return composition(
        shown,
        rows,
        [("bias²", colors[0]), ("variance", colors[1])],
        ("Parts of the MSE", f"bias²: {METRICS['bias_squared'].meaning}<br>variance: {METRICS['variance'].meaning}"),
        ("MSE", METRICS["mse"].meaning),
        theme,
        uirevision,
        "waiting for the first measurement",
    )


def _row(shown: Snapshot, name: str, largest: float) -> Row:
    mse = shown.value(f"{name}/mse")
    exact = shown.ends(f"{name}/mse")[0] == shown.ends(f"{name}/mse")[1]
    remark = ""
    if exact and abs(mse) <= _ROUNDING * largest:
        remark = "no error but rounding: it is what the others are held against"
    elif not mse > 0:
        remark = "MSE is not above zero: not resolved, so it has no shares"
    parts = [f"{name}/{part}" for part in ("bias_squared", "variance")]
    return Row(escape(estimator_label(name)), f"{name}/mse", parts, remark)
