"""Landscapes of one action coordinate on [−1, 1], whose optima, basins and gaps are known in closed form."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.worlds.landscapes.base import Landscape, Optima, sorted_optima


class Line(Landscape):
    """A smooth function on [−1, 1] with known stationary points.

    Where it falls at a = −1, or rises at a = 1, the end is a maximum too. Minima part the interval into basins, whose
    lengths over two are the shares of uniform starts that climb to each maximum.
    """

    low = np.array([-1.0])
    high = np.array([1.0])

    @abstractmethod
    def values(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Q at points of the interval, of any shape."""

    @abstractmethod
    def _derivative(self, at: float) -> float:
        """Q'."""

    @abstractmethod
    def _stationary(self, sign: float) -> NDArray[np.float64]:
        """Inner points where Q' = 0 and −sign·Q'' > 0: maxima for 1, minima for −1."""

    def maxima(self) -> NDArray[np.float64]:
        """All local maxima, ends included, ascending in a."""
        ends = [end for end in (-1.0, 1.0) if end * self._derivative(end) > 0]
        return np.sort([*self._stationary(1.0), *ends])

    def basins(self) -> NDArray[np.float64]:
        """Share of uniform starts that climb to each maximum, in the order of ``maxima``."""
        ends = [end for end in (-1.0, 1.0) if end * self._derivative(end) <= 0]
        inner = [*self._stationary(-1.0), *ends]
        walls = np.unique([-1.0, *inner, 1.0])
        return np.diff(walls) / 2

    def lowest(self) -> float:
        """The least value on the interval."""
        return float(self.values(np.array([-1.0, *self._stationary(-1.0), 1.0])).min())

    def peak_persistence(self) -> NDArray[np.float64]:
        """Of each of ``maxima``, in their order, the height over the pass to a higher one."""
        heights = self.values(self.maxima())
        passes = self.values(np.sort(self._stationary(-1.0)))
        # Between two neighbouring maxima lies one minimum.
        lowest = np.array(
            [
                [passes[min(i, j) : max(i, j)].min(initial=np.inf) for j in range(len(heights))]
                for i in range(len(heights))
            ]
        )
        higher = heights[None, :] > heights[:, None]
        best = np.where(higher, lowest, -np.inf).max(-1)
        result: NDArray[np.float64] = heights - np.where(higher.any(-1), best, self.lowest())
        return result

    def persistence(self) -> NDArray[np.float64]:
        """As ``peak_persistence``, in the order of ``optima``."""
        order = np.argsort(-self.values(self.maxima()), kind="stable")
        return self.peak_persistence()[order]

    def optima(self) -> Optima:
        """All local maxima, highest first."""
        maxima = self.maxima()
        return sorted_optima(maxima[:, None], self.values(maxima), self.basins())


class SineRamp(Line):
    """Q(a) = sin ωa + ca on the interval [−1, 1], one action coordinate.

    Stationary points solve cos ωa = −c/ω.

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

    name = "sine-ramp"

    def __init__(self, frequency: float = 3 * math.pi, slope: float = 0.4) -> None:
        if not frequency > 0 or not abs(slope) < frequency:
            raise GradlabError(
                f"sine ramp: frequency {frequency}, slope {slope}; frequency must be positive and above |slope|"
            )
        self.frequency, self.slope = float(frequency), float(slope)

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., 1] → values [...]."""
        return ((self.frequency * actions).sin() + self.slope * actions).squeeze(-1)

    def values(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Q at points of the interval."""
        return np.sin(self.frequency * at) + self.slope * at

    def _derivative(self, at: float) -> float:
        return self.frequency * math.cos(self.frequency * at) + self.slope

    def _stationary(self, sign: float) -> NDArray[np.float64]:
        angle = sign * math.acos(-self.slope / self.frequency)
        turns = np.arange(-math.ceil(self.frequency), math.ceil(self.frequency) + 1)
        points = (angle + 2 * math.pi * turns) / self.frequency
        inside: NDArray[np.float64] = points[np.abs(points) < 1]
        return inside


class Parabola(Line):
    """Q(a) = ½ κ (a − c)²: for κ < 0 a hill with one maximum, for κ > 0 a valley with its maxima at the ends.

    A saturated tanh acts at an end: such maxima are as real as inner ones.

    Args:
        curvature: κ, not zero.
        centre: c, inside (−1, 1).

    Raises:
        GradlabError: the curvature is zero or the centre outside.

    Example:
        >>> Parabola(curvature=2.0, centre=0.5).optima()
        Optima(actions=array([[-1.], [ 1.]]), values=array([2.25, 0.25]), shares=array([0.75, 0.25]))
    """

    def __init__(self, curvature: float = 1.0, centre: float = 0.0) -> None:
        if curvature == 0 or not abs(centre) < 1:
            raise GradlabError(
                f"parabola: curvature {curvature}, centre {centre}; it must bend, about a point inside (−1, 1)"
            )
        self.curvature, self.centre = float(curvature), float(centre)
        self.name = "valley" if curvature > 0 else "hill"

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., 1] → values [...]."""
        return (self.curvature / 2 * (actions - self.centre) ** 2).squeeze(-1)

    def values(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Q at points of the interval."""
        result: NDArray[np.float64] = self.curvature / 2 * (at - self.centre) ** 2
        return result

    def _derivative(self, at: float) -> float:
        return self.curvature * (at - self.centre)

    def _stationary(self, sign: float) -> NDArray[np.float64]:
        return np.array([self.centre] if sign * self.curvature < 0 else [])
