"""A number's course in the size of a word: a drawing without axes, for tiles."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from dash import html

_WIDTH, _HEIGHT, _PAD = 120, 24, 2
#: Seen on white and on the dark cards.
_COLOR = "#5c7cfa"
#: How far the drawing reaches beyond the values for the sake of their intervals, in ranges of the values.
_REACH = 1.0


def sparkline(values: Sequence[float], label: str, band: Sequence[tuple[float, float]] = ()) -> Any:
    """A line through the values, evenly spaced, in the band of their intervals; nothing for fewer than two.

    Args:
        values: finite numbers, oldest first.
        label: what it shows, for those who do not see it.
        band: the ends of each value's interval, NaN where it has none; none at all when empty.

    Example:
        >>> sparkline([1.0], "M") is None, sparkline([1.0, 2.0], "M").alt
        (True, 'M so far: from 1 to 2, least 1, most 2')
    """
    if len(values) < 2:
        return None
    low, high = _reach(values, band)
    across, tall = (_WIDTH - 2 * _PAD) / (len(values) - 1), _HEIGHT - 2 * _PAD

    def place(index: int, value: float) -> str:
        share = (min(max(value, low), high) - low) / (high - low) if high > low else 0.5
        return f"{_PAD + index * across:.1f},{_PAD + tall * (1 - share):.1f}"

    line = " ".join(place(index, value) for index, value in enumerate(values))
    around = [
        [place(i, band[i][1]) for i in part] + [place(i, band[i][0]) for i in part[::-1]] for part in _parts(band)
    ]
    shades = "".join(f'<polygon points="{" ".join(one)}" fill="{_COLOR}" fill-opacity="0.2"/>' for one in around)
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none">'
        f'{shades}<polyline points="{line}" fill="none" stroke="{_COLOR}" stroke-width="1.6" stroke-linejoin="round" '
        'vector-effect="non-scaling-stroke"/></svg>'
    )
    source = f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}"
    course = f"from {values[0]:.3g} to {values[-1]:.3g}, least {min(values):.3g}, most {max(values):.3g}"
    return html.Img(src=source, alt=f"{label} so far: {course}".replace("-", "−"))


def _reach(values: Sequence[float], band: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """What is drawn from bottom to top: the values, and of their intervals what leaves the line to be seen."""
    low, high = min(values), max(values)
    ends = [end for pair in band for end in pair if math.isfinite(end)]
    room = _REACH * (high - low) if high > low else math.inf
    return max([min([low, *ends]), low - room]), min([max([high, *ends]), high + room])


def _parts(band: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Runs of neighbouring points that have an interval, two or more each."""
    there = groupby(range(len(band)), key=lambda index: all(map(math.isfinite, band[index])))
    return [part for known, found in there if known and len(part := list(found)) > 1]
