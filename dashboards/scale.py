"""Axes: logarithmic for positive numbers, signed-logarithmic for those that may be negative; nothing is dropped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.log_ticks import shown
from dashboards.series import Series


class Scale:
    """How values become heights on an axis.

    Attributes:
        kind: ``linear``, ``log``, ``share``, ``cosine`` or ``signed-log``.
        unit: where a signed-log axis turns from linear to logarithmic; 1 otherwise.

    A signed-log axis draws sign(v)·log₁₀(1 + |v|/unit): plotly has no such axis, so heights are transformed and ticks
    are given.
    """

    def __init__(self, kind: str, series: Sequence[Series]) -> None:
        if kind == "log" and not all(_positive(one) for one in series):
            kind = "signed-log"
        if kind == "signed-log" and series and all(_positive(one) for one in series):
            kind = "log"
        self.kind = kind
        self.unit = _unit(series) if kind == "signed-log" else 1.0
        self._series = series

    def height(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values as drawn, float64.

        Example:
            >>> Scale("linear", []).height(np.array([-1.0, 2.0]))
            array([-1.,  2.])
        """
        if self.kind != "signed-log":
            return values
        return np.sign(values) * np.log10(1 + np.abs(values) / self.unit)

    def edges(self) -> tuple[float, float]:
        """The least and the largest number that the axis shows: where a band without an end on that side is drawn to.

        Example:
            >>> one = np.ones(1)
            >>> unbounded = Series(one, 2 * one, one, 0.5 * one, np.inf * one, one)
            >>> Scale("log", [unbounded]).edges()
            (0.5, 2.0)
        """
        if self.kind in ("share", "cosine"):
            return (0.0 if self.kind == "share" else -1.1), (1.0 if self.kind == "share" else 1.1)
        drawn = self._drawn()
        return (float(drawn.min()), float(drawn.max())) if len(drawn) else (0.0, 0.0)

    def axis(self) -> dict[str, Any]:
        """What plotly's axis needs to know."""
        if self.kind == "share":
            return {"tickformat": ".0%", "range": [-0.04, 1.04]}
        if self.kind == "log":
            return {"type": "log", "exponentformat": "power", **self._decades()}
        if self.kind == "cosine":
            # An interval may end far outside when the gradient is lost in noise; the axis need not follow it there.
            return {"nticks": 6, "autorangeoptions": {"clipmin": -1.1, "clipmax": 1.1}}
        if self.kind != "signed-log":
            return {"nticks": 6}
        values, texts = self._ticks()
        return {"tickmode": "array", "tickvals": values, "ticktext": texts, "zeroline": True}

    def _extent(self) -> float:
        numbers = [one.value[np.isfinite(one.value)] for one in self._series]
        return max([*(float(np.abs(one).max()) for one in numbers if len(one)), self.unit])

    def _drawn(self) -> NDArray[np.float64]:
        """Every finite value and end of an interval: [n]."""
        drawn = np.concatenate([np.concatenate([one.low, one.high, one.value]) for one in self._series] or [[]])
        return drawn[np.isfinite(drawn)]

    def _decades(self) -> dict[str, Any]:
        """Whole decades where there are several; else ticks at 1, 2 and 5, which plotly would print in small."""
        drawn = self._drawn()
        drawn = drawn[drawn > 0]
        if not len(drawn):
            return {}
        lowest, highest = float(drawn.min()), float(drawn.max())
        span = math.log10(highest / lowest)
        if span >= 2:
            # Plotly prints powers a quarter larger than other ticks.
            return {"dtick": max(1, round(span / 4)), "tickfont": {"size": 9}}
        first, last = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
        ticks = [m * 10.0**power for power in range(first, last + 1) for m in (1, 2, 5)]
        ticks = [tick for tick in ticks if lowest / 1.3 <= tick <= highest * 1.3]
        ticks = ticks[:: max(1, math.ceil(len(ticks) / 4))]
        return {"tickmode": "array", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}

    def _ticks(self) -> tuple[list[float], list[str]]:
        lowest = round(math.log10(self.unit))
        highest = max(lowest + 1, math.ceil(math.log10(self._extent())))
        every = max(1, math.ceil((highest - lowest) / 3))
        drawn = self._drawn()
        below = bool(len(drawn)) and float(drawn.min()) < 0
        # The decades beside zero are too narrow for names of their own.
        room = 0.14 * math.log10(1 + 10.0 ** (highest - lowest)) * (1 + below)
        powers = [power for power in range(highest, lowest, -every) if math.log10(1 + 10.0 ** (power - lowest)) >= room]
        powers = powers[::-1]
        heights = [math.log10(1 + 10.0 ** (power - lowest)) for power in powers]
        names = [shown(10.0**power) for power in powers]
        return (
            [-height for height in reversed(heights)] + [0.0] + heights,
            [f"−{name}" for name in reversed(names)] + ["0"] + names,
        )


def _positive(series: Series) -> bool:
    lowest = np.where(np.isfinite(series.low), series.low, series.value)
    return bool((lowest[np.isfinite(lowest)] > 0).all())


def _unit(series: Sequence[Series]) -> float:
    """The power of ten at the smallest series' noise, where numbers stop meaning more than "about zero"."""
    noise = [float(np.median(one.stderr[np.isfinite(one.stderr)])) for one in series if np.isfinite(one.stderr).any()]
    noise = [value for value in noise if value > 0]
    if not noise:
        sizes = [np.abs(one.value[np.isfinite(one.value)]) for one in series]
        noise = [float(size.max()) / 100 for size in sizes if len(size) and size.max() > 0]
    # Bounded from below by the largest one: beyond six decades an axis says nothing.
    return 10.0 ** math.floor(math.log10(max(min(noise), max(noise) * 1e-6))) if noise else 1.0
