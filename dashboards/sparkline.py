"""A number's course in the size of a word: a drawing without axes, for tiles."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from dash import html

_WIDTH, _HEIGHT, _PAD = 120, 24, 2
#: Seen on white and on the dark cards.
_COLOR = "#5c7cfa"


def sparkline(values: Sequence[float], label: str) -> Any:
    """A line through the values, evenly spaced; nothing for fewer than two.

    Args:
        values: finite numbers, oldest first.
        label: what it shows, for those who do not see it.

    Example:
        >>> sparkline([1.0], "M") is None, sparkline([1.0, 2.0], "M").alt
        (True, 'M so far')
    """
    if len(values) < 2:
        return None
    low, high = min(values), max(values)
    across, tall = (_WIDTH - 2 * _PAD) / (len(values) - 1), _HEIGHT - 2 * _PAD
    points = [
        (_PAD + index * across, _PAD + tall * (1 - (value - low) / (high - low) if high > low else 0.5))
        for index, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none">'
        f'<polyline points="{line}" fill="none" stroke="{_COLOR}" stroke-width="1.6" stroke-linejoin="round" '
        'vector-effect="non-scaling-stroke"/></svg>'
    )
    source = f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}"
    return html.Img(src=source, alt=f"{label} so far")
