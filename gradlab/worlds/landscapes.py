"""Q-landscapes whose optima, basins and gaps are known in closed form."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradlab.errors import GradlabError


class SineRamp:
    """Q(a) = sin ωa + ca on the interval [−1, 1], one action coordinate.

    Stationary points solve cos ωa = −c/ω. Where Q falls at a = −1, or rises at a = 1, the end is a maximum too.
    Minima part the interval into basins, whose lengths over two are the shares of uniform starts that climb to each
    maximum. Everything is float64.

    Args:
        frequency: ω, positive.
        slope: c, smaller than ω in absolute value, so that the sine still turns.

    Raises:
        GradlabError: the frequency is not positive or the slope too steep.

    Example:
        >>> world = SineRamp(frequency=3 * math.pi, slope=0.4)
        >>> [round(float(a), 6) for a in world.maxima()]
        [-1.0, -0.495495, 0.171171, 0.837838]
        >>> round(world.best_share(), 6), round(world.mean_gap(), 6)
        (0.252252, 0.40728)
    """

    def __init__(self, frequency: float = 3 * math.pi, slope: float = 0.4) -> None:
        if not frequency > 0 or not abs(slope) < frequency:
            raise GradlabError(
                f"sine ramp: frequency {frequency}, slope {slope}; frequency must be positive and above |slope|"
            )
        self.frequency, self.slope = float(frequency), float(slope)

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., 1] → values [...]."""
        return ((self.frequency * actions).sin() + self.slope * actions).squeeze(-1)

    def surrogate(self, actions: Tensor, threshold: float) -> Tensor:
        """The surrogate max(Q, τ) of successive actors (SAVO, arXiv 2410.11833): [..., 1] → [...]."""
        return self.q(actions).clamp_min(threshold)

    def values(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Q at points of the interval."""
        return np.sin(self.frequency * at) + self.slope * at

    def maxima(self) -> NDArray[np.float64]:
        """All local maxima, ends included, ascending."""
        ends = [end for end in (-1.0, 1.0) if end * self._derivative(end) > 0]
        return np.sort([*self._stationary(1.0), *ends])

    def basins(self) -> NDArray[np.float64]:
        """Share of uniform starts that climb to each maximum, in the order of ``maxima``."""
        ends = [end for end in (-1.0, 1.0) if end * self._derivative(end) <= 0]
        inner = [*self._stationary(-1.0), *ends]
        walls = np.unique([-1.0, *inner, 1.0])
        return np.diff(walls) / 2

    def best_share(self) -> float:
        """Share of uniform starts that climb to the highest maximum."""
        return float(self.basins()[self.values(self.maxima()).argmax()])

    def mean_gap(self) -> float:
        """Mean over uniform starts of the highest maximum less the one climbed to."""
        values = self.values(self.maxima())
        return float(((values.max() - values) * self.basins()).sum())

    def _derivative(self, at: float) -> float:
        return self.frequency * math.cos(self.frequency * at) + self.slope

    def _stationary(self, sign: float) -> NDArray[np.float64]:
        """Inner points where Q' = 0 and −sign·Q'' > 0: maxima for 1, minima for −1."""
        angle = sign * math.acos(-self.slope / self.frequency)
        turns = np.arange(-math.ceil(self.frequency), math.ceil(self.frequency) + 1)
        points = (angle + 2 * math.pi * turns) / self.frequency
        inside: NDArray[np.float64] = points[np.abs(points) < 1]
        return inside
