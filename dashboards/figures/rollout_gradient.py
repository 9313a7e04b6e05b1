"""Figure: how much of a rollout's policy gradient is signal, and the batch size that would balance it with noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboards import series as data
from dashboards.figures.absent import Absent, marks, waiting
from dashboards.figures.lines import caption, defined, emptied, line, rule
from dashboards.scale import Scale
from dashboards.series import Series
from dashboards.style import Theme, axis, color_of, drawing, layout, muted, rgba, step_axis
from dashboards.words import ON_POLICY, samples

_PROBE = "on-policy"
_SNR, _NOISE_SCALE = "score-function/snr", "score-function/noise_scale"
_PARTS = ("score-function/gradient_squared", "score-function/variance")
_GAP = 0.1
_SIZE = "Steps of the whole rollout: noise scale × SNR, which it is by definition."


def rollout_gradient(
    series: data.SeriesSet, theme: Theme = "light", uirevision: str = "rollout-gradient", absent: Absent = ()
) -> go.Figure:
    """Signal-to-noise ratio; signal and noise themselves; the noise scale beside the rollout's own size.

    Where the SNR is not resolved from zero its line is dotted and its marks are hollow. Where ‖E G‖² is not above its
    noise there is no noise scale: a hollow triangle at the panel's upper edge says so.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        absent: (step, reason) of measurements that were tried and gave no number, oldest first.

    Example:
        >>> rollout_gradient({}).layout.annotations[0].text
        'waiting for the first rollout'
    """
    rows = [(_SNR,), _PARTS, (_NOISE_SCALE,)]
    height = (1 - _GAP * (len(rows) - 1)) / len(rows)
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    for row, names in enumerate(rows):
        number = "" if row == 0 else str(row + 1)
        top = 1 - row * (height + _GAP)
        found = {name: data.select(series, _PROBE, name) for name in names}
        drawn = {name: one for name, one in found.items() if one is not None and len(one)}
        # A logarithm has no room for an end at zero or below; the band ends at the panel's edge then.
        drawn = {name: one.positive() if name == _NOISE_SCALE else one for name, one in drawn.items()}
        size = rollout_size(series) if _NOISE_SCALE in names else None
        sizes = [size] if size is not None else []
        scale = Scale(ON_POLICY[names[0]].scale, [*drawn.values(), *sizes])
        extra[f"yaxis{number}"] = axis(theme, domain=[max(0.0, top - height), top], **scale.axis())
        parts, meanings = [], []
        for name, symbol in zip(names, ("circle", "diamond"), strict=False):
            color = color_of(names, name, theme)
            word, mark = ON_POLICY[name], "●" if symbol == "circle" else "◆"
            parts.append(f"<span style='color:{color}'>{mark}</span> {word.label}")
            meanings.append(defined(word.label, word.meaning))
            if name not in drawn:
                continue
            made = line(
                drawn[name],
                word.label,
                color,
                symbol,
                scale=scale,
                yaxis=f"y{number}",
                points=240,
                legend=False,
                dash="solid" if symbol == "circle" else "dash",
                unit=samples(_PROBE, drawn[name].reference),
            )
            traces += [*_dotted(*made[:2], drawn[name], color, scale), *made[2:]] if name == _SNR else made
        if _SNR in drawn:
            shapes.append(rule(float(scale.height(np.ones(1))[0]), theme))
            notes.append(_aside("⋯ as much signal as noise", theme, top))
        if _NOISE_SCALE in names:
            traces += _rollout(size, theme, f"y{number}")
            traces += _none(drawn.get(_NOISE_SCALE), scale, color_of(names, _NOISE_SCALE, theme), f"y{number}")
            parts.append(f"<span style='color:{muted(theme)}'>╌</span> rollout")
            meanings.append(defined("rollout", _SIZE))
        notes.append(caption("   ".join(parts), "<br>".join(meanings), y=top))
    if not any(len(trace["x"]) for trace in traces):
        traces, notes = [], [waiting("waiting for the first rollout", absent, theme)]
    else:
        notes += marks(absent, theme)
    whole = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        shapes=shapes,
        margin={"l": 52, "r": 12, "t": 28, "b": 40},
        xaxis=step_axis(theme, anchor=f"y{len(rows)}", domain=[0, 1]),
        **extra,
    )
    return drawing({"data": traces, "layout": whole if traces else emptied(whole)})


def rollout_size(series: data.SeriesSet) -> Series | None:
    """Steps of the rollout at each step where it is known; None where it never is.

    The noise scale is N tr Var G/‖E G‖² and the SNR ‖E G‖²/tr Var G, of the same estimates: their product is N.

    Example:
        >>> rollout_size({}) is None
        True
    """
    snr, scale = data.select(series, _PROBE, _SNR), data.select(series, _PROBE, _NOISE_SCALE)
    if snr is None or scale is None:
        return None
    # Of two records of one step the later counts.
    known = dict(zip(snr.step.tolist(), snr.value.tolist(), strict=True))
    ratio = np.array([known.get(step, np.nan) for step in scale.step.tolist()])
    size = np.rint(ratio * scale.value)
    there = np.isfinite(size) & (size > 0)
    if not there.any():
        return None
    exact = size[there]
    return Series(scale.step[there], exact, np.zeros(len(exact)), exact, exact, scale.samples[there])


def _dotted(band: dict[str, Any], curve: dict[str, Any], one: Series, color: str, scale: Scale) -> list[dict[str, Any]]:
    """The band, the line in two traces, dotted where either end is not resolved, and the marks."""
    shown = data.thin(one, 240)
    shown = shown.pick(np.isfinite(shown.value))
    y = scale.height(shown.value)
    sure = shown.resolved[:-1] & shown.resolved[1:]
    stretches = [
        {**_segments(shown.step, y, sure), "line": {"color": color, "width": 1.8}},
        {**_segments(shown.step, y, ~sure), "line": {"color": rgba(color, 0.7), "width": 1.4, "dash": "dot"}},
    ]
    shared = {name: curve[name] for name in ("type", "xaxis", "yaxis", "legendgroup")}
    shared |= {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
    return [band, *({**shared, **stretch} for stretch in stretches), {**curve, "mode": "markers"}]


def _segments(x: NDArray[Any], y: NDArray[np.float64], chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """Some of the segments of a line, NaN after each."""
    start = np.flatnonzero(chosen)
    gap = np.full(len(start), np.nan)
    return {
        "x": np.column_stack([x[start], x[start + 1], gap]).ravel() if len(start) else np.empty(0),
        "y": np.column_stack([y[start], y[start + 1], gap]).ravel().astype(np.float32) if len(start) else np.empty(0),
    }


def _rollout(size: Series | None, theme: Theme, yaxis: str) -> list[dict[str, Any]]:
    """The rollout's own size; there although it is not known, so that a first one is data."""
    return [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": [] if size is None else size.step.tolist(),
            "y": [] if size is None else size.value.tolist(),
            "line": {"color": muted(theme), "width": 1.4, "dash": "dash", "shape": "hv"},
            "marker": {"color": muted(theme), "size": 3},
            "hovertemplate": "rollout, step %{x:,.0f}: %{y:,.0f} steps<extra></extra>",
            "showlegend": False,
            "xaxis": "x",
            "yaxis": yaxis,
        }
    ]


def _none(one: Series | None, scale: Scale, color: str, yaxis: str) -> list[dict[str, Any]]:
    """Triangles where there is no noise scale, at the largest number that the panel shows."""
    steps = [] if one is None else one.step[np.isnan(one.value)].tolist()
    largest = max(scale.edges()[1], 1.0)
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": steps,
            "y": [largest] * len(steps),
            "marker": {"color": color, "symbol": "triangle-up-open", "size": 9},
            "hovertemplate": "step %{x:,.0f}: no noise scale,<br>as ‖E G‖² is not above its noise<extra></extra>",
            "showlegend": False,
            "xaxis": "x",
            "yaxis": yaxis,
        }
    ]


def _aside(text: str, theme: Theme, y: float) -> dict[str, Any]:
    return {
        "text": text,
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 1,
        "xanchor": "right",
        "y": y,
        "yanchor": "bottom",
        "font": {"size": 10, "color": muted(theme)},
    }
