"""What a probe measured at the step that is looked at: one measurement's numbers, each a series of one point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dashboards.series import COLUMNS, Series, SeriesSet

#: Which numbers of a probe are meant, by their names in the store.
Wanted = Callable[[str], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The numbers of one measurement.

    Attributes:
        step: training step it was taken at; None where there is none.
        points: name → the number, a series of one point.
    """

    step: int | None = None
    points: Mapping[str, Series] = field(default_factory=dict)

    def value(self, name: str) -> float:
        """A number; NaN where it was not measured."""
        return float(self.points[name].value[0]) if name in self.points else float("nan")

    def ends(self, name: str) -> tuple[float, float]:
        """Its 95 % interval."""
        point = self.points[name]
        return float(point.low[0]), float(point.high[0])

    def resolved(self, name: str) -> bool:
        """Whether its interval excludes zero; a number without width is exact."""
        low, high = self.ends(name)
        return low > 0 or high < 0 or (low == high and low != 0)


def snapshot(series: SeriesSet, probe: str, step: int | None = None, wanted: Wanted | None = None) -> Snapshot:
    """The measurement of a probe that was the newest at a step; before the first, the first.

    Args:
        series: the scalars of one run.
        probe: whose.
        step: the step that is looked at; the newest when None.
        wanted: which of its numbers; all when None.

    Example:
        >>> from dashboards.series import Key
        >>> two = np.zeros(2)
        >>> one = {Key("mine", "a", ""): Series(np.array([1000, 2000]), two, two, two, two, np.ones(2, dtype=np.int64))}
        >>> [snapshot(one, "mine", at).step for at in (500, 1999, None)], snapshot({}, "mine").step
        ([1000, 1000, 2000], None)
    """
    found = {
        key.name: one
        for key, one in series.items()
        if key.probe == probe and len(one) and (wanted is None or wanted(key.name))
    }
    if not found:
        return Snapshot()
    first = min(int(one.step[0]) for one in found.values())
    at = max(first, step) if step is not None else max(int(one.step[-1]) for one in found.values())
    shown = max(int(one.step[place - 1]) for one in found.values() if (place := _after(one, at)))
    points = {name: one.pick(slice(_after(one, shown) - 1, _after(one, shown))) for name, one in found.items()}
    return Snapshot(shown, {name: point for name, point in points.items() if len(point) and point.step[0] == shown})


def _after(one: Series, step: int) -> int:
    """How many points are not after a step."""
    return int(np.searchsorted(one.step, step, side="right"))


def together(points: Iterable[Series]) -> Series:
    """Points of several numbers as the columns of one series, for an axis that shows all of them.

    Example:
        >>> len(together([]))
        0
    """
    points = list(points)
    columns: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in points] or [[]]) for name in COLUMNS}
    return Series(**columns)


def printed(value: float, low: float, high: float) -> str:
    """A number with its 95 % interval, in few characters.

    Example:
        >>> printed(0.12345, -1.0, float("inf")), printed(-0.5, -0.5, -0.5)
        ('0.123 [−1, ∞]', '−0.5')
    """
    text = f"{value:.3g}" if low == high else f"{value:.3g} [{low:.2g}, {high:.2g}]"
    return text.replace("-", "−").replace("inf", "∞")
