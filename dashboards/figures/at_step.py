"""Families of numbers at one training step: ``persistence/0.01``, ``surrogate/2/optima``, as points of a curve."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dashboards.figures.curves import Point
from dashboards.series import Key, SeriesSet, until
from dashboards.style import Theme, run_look

#: Runs with their names, and what is known of each.
Runs = Mapping[tuple[int, str], SeriesSet]


def points_at(series: SeriesSet, probe: str, before: str, after: str = "", step: int | None = None) -> list[Point]:
    """The numbers of a family at the newest measurement up to a step, by what stands between ``before`` and ``after``.

    Args:
        series: the scalars of one run.
        probe: whose numbers they are.
        before: how their names begin.
        after: how they end.
        step: the newest of all when None.

    Example:
        >>> points_at({}, "landscape", "persistence/")
        []
    """
    found: list[tuple[float, Key]] = []
    known = until(series, step)
    for key in known:
        if key.probe == probe and key.name.startswith(before) and key.name.endswith(after):
            try:
                found.append((float(key.name[len(before) : len(key.name) - len(after)]), key))
            except ValueError:
                continue
    newest = max((int(known[key].step[-1]) for _, key in found), default=0)
    points = []
    for x, key in sorted(found):
        one = known[key]
        # A number may be missing from a measurement: that of an older one is not put in its place.
        if int(one.step[-1]) == newest and np.isfinite(one.value[-1]):
            points.append(Point(x, *(float(c[-1]) for c in (one.value, one.low, one.high)), int(one.samples[-1])))
    return points


def newest_step(series: SeriesSet, probe: str, before: str, step: int | None = None) -> int | None:
    """The step that ``points_at`` takes its numbers from; None where there is none."""
    known = [one for key, one in until(series, step).items() if key.probe == probe and key.name.startswith(before)]
    return max((int(one.step[-1]) for one in known), default=None)


def styled(run: tuple[int, str], theme: Theme) -> tuple[str, str, str]:
    """Colour, mark and dash of a run among several."""
    look = run_look(run[0])
    return look.color(theme), look.symbol, look.dash
