"""Figure: bias², variance and mean squared error of zeroth-order estimators against their radius μ."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.at_step import Snapshot, printed, snapshot, together
from dashboards.figures.lines import caption, defined, emptied, line, message
from dashboards.gradient_words import PARTS
from dashboards.scale import Scale
from dashboards.series import Series
from dashboards.style import PALETTE, Theme, axis, drawing, layout, muted
from dashboards.words import METRICS, escape, estimator_label

_LINES = {"bias_squared": ("square", "dash", 1), "variance": ("diamond", "dot", 0), "mse": ("circle", "solid", 7)}


def radius(
    series: data.SeriesSet, step: int | None = None, theme: Theme = "light", uirevision: str = "radius"
) -> go.Figure:
    """A panel an estimator: the smaller μ the less bias, until noise takes over; a star where the MSE is smallest.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        step: the newest measurement at this training step; the newest of all when None.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> radius({}).layout.annotations[0].text[:24]
        'no radii have been tried'
    """
    shown = snapshot(
        series, "estimators", step, lambda name: name.startswith("radius/") or name.endswith("/best_radius")
    )
    curves = _curves(shown)
    estimators = sorted({estimator for estimator, _ in curves})
    if not estimators:
        text = "no radii have been tried:<br>the agent has no zeroth-order estimator, or none was measured yet"
        return drawing({"data": [], "layout": emptied(layout(
            theme, uirevision=uirevision, annotations=[message(text, theme)], xaxis={}, yaxis={}
        ))})  # fmt: skip
    gap, word = 0.2, PARTS["best_radius"]
    height = (1 - gap * (len(estimators) - 1)) / len(estimators)
    traces: list[dict[str, Any]] = []
    notes, extra = [], {}
    for row, estimator in enumerate(estimators):
        number, top = "" if row == 0 else str(row + 1), 1 - row * (height + gap)
        own = {metric: curves[estimator, metric] for metric in _LINES if (estimator, metric) in curves}
        scale = Scale("signed-log", [one for _, one in own.values()])
        extra[f"yaxis{number}"] = axis(theme, domain=[max(0.0, top - height), top], **scale.axis())
        for metric, (radii, one) in own.items():
            symbol, dash, place = _LINES[metric]
            made = line(
                one, METRICS[metric].label, PALETTE[place][theme == "dark"], symbol, scale=scale, yaxis=f"y{number}",
                dash=dash, legend=row == 0, group=metric, unit="draws",
            )  # fmt: skip
            traces += [_over(trace, radii) for trace in made]
        label = escape(estimator_label(estimator))
        best = f"{estimator}/best_radius"
        if best in shown.points:
            text = printed(shown.value(best), *shown.ends(best))
            label = f"{label}: best μ {text}"
            traces.append(_star(shown.value(best), own, scale, theme, f"y{number}", text))
        notes.append(caption(label, defined(word.label, word.meaning), y=top))
    whole = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        margin={"l": 56, "r": 14, "t": 50, "b": 42},
        xaxis=axis(
            theme, type="log", anchor=f"y{len(estimators)}" if len(estimators) > 1 else "y", dtick="D2",
            title={
                "text": f"radius μ, in the critic's action units; step {shown.step:,}",
                "font": {"size": 11, "color": muted(theme)},
                "standoff": 6,
            },
        ),
        **extra,
    )  # fmt: skip
    place = {"xref": "container", "yref": "container", "y": 1, "yanchor": "top"}
    whole["legend"] = {**whole["legend"], **place}
    return drawing({"data": traces, "layout": whole})


def _curves(shown: Snapshot) -> dict[tuple[str, str], tuple[list[float], Series]]:
    """(estimator, metric) → radii, and the numbers there; the place among the radii stands for the step."""
    found: dict[tuple[str, str], dict[float, Series]] = {}
    for name, point in shown.points.items():
        if name.startswith("radius/"):
            _, mu, estimator, metric = name.split("/", 3)
            found.setdefault((estimator, metric), {})[float(mu)] = point
    curves = {}
    for key, points in found.items():
        radii = sorted(points)
        curves[key] = radii, together([points[mu] for mu in radii])
    return curves


def _over(trace: dict[str, Any], radii: list[float]) -> dict[str, Any]:
    """A trace over the radii in place of the step, which is the same for all of them."""
    count = len(trace["x"])
    x = radii if count <= len(radii) else [*radii, *radii[::-1], radii[-1]][:count]
    more = {"x": x}
    if "hovertemplate" in trace:
        more["hovertemplate"] = trace["hovertemplate"].replace("step %{x:,.0f}", "μ = %{x:g}")
    return {**trace, **more}


def _star(
    mu: float, own: dict[str, tuple[list[float], Series]], scale: Scale, theme: Theme, yaxis: str, text: str
) -> dict[str, Any]:
    radii, mse = own["mse"]
    place = min(range(len(radii)), key=lambda i: abs(radii[i] - mu))
    color = "#ffd43b" if theme == "dark" else "#b87400"
    return {
        "type": "scatter", "mode": "markers", "x": [radii[place]],
        "y": [float(scale.height(mse.value[place : place + 1])[0])],
        "marker": {"symbol": "star", "size": 15, "color": color, "line": {"width": 1, "color": color}}, "yaxis": yaxis,
        "hovertemplate": f"smallest MSE at μ = {text}<extra></extra>", "showlegend": False,
    }  # fmt: skip
