"""Where a logarithmic axis has its ticks, and how they read."""

from __future__ import annotations

import math
from typing import Any

_DIGITS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
#: Powers of ten between which numbers are written out.
_PLAIN = range(-2, 4)


def log_ticks(low: float, high: float, most: int = 6) -> dict[str, Any]:
    """``tickvals`` and ``ticktext`` of a logarithmic axis over [low, high], at most about ``most`` of them.

    Numbers 1, 2 and 5 times a power of ten where there is room, powers of ten alone where there is not.

    Example:
        >>> log_ticks(0.3, 4.0)["ticktext"], log_ticks(1e-5, 1e5)["ticktext"]
        (['0.5', '1', '2'], ['10⁻⁴', '0.01', '1', '100', '10⁴'])
    """
    if not (0 < low < high < math.inf):
        return {}
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = math.log10(high / low)
    if decades > most / 2:
        every = max(1, math.ceil(decades / most))
        powers = [power for power in range(first, last + 1) if power % every == 0]
        values = [10.0**power for power in powers]
    else:
        factors = (1, 2, 5) if decades > 0.7 else (1, 1.5, 2, 3, 4, 5, 6, 8)
        values = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    values = [value for value in values if low <= value <= high]
    return {"tickvals": values, "ticktext": [shown(value) for value in values]}


def shown(value: float) -> str:
    """A positive number as a tick of a logarithmic axis.

    Example:
        >>> shown(1.0), shown(0.02), shown(2e-7)
        ('1', '0.02', '2·10⁻⁷')
    """
    power = math.floor(math.log10(value) + 1e-9)
    if power in _PLAIN:
        return f"{value:.10g}"
    factor = value / 10.0**power
    raised = "10" + str(power).translate(_DIGITS)
    return raised if abs(factor - 1) < 1e-9 else f"{factor:.3g}·{raised}"
