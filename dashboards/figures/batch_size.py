"""Figure: the error of a minibatch gradient against its batch size, and where noise is as large as signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboards import series as data
from dashboards.at_step import printed, snapshot
from dashboards.figures.lines import caption, defined, emptied, message
from dashboards.gradient_words import PARTS
from dashboards.style import Theme, axis, drawing, layout, look, muted, rgba
from dashboards.words import escape, estimator_label

#: Batch sizes that are drawn.
BATCHES = np.geomspace(1, 1e5, 41)


def batch_size(
    series: data.SeriesSet,
    step: int | None = None,
    theme: Theme = "light",
    uirevision: str = "batch-size",
) -> go.Figure:
    """Noise over signal, tr Var g/(B ‖E g‖²), over B for each estimator; it is 1/SNR, and 1 at the critical batch size.

    Predicted from one measurement: samples are taken as independent, so that noise falls as 1/B. Bands are the noise
    scale's 95 % interval; where it has no upper end the line is dotted and the band goes on to the top.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        step: the newest measurement at this training step; the newest of all when None.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> batch_size({}).layout.annotations[0].text
        'waiting for the first measurement'
    """
    shown = snapshot(series, "estimators", step, lambda name: name.endswith("/noise_scale"))
    word = PARTS["noise_scale"]
    traces: list[dict[str, Any]] = []
    lost = []
    for name in sorted(shown.points, key=lambda one: (np.isnan(shown.value(one)), shown.value(one))):
        estimator = name.removesuffix("/noise_scale")
        label, style = escape(estimator_label(estimator)), look(estimator)
        scale, (low, high) = shown.value(name), shown.ends(name)
        if not scale > 0:
            lost.append(label)
            continue
        color = style.color(theme)
        group = {"legendgroup": estimator, "showlegend": False}
        # An interval without an end on either side says nothing.
        if low > 0:
            top, bottom = min(high, 1e9), max(low, 1e-9)
            band = np.concatenate([top / BATCHES, (bottom / BATCHES)[::-1]])
            traces.append({
                "type": "scatter", "mode": "lines", "x": np.concatenate([BATCHES, BATCHES[::-1]]).tolist(),
                "y": band.tolist(), "fill": "toself", "fillcolor": rgba(color, 0.13), "line": {"width": 0},
                "hoverinfo": "skip", **group,
            })  # fmt: skip
        said = printed(scale, low, high)
        traces.append({
            "type": "scatter", "mode": "lines", "name": label, "x": BATCHES.tolist(), "y": (scale / BATCHES).tolist(),
            "line": {"color": color, "width": 1.8, "dash": "solid" if high < np.inf else "dot"},
            "customdata": (BATCHES / scale).tolist(), "legendgroup": estimator,
            "hovertemplate": f"<b>{label}</b>, B = %{{x:,.0f}}<br>noise/signal %{{y:.3g}}, SNR %{{customdata:.3g}}<br>"
            f"critical batch size {said}<extra></extra>",
            "showlegend": False,
        })  # fmt: skip
        traces.append({
            "type": "scatter", "mode": "markers", "x": [scale], "y": [1.0], "name": f"{label}: {said}",
            "marker": {"symbol": style.symbol, "size": 10, "color": color, "line": {"width": 1, "color": color}},
            "hovertemplate": f"<b>{label}</b><br>critical batch size {said}<extra></extra>",
            "legendgroup": estimator, "showlegend": True,
        })  # fmt: skip
    notes = []
    if traces:
        notes = [caption(f"Noise over signal, step {shown.step:,}", defined(word.label, word.meaning), y=1.0)]
        if lost:
            small = {"captureevents": False, "x": 0.01, "font": {"size": 10, "color": muted(theme)}}
            text = "<br>".join(["no signal above its noise:", *lost])
            notes.append({**caption("", "", y=0.0), **small, "text": text})
    else:
        notes = [message(
            f"no critical batch size at step {shown.step:,}:<br>no signal is above its noise"
            if shown.points else "waiting for the first measurement", theme,
        )]  # fmt: skip
    entries = sum(bool(trace["showlegend"]) for trace in traces)
    whole = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        shapes=[{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y", "y0": 1, "y1": 1, "layer": "below",
                 "line": {"color": muted(theme), "width": 1, "dash": "dot"}}],
        margin={"l": 56, "r": 14, "t": 32 + 20 * entries, "b": 42},
        xaxis=axis(theme, type="log", exponentformat="power", dtick=1, range=[0, 5],
                   title={"text": "batch size B", "font": {"size": 11, "color": muted(theme)}, "standoff": 6}),
        yaxis=axis(theme, type="log", exponentformat="power", dtick=2, range=[-3.2, 5.2]),
    )  # fmt: skip
    place = {"xref": "container", "yref": "container", "y": 1, "yanchor": "top", "tracegroupgap": 0}
    whole["legend"] = {**whole["legend"], **place}
    return drawing({"data": traces, "layout": whole if traces else emptied(whole)})
