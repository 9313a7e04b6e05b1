"""Landscapes of bumps at chosen places and of chosen heights, and flat ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.worlds.landscapes.base import Landscape, Optima, sorted_optima


class _Bumps(Landscape):
    """Bumps in the box [−1, 1]^p."""

    def __init__(self, centres: Any, heights: Any) -> None:
        self.centres = np.asarray(centres, dtype=np.float64)
        self.heights = np.asarray(heights, dtype=np.float64)
        if self.centres.ndim != 2 or self.heights.shape != self.centres.shape[:1] or not (self.heights > 0).all():
            raise GradlabError(
                f"landscape {self.name}: centres {self.centres.shape}, heights {self.heights.shape}; they must be "
                "[k, p] and [k], heights positive"
            )
        size = self.centres.shape[1]
        self.low, self.high = -np.ones(size), np.ones(size)
        if not (np.abs(self.centres) <= 1).all():
            raise GradlabError(f"landscape {self.name}: a centre lies outside the box [−1, 1]^{size}")

    def _squares(self, actions: Tensor) -> Tensor:
        """Squared distances to the centres, [..., k]."""
        return (actions.unsqueeze(-2) - torch.from_numpy(self.centres).to(actions)).square().sum(-1)


class GaussianBumps(_Bumps):
    """Q(a) = max_k h_k exp(−‖a − c_k‖²/2w²), bumps of one width: the maxima are the centres, their values the heights.

    Bump k is the highest where ‖a − c_k‖² − 2w² log h_k is least: a power diagram, whose cells are convex. Ascent in a
    cell goes straight to its centre, so the cells are the basins; their shares are in closed form for one and two
    coordinates.

    Args:
        centres: c, [k, p], in the box [−1, 1]^p.
        heights: h, [k], positive.
        width: w.

    Raises:
        GradlabError: shapes do not fit, a centre is outside the box, or a bump is buried under another.

    Example:
        >>> GaussianBumps([[-0.5], [0.5]], [1.0, 1.0], width=0.4).optima().shares
        array([0.5, 0.5])
    """

    name = "gaussian-bumps"

    def __init__(self, centres: Any, heights: Any, width: float = 0.3) -> None:
        super().__init__(centres, heights)
        if not width > 0:
            raise GradlabError(f"gaussian bumps: width is {width}; it must be positive")
        self.width = float(width)
        at_centres = self._values(torch.from_numpy(self.centres)).numpy()
        np.fill_diagonal(at_centres, -np.inf)
        buried = np.flatnonzero((at_centres >= self.heights[:, None]).any(-1))
        if len(buried):
            raise GradlabError(f"gaussian bumps: bump {buried[0]} is buried under another; move it or raise it")

    def _values(self, actions: Tensor) -> Tensor:
        """Every bump's value, [..., k]."""
        heights = torch.from_numpy(self.heights).to(actions)
        return heights * (-self._squares(actions) / (2 * self.width**2)).exp()

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...]."""
        return self._values(actions).amax(-1)

    def optima(self) -> Optima:
        """The centres; shares for one and two coordinates."""
        size = self.centres.shape[1]
        shares = None
        if size <= 2:
            # A line is a plane of which the second coordinate is immaterial.
            plane = np.pad(self.centres, ((0, 0), (0, 2 - size)))
            shares = np.array([self._cell(plane, k) for k in range(len(plane))]) / 4
        return sorted_optima(self.centres, self.heights, shares)

    def _cell(self, centres: NDArray[np.float64], k: int) -> float:
        """Area of the part of the square [−1, 1]² where bump k is the highest."""
        power = (centres**2).sum(-1) - 2 * self.width**2 * np.log(self.heights)
        corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        for j in range(len(centres)):
            if j != k and len(corners):
                # Nearer to k in power: 2 (c_j − c_k)·a ≤ power_j − power_k.
                corners = _clipped(corners, 2 * (centres[j] - centres[k]), power[j] - power[k])
        x, y = corners.T if len(corners) else np.zeros((2, 1))
        return float(abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2)


def _clipped(corners: NDArray[np.float64], normal: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """The part of a convex polygon where normal·a ≤ bound (Sutherland & Hodgman 1974)."""
    kept = []
    for here, following in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside, next_inside = bound - normal @ here, bound - normal @ following
        if inside >= 0:
            kept.append(here)
        if (inside >= 0) != (next_inside >= 0):
            kept.append(here + inside / (inside - next_inside) * (following - here))
    return np.array(kept).reshape(-1, 2)


class Islands(_Bumps):
    """Q(a) = Σ_k h_k (1 − ‖a − c_k‖²/r_k²)₊³: smooth islands apart from each other in a flat sea.

    The maxima are the centres. Ascent climbs an island from anywhere on it and does not move in the sea, so the shares
    are the balls' volumes over the box's, and add up to less than one.

    Args:
        centres: c, [k, p], in the box [−1, 1]^p.
        heights: h, [k], positive.
        radii: r, a number or [k].

    Raises:
        GradlabError: shapes do not fit, or an island touches another or the box's faces.

    Example:
        >>> Islands([[-0.5], [0.5]], [1.0, 2.0], 0.25).optima().shares
        array([0.25, 0.25])
    """

    name = "islands"

    def __init__(self, centres: Any, heights: Any, radii: Any) -> None:
        super().__init__(centres, heights)
        self.radii = np.broadcast_to(np.asarray(radii, dtype=np.float64), self.heights.shape).copy()
        gaps = np.sqrt(((self.centres[:, None] - self.centres) ** 2).sum(-1)) - self.radii[:, None] - self.radii
        np.fill_diagonal(gaps, np.inf)
        if not (self.radii > 0).all() or (gaps < 0).any() or (np.abs(self.centres) + self.radii[:, None] > 1).any():
            raise GradlabError("islands: radii must be positive, islands apart from each other and inside the box")

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...]."""
        radii, heights = (torch.from_numpy(part).to(actions) for part in (self.radii, self.heights))
        return (heights * (1 - self._squares(actions) / radii**2).clamp_min(0) ** 3).sum(-1)

    def optima(self) -> Optima:
        """The centres, with the share of the box that each island covers."""
        size = self.centres.shape[1]
        unit = math.pi ** (size / 2) / math.gamma(size / 2 + 1)
        return sorted_optima(self.centres, self.heights, unit * self.radii**size / 2**size)


class Mesa(Landscape):
    """Q(a) = min(top, 1 − ‖a‖²) on [−1, 1]^p: all ascent ends on a plateau, and a plateau is not a maximum.

    Args:
        size: p.
        top: height of the plateau, below 1, so that there is one.

    Raises:
        GradlabError: there is no plateau, or no coordinate.

    Example:
        >>> Mesa(size=2).optima().values
        array([], dtype=float64)
    """

    name = "mesa"

    def __init__(self, size: int = 2, top: float = 0.5) -> None:
        if size < 1 or not top < 1:
            raise GradlabError(f"mesa: size {size}, top {top}; size must be at least 1 and top below 1")
        self.size, self.top = size, float(top)
        self.low, self.high = -np.ones(size), np.ones(size)

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...]."""
        return (1 - actions.square().sum(-1)).clamp_max(self.top)

    def optima(self) -> Optima:
        """None."""
        return Optima(np.zeros((0, self.size)), np.zeros(0), np.zeros(0))
