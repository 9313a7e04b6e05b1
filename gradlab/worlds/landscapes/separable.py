"""Landscapes of several coordinates that are made of lines: their maxima are all combinations of the lines'."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.worlds.landscapes.base import Landscape, Optima, sorted_optima
from gradlab.worlds.landscapes.lines import Line


class _Separable(Landscape):
    def __init__(self, lines: Sequence[Line]) -> None:
        if not lines:
            raise GradlabError(f"landscape {self.name}: takes at least one line")
        self.lines = tuple(lines)
        self.low = np.concatenate([line.low for line in lines])
        self.high = np.concatenate([line.high for line in lines])

    def _parts(self, actions: Tensor) -> Tensor:
        """The lines' values, [..., p]."""
        return torch.stack([line.q(actions[..., i : i + 1]) for i, line in enumerate(self.lines)], -1)

    @abstractmethod
    def _combine(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values from those of the lines, [..., p] → [...]."""

    def optima(self) -> Optima:
        """All combinations, Π k_i of them; basins are boxes, because no coordinate's ascent changes direction."""
        actions = np.array(list(itertools.product(*(line.maxima() for line in self.lines))))
        values = np.array(list(itertools.product(*(line.values(line.maxima()) for line in self.lines))))
        shares = np.array(list(itertools.product(*(line.basins() for line in self.lines))))
        return sorted_optima(actions, self._combine(values), shares.prod(-1))


class SeparableSum(_Separable):
    """Q(a) = Σ_i f_i(a_i): steepest ascent climbs every line on its own.

    Args:
        lines: f_i, one a coordinate.

    Raises:
        GradlabError: there is none.

    Example:
        >>> from gradlab.worlds.landscapes import Parabola, SineRamp
        >>> len(SeparableSum([SineRamp(), SineRamp(), Parabola()]).optima().values)  # 4 · 4 · 2
        32
    """

    name = "separable-sum"

    def persistence(self) -> NDArray[np.float64]:
        """The least persistence of the lines' maxima that are not their lines' highest, and of all the range.

        A way to a higher place takes some coordinate above where it was; the first to get there had to dip by its own
        persistence before, while no other stood higher than at the start.
        """
        ranges = [line.peak_persistence().max() for line in self.lines]
        lines = [
            np.where(np.arange(len(own)) == line.values(line.maxima()).argmax(), np.inf, own)
            for line in self.lines
            for own in [line.peak_persistence()]
        ]
        least = np.array(list(itertools.product(*lines))).min(-1)
        values = np.array(list(itertools.product(*(line.values(line.maxima()) for line in self.lines)))).sum(-1)
        least = np.where(np.isinf(least), np.sum(ranges), least)
        result: NDArray[np.float64] = least[np.argsort(-values, kind="stable")]
        return result

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...]."""
        return self._parts(actions).sum(-1)

    def _combine(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = parts.sum(-1)
        return result


class SeparableProduct(_Separable):
    """Q(a) = Π_i (f_i(a_i) + offset_i), every factor positive.

    log Q is a sum of increasing functions of the f_i, so that the maxima are combinations of theirs; the other factors
    scale a coordinate's ascent but never turn it, so that basins are boxes too.

    Args:
        lines: f_i, one a coordinate.
        offsets: of each line; by default what makes its lowest value 1.

    Raises:
        GradlabError: there is no line, or a factor is not positive everywhere.

    Example:
        >>> from gradlab.worlds.landscapes import Parabola
        >>> SeparableProduct([Parabola(2.0), Parabola(-2.0)]).optima().values  # (1 + 1) · (0 + 2)
        array([4., 4.])
    """

    name = "separable-product"

    def __init__(self, lines: Sequence[Line], offsets: Sequence[float] | None = None) -> None:
        super().__init__(lines)
        lowest = [line.lowest() for line in lines]
        self.offsets = [1 - least for least in lowest] if offsets is None else [float(o) for o in offsets]
        if len(self.offsets) != len(lines) or any(
            o + least <= 0 for o, least in zip(self.offsets, lowest, strict=True)
        ):
            raise GradlabError(
                f"separable product: offsets {self.offsets} must make each of {len(lines)} lines positive"
            )

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...]."""
        return (self._parts(actions) + torch.tensor(self.offsets, dtype=torch.float64).to(actions)).prod(-1)

    def _combine(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = (parts + np.array(self.offsets)).prod(-1)
        return result
