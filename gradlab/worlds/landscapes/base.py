"""What every landscape offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradlab.errors import GradlabError


class Optima(NamedTuple):
    """Every local maximum of a function on a box, the box's faces included; float64.

    Attributes:
        actions: where they are, [k, p].
        values: the function there, [k].
        shares: share of uniform starts whose steepest ascent ends at each, [k]; None where no closed form is known.
    """

    actions: NDArray[np.float64]
    values: NDArray[np.float64]
    shares: NDArray[np.float64] | None


class Landscape(ABC):
    """A function of the action on a box, all of whose local maxima are known; everything is float64.

    A plateau is not a maximum: no point of it is above all its neighbours.
    """

    #: Name in tables; short, lower case, with hyphens.
    name: str
    #: Lower corner of the box, [p].
    low: NDArray[np.float64]
    #: Upper corner, [p].
    high: NDArray[np.float64]

    @abstractmethod
    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...], differentiable almost everywhere."""

    @abstractmethod
    def optima(self) -> Optima:
        """All local maxima, highest first."""

    def surrogate(self, actions: Tensor, threshold: float) -> Tensor:
        """The surrogate max(Q, τ) of successive actors (SAVO, arXiv 2410.11833): [..., p] → [...]."""
        return self.q(actions).clamp_min(threshold)

    def surrogate_optima(self, threshold: float) -> Optima:
        """The maxima that are left of max(Q, τ): those above τ; what is cut off has become a plateau.

        Their shares stay what they were: ascent from below τ does not move at all.
        """
        optima = self.optima()
        above = optima.values > threshold
        return Optima(optima.actions[above], optima.values[above], None)

    def on_boundary(self) -> NDArray[np.bool_]:
        """Which of ``optima`` lie on a face of the box, [k]."""
        actions = self.optima().actions
        on_face: NDArray[np.bool_] = np.asarray(((actions <= self.low) | (actions >= self.high)).any(-1))
        return on_face

    def persistence(self) -> NDArray[np.float64] | None:
        """Height of each of ``optima`` over the pass to a higher one, [k]; None where no closed form is known.

        The highest one's is the value range.
        """
        return None

    def best_share(self) -> float:
        """Share of uniform starts that climb to the highest maximum.

        Raises:
            GradlabError: no closed form is known, or there is no maximum.
        """
        return float(self._shares()[0])

    def mean_gap(self) -> float:
        """Mean of the highest maximum less the one climbed to, over uniform starts that climb to one.

        Raises:
            GradlabError: no closed form is known, or there is no maximum.
        """
        shares, values = self._shares(), self.optima().values
        return float(((values[0] - values) * shares).sum() / shares.sum())

    def _shares(self) -> NDArray[np.float64]:
        shares = self.optima().shares
        if shares is None or not len(shares):
            raise GradlabError(f"landscape {self.name}: no closed form of its basins is known, or it has no maximum")
        return shares


def sorted_optima(
    actions: NDArray[np.float64], values: NDArray[np.float64], shares: NDArray[np.float64] | None
) -> Optima:
    """The maxima in descending order of value.

    Example:
        >>> sorted_optima(np.array([[0.0], [1.0]]), np.array([1.0, 2.0]), np.array([0.25, 0.75])).shares
        array([0.75, 0.25])
    """
    order = np.argsort(-values, kind="stable")
    return Optima(actions[order], values[order], None if shares is None else shares[order])
