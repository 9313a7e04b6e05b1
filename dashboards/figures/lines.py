"""Lines with interval bands, the one way in which every figure draws a number over training."""

from __future__ import annotations

import math
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.scale import Scale
from dashboards.series import Series, thin
from dashboards.style import Theme, muted, rgba

#: Up to so many points every point has a mark; beyond, those that are not resolved from zero, as many as tell it, and
#: one in each of about so many stretches, for colour alone tells no line. Marks are what takes time to paint: 200 on
#: each of 15 lines take five times as long as all the rest.
_MARKED, _HOLLOW, _SIGNED = 80, 40, 8
#: Of a line of text on hover.
_CHARACTERS = 56


def line(
    series: Series,
    label: str,
    color: str,
    symbol: str,
    *,
    scale: Scale | None = None,
    xaxis: str = "x",
    yaxis: str = "y",
    points: int = 300,
    legend: bool = True,
    group: str = "",
    dash: str = "solid",
    null: float | None = 0.0,
    unit: str = "samples",
) -> list[dict[str, Any]]:
    """The band of 95 % intervals, and the line; of a long one its marks apart. Hollow: the interval spans ``null``.

    Args:
        series: what is drawn.
        label: its name, safe for plotly.
        color: ``#rrggbb``.
        symbol: plotly's name of the mark.
        scale: the axis's scale; linear when None.
        xaxis: plotly's name of the axis.
        yaxis: plotly's name of the axis.
        points: at most about so many points.
        legend: whether it has an entry in the legend.
        group: legend group, one click hides all of it.
        dash: plotly's dash style.
        null: the value that an interval must exclude to be resolved; None where the question makes no sense.
        unit: what n counts.

    An interval without an end on one side is drawn to the edge of the plot, one that is not known not at all; where a
    number is missing the line is broken.
    """
    scale = scale or Scale("linear", [])
    shown = thin(series, points)
    gone = np.isinf(shown.value)
    numbers = shown.pick(~gone) if gone.any() else shown
    sure = np.ones(len(numbers), dtype=bool)
    if null is not None:
        # An interval without width is exact: a deterministic estimator has no variance at all.
        sure = (numbers.low > null) | (numbers.high < null) | (numbers.low == numbers.high)
    few = len(numbers) <= _MARKED
    shared = {"xaxis": xaxis, "yaxis": yaxis, "legendgroup": group or label}
    band_x, band_y = _band(numbers, scale)
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": band_x,
        "y": band_y,
        "fill": "toself",
        "fillcolor": rgba(color, 0.16),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        **shared,
    }
    value, notes = _printed(numbers, scale)
    told = np.empty((len(numbers), 4), np.float32)
    for place, column in enumerate((value, numbers.low, numbers.high, numbers.samples)):
        told[:, place] = column
    curve = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label,
        "x": _steps(numbers),
        "y": scale.height(numbers.value).astype(np.float32),
        "customdata": told,
        "line": {"color": color, "width": 1.8, "dash": dash},
        "marker": {
            "color": color,
            "symbol": np.where(sure, symbol, f"{symbol}-open") if few else symbol,
            "size": np.full(len(numbers), 6, np.uint8) if few else 6,
            # The legend shows it nonetheless.
            "maxdisplayed": 0 if few else 1,
            "line": {"width": 1.2, "color": color},
        },
        "hovertemplate": (
            f"<b>{label}</b>, step %{{x:,.0f}}<br>%{{customdata[0]:.4g}}  "
            f"[%{{customdata[1]:.3g}}, %{{customdata[2]:.3g}}], n = %{{customdata[3]:.0f}} {unit}"
            f"{'%{text}' if notes else ''}<extra></extra>"
        ),
        "showlegend": legend,
        **shared,
    }
    if notes:
        curve["text"] = notes
    return [band, curve] if few else [band, curve, _marks(curve, sure)]


def _marks(curve: dict[str, Any], sure: NDArray[np.bool_]) -> dict[str, Any]:
    """Marks of a long line: hollow ones where its interval spans the null, and here and there a full one."""
    hollow, full = np.flatnonzero(~sure), np.flatnonzero(sure & _here_and_there(curve["x"]))
    if len(hollow) > _HOLLOW:
        hollow = hollow[np.linspace(0, len(hollow) - 1, _HOLLOW).round().astype(np.intp)]
    rows, mark = np.concatenate([hollow, full]), curve["marker"]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": curve["x"][rows],
        "y": curve["y"][rows],
        "marker": {
            "color": mark["color"],
            "symbol": [f"{mark['symbol']}-open"] * len(hollow) + [mark["symbol"]] * len(full),
            "size": np.repeat(np.array([5, 7], np.uint8), [len(hollow), len(full)]),
            "line": mark["line"],
        },
        "hoverinfo": "skip",
        "showlegend": False,
        **{name: curve[name] for name in ("xaxis", "yaxis", "legendgroup")},
    }


def _band(numbers: Series, scale: Scale) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The outline of the band: one piece for each run of points whose interval is known, NaN between two pieces."""
    known = np.flatnonzero(~np.isnan(numbers.low) & ~np.isnan(numbers.high) & np.isfinite(numbers.value))
    steps = _steps(numbers)
    if not len(known):
        return steps[:0], np.empty(0, np.float32)
    least, largest = scale.edges()
    low = np.where(np.isinf(numbers.low), np.minimum(least, numbers.value), numbers.low)
    high = np.where(np.isinf(numbers.high), np.maximum(largest, numbers.value), numbers.high)
    xs, ys = [], []
    for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        xs += [steps[run], steps[run[::-1]], steps[run[-1:]]]
        ys += [high[run], low[run[::-1]], [np.nan]]
    return np.concatenate(xs[:-1]), scale.height(np.concatenate(ys[:-1])).astype(np.float32)


def _printed(numbers: Series, scale: Scale) -> tuple[NDArray[np.float64], list[str]]:
    """Values as the hover prints them, and what it adds to a point; no notes at all where there is nothing to add."""
    value, low, high = numbers.value, numbers.low, numbers.high
    if scale.kind != "cosine" and np.isfinite(low).all() and np.isfinite(high).all():
        return value, []
    notes = np.full(len(numbers), "", dtype=object)
    for known, words in (
        (np.isposinf(high) & np.isneginf(low), "<br>no bound: not resolved"),
        (np.isposinf(high) & ~np.isneginf(low), "<br>no upper bound"),
        (np.isneginf(low) & ~np.isposinf(high), "<br>no lower bound"),
        (np.isnan(low) | np.isnan(high), "<br>no interval"),
    ):
        notes[known & np.isfinite(value)] += words
    if scale.kind == "cosine":
        # An unclipped estimate may pass what a cosine cannot.
        over = (np.abs(value) > 1) & (low <= np.sign(value)) & (np.sign(value) <= high)
        notes[over] += [f"<br>estimate {number:.4g}, unclipped" for number in value[over]]
        value = np.where(over, np.sign(value), value)
    return value, notes.tolist() if notes.astype(bool).any() else []


def _here_and_there(steps: NDArray[Any]) -> NDArray[np.bool_]:
    """The first point of each of about ``_SIGNED`` stretches between round steps, so that as a run goes on they stay.

    Example:
        >>> np.flatnonzero(_here_and_there(np.arange(0.0, 4200.0, 10.0))).tolist()
        [0, 50, 100, 150, 200, 250, 300, 350, 400]
    """
    span = float(steps[-1] - steps[0]) / _SIGNED or 1.0
    unit = 10.0 ** math.floor(math.log10(span))
    stretch = next((unit * one for one in (1, 2, 5) if unit * one >= 0.9 * span), 10 * unit)
    return np.diff(np.floor(steps / stretch), prepend=-1) > 0


def _steps(series: Series) -> NDArray[np.int32] | NDArray[np.float64]:
    """Steps in as few bytes as they need."""
    small = not len(series) or series.step[-1] <= np.iinfo(np.int32).max
    return series.step.astype(np.int32 if small else np.float64)


def caption(text: str, meaning: str, *, y: float) -> dict[str, Any]:
    """The name of a panel at its upper left, with its definition on hover."""
    return {
        "text": f"<b>{text}</b> <sup>?</sup>",
        "hovertext": meaning,
        "captureevents": True,
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 0.0,
        "xanchor": "left",
        "y": y,
        "yanchor": "bottom",
        "align": "left",
        "font": {"size": 12},
    }


def defined(label: str, meaning: str) -> str:
    """A number's definition, in lines that fit beside a narrow panel.

    Example:
        >>> defined("gap", "Q at the best action minus Q at the actor's.")
        "<b>gap</b>: Q at the best action minus Q at the actor's."
    """
    lines = wrap(f"{label}: {meaning}", _CHARACTERS)
    return "<br>".join([lines[0].replace(f"{label}:", f"<b>{label}</b>:", 1), *lines[1:]])


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters: of a longer one the beginning and the end.

    Example:
        >>> shortened("layer 10 of the first critic", 15)
        'layer 1…critic'
    """
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"


def rule(y: float, theme: Theme, *, yref: str = "y") -> dict[str, Any]:
    """A dotted horizontal line, such as where a cosine is 1."""
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "yref": yref,
        "y0": y,
        "y1": y,
        "line": {"color": muted(theme), "width": 1, "dash": "dot"},
        "opacity": 0.7,
        "layer": "below",
    }


def emptied(drawn: dict[str, Any]) -> dict[str, Any]:
    """A layout for nothing but a message: axes without numbers would show ranges that mean nothing."""
    axes = {name: {**value, "visible": False} for name, value in drawn.items() if name[1:5] == "axis"}
    return {**drawn, **axes, "shapes": [], "annotations": drawn["annotations"][-1:]}


def message(text: str, theme: Theme) -> dict[str, Any]:
    """What a figure says when there is nothing to draw."""
    return {
        "text": text,
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.5,
        "font": {"size": 13, "color": muted(theme)},
    }
