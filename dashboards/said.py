"""Numbers in sentences, and what a sentence about a run is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dashboards.series import Series
from gradlab.estimate import Estimate

Verdict = Literal["good", "doubtful", "bad", "unknown", "fact"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the measurements say, for somebody who reads one line.

    Attributes:
        text: one or two sentences.
        verdict: how bad it is; ``unknown`` while nothing is measured, ``fact`` where that is not for a number to say.
    """

    text: str
    verdict: Verdict


def number(value: float) -> str:
    """A number with two digits, with a minus that is one.

    Example:
        >>> number(-0.1733), number(12.34), number(3.0)
        ('−0.17', '12', '3')
    """
    return f"{value:.2g}".replace("-", "−") if abs(value) < 100 else f"{value:,.0f}".replace("-", "−")


def times(count: int) -> str:
    """How often.

    Example:
        >>> times(1), times(1200)
        ('once', '1,200 times')
    """
    return "once" if count == 1 else f"{count:,} times"


def percent(share: float) -> str:
    """A share in per cent: whole ones, and tenths within one of none and of all.

    Example:
        >>> percent(0.315), percent(0.004), percent(0.0), percent(0.9989)
        ('32', '0.4', '0', '99.9')
    """
    near = 0 < abs(share) < 0.01 or 0.99 < share < 1
    return f"{100 * share:.{1 if near else 0}f}".replace("-", "−")


def interval(low: float, high: float, low_text: str = "", high_text: str = "") -> str:
    """An interval in words; either end may be missing.

    Args:
        low: its lower end.
        high: its upper end.
        low_text: how the lower end is printed; with two digits when empty.
        high_text: how the upper end is printed.

    Example:
        >>> interval(0.5, math.inf), interval(math.nan, math.nan), interval(1.0, 2.0, "100 %", "200 %")
        ('at least 0.5', 'no interval', '100 % to 200 %')
    """
    if math.isfinite(low) and math.isfinite(high):
        return f"{low_text or number(low)} to {high_text or number(high)}"
    if math.isfinite(low):
        return f"at least {low_text or number(low)}"
    return f"at most {high_text or number(high)}" if math.isfinite(high) else "no interval"


def at_step(point: Series) -> str:
    """``Step 2,000:`` of a series of one."""
    return f"Step {int(point.step[0]):,}:"


def between(point: Series) -> str:
    """A number with its 95 % interval.

    Example:
        >>> import numpy as np
        >>> one = np.ones(1)
        >>> between(Series(one, 2.4 * one, one, 2.0 * one, 2.8 * one, one))
        '2.4 (2 to 2.8)'
    """
    value, low, high = (float(column[0]) for column in (point.value, point.low, point.high))
    return f"{number(value)} ({interval(low, high)})"


def share_of(point: Series) -> str:
    """A share with its 95 % interval, in per cent, as ``share_interval`` has it."""
    value, (low, high, _) = float(point.value[0]), share_interval(point)
    if not math.isfinite(low) or not math.isfinite(high):
        return f"{percent(value)} % (no interval)"
    return f"{percent(value)} % ({percent(low)} to {percent(high)} %)"


def share_interval(point: Series) -> tuple[float, float, bool]:
    """The 95 % interval of a share, and whether it is another than the one that was stored.

    One that passes none or all is no interval of a share: value ± t standard errors says where a normal number could
    be. In its place is Wilson's (E. Wilson 1927), with the number of samples that the standard error amounts to.

    Example:
        >>> import numpy as np
        >>> one = np.ones(1)
        >>> low, high, changed = share_interval(Series(one, 0.9 * one, 0.1 * one, 0.7 * one, 1.1 * one, 16 * one))
        >>> round(low, 2), round(high, 2), changed
        (0.55, 0.99, True)
    """
    value, stderr, low, high = (float(column[0]) for column in (point.value, point.stderr, point.low, point.high))
    if not (low < 0 or high > 1) or not 0 <= value <= 1:
        return low, high, False
    return *Estimate(value, stderr, int(point.samples[0]), scale="share").interval(), True
