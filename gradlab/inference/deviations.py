"""The robust standard deviation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: Makes the median absolute deviation of normal numbers their standard deviation.
NORMAL = 1.4826022


def deviation(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """1.4826 times the median absolute deviation over the last axis; by the mean deviation where most are the same.

    Example:
        >>> deviation(np.array([[-1.0, 0.0, 1.0], [0.0, 0.0, 3.0]])).round(3).tolist()
        [1.483, 1.253]
    """
    away = np.abs(centred)
    middle = NORMAL * np.median(away, axis=-1)
    return np.where(middle > 0, middle, math.sqrt(math.pi / 2) * away.mean(-1))
