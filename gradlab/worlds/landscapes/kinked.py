"""Piecewise-linear and conical landscapes: maxima at kinks and corners, where gradients do not vanish."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.worlds.landscapes.base import Landscape, Optima, sorted_optima
from gradlab.worlds.landscapes.bumps import _Bumps


class Cones(_Bumps):
    """Q(a) = max(floor, max_k h_k − s‖a − c_k‖) on [−1, 1]^p: kinked peaks, of which a plateau may be the ground.

    Where cone k is the highest, going straight to its centre raises it at rate s, and no other by more, so that it
    stays the highest: ascent ends at a centre or rests on the ground.

    Args:
        centres: c, [k, p], in the box [−1, 1]^p.
        heights: h, [k], positive.
        slope: s, positive.
        floor: height of the ground; none when None.

    Raises:
        GradlabError: shapes do not fit, a centre is outside the box, or a cone is buried.

    Example:
        >>> Cones([[-0.5], [0.5]], [1.0, 2.0], slope=3.0).optima().actions.flatten()
        array([ 0.5, -0.5])
    """

    name = "cones"

    def __init__(self, centres: Any, heights: Any, slope: float = 1.0, floor: float | None = None) -> None:
        super().__init__(centres, heights)
        self.slope, self.floor = float(slope), -np.inf if floor is None else float(floor)
        apart = np.linalg.norm(self.centres[:, None] - self.centres, axis=-1)
        others = self.heights - self.slope * apart
        np.fill_diagonal(others, self.floor)
        buried = np.flatnonzero((others >= self.heights[:, None]).any(-1))
        if not self.slope > 0 or len(buried):
            which = "the slope must be positive" if not len(buried) else f"cone {buried[0]} is buried; raise it"
            raise GradlabError(f"cones: slope {slope}; {which}")

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...]."""
        heights = torch.from_numpy(self.heights).to(actions)
        off = actions.unsqueeze(-2) - torch.from_numpy(self.centres).to(actions)
        highest: Tensor = (heights - self.slope * off.norm(dim=-1)).amax(-1).clamp_min(self.floor)
        return highest

    def optima(self) -> Optima:
        """The centres; no closed form of their basins is known."""
        return sorted_optima(self.centres, self.heights, None)


class Ring(Landscape):
    """Q(a) = t·a − k |‖a‖ − r| on [−1, 1]^p: a kinked ridge along a sphere, tilted; its one maximum is r t/‖t‖.

    On the ridge Q is t·a. Off it, and on every face of the box, ‖t‖ < k leaves a way up towards the sphere.

    Args:
        tilt: t, [p], p ≥ 2, not zero.
        radius: r, inside the box.
        steepness: k, above ‖t‖.

    Raises:
        GradlabError: the tilt is zero or too steep, the radius not inside the box, or p is 1.

    Example:
        >>> Ring([0.0, 0.5]).optima()
        Optima(actions=array([[0. , 0.7]]), values=array([0.35]), shares=array([1.]))
    """

    name = "ring"

    def __init__(self, tilt: Any, radius: float = 0.7, steepness: float = 4.0) -> None:
        self.tilt = np.asarray(tilt, dtype=np.float64)
        norm = float(np.linalg.norm(self.tilt))
        if self.tilt.ndim != 1 or len(self.tilt) < 2 or not (0 < norm < steepness and 0 < radius < 1):
            raise GradlabError(
                f"ring: tilt {self.tilt.tolist()}, radius {radius}, steepness {steepness}; it takes two coordinates or "
                "more, a tilt that is not zero and less steep than the ridge, and a radius inside (0, 1)"
            )
        self.radius, self.steepness = float(radius), float(steepness)
        self.low, self.high = -np.ones(len(self.tilt)), np.ones(len(self.tilt))

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...]."""
        along = (actions * torch.from_numpy(self.tilt).to(actions)).sum(-1)
        height: Tensor = along - self.steepness * (actions.norm(dim=-1) - self.radius).abs()
        return height

    def optima(self) -> Optima:
        """The one point of the sphere that is highest."""
        norm = np.linalg.norm(self.tilt)
        return Optima(self.radius * self.tilt[None] / norm, np.array([self.radius * norm]), np.ones(1))


class _Planes(Landscape):
    """Planes g_k·a + b_k over the box [−1, 1]^p."""

    def __init__(self, slopes: Any, offsets: Any) -> None:
        self.slopes = np.asarray(slopes, dtype=np.float64)
        self.offsets = np.asarray(offsets, dtype=np.float64)
        if self.slopes.ndim != 2 or self.offsets.shape != self.slopes.shape[:1] or self.slopes.size == 0:
            raise GradlabError(
                f"{self.name}: slopes {self.slopes.shape}, offsets {self.offsets.shape}; they must be [k, p] and [k]"
            )
        size = self.slopes.shape[1]
        self.low, self.high = -np.ones(size), np.ones(size)

    def _heights(self, actions: Tensor) -> Tensor:
        """Every plane's height, [..., k]."""
        return actions @ torch.from_numpy(self.slopes).to(actions).mT + torch.from_numpy(self.offsets).to(actions)


class Facets(_Planes):
    """Q(a) = max_k g_k·a + b_k: convex, so that its strict maxima are corners of the box.

    A corner is one where Q falls along every edge that leaves it; along any other way in it falls too, the slope of a
    convex function being convex in the direction.

    Args:
        slopes: g, [k, p].
        offsets: b, [k].

    Raises:
        GradlabError: shapes do not fit.

    Example:
        >>> Facets([[1.0], [-1.0]], [0.0, 0.5]).optima()
        Optima(actions=array([[-1.], [ 1.]]), values=array([1.5, 1. ]), shares=None)
    """

    name = "facets"

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...]."""
        return self._heights(actions).amax(-1)

    def optima(self) -> Optima:
        """The corners that are maxima; no closed form of their basins is known."""
        corners = np.array(list(itertools.product((-1.0, 1.0), repeat=len(self.low))))
        heights = corners @ self.slopes.T + self.offsets
        active = heights >= heights.max(-1, keepdims=True) - 1e-12
        # Into the box from a corner: −1 along coordinates where it is 1, and 1 where it is −1.
        inwards = -corners[:, None, :] * self.slopes
        falls = (np.where(active[..., None], inwards, -np.inf).max(1) < 0).all(-1)
        return sorted_optima(corners[falls], heights.max(-1)[falls], None)


class Roof(_Planes):
    """Q(a) = min_k g_k·a + b_k: concave, with one maximum, as a rule where p + 1 planes and faces meet.

    It is the solution of a linear programme; the planes and faces that hold it there are then solved for exactly.

    Args:
        slopes: g, [k, p].
        offsets: b, [k].

    Raises:
        GradlabError: shapes do not fit, or the maximum is a plateau or not held by p + 1 planes and faces.

    Example:
        >>> Roof([[1.0], [-2.0]], [0.0, 0.6]).optima().actions.round(6)  # a = 0.6 − 2a
        array([[0.2]])
    """

    name = "roof"

    def __init__(self, slopes: Any, offsets: Any) -> None:
        super().__init__(slopes, offsets)
        count, size = self.slopes.shape
        # Maximise t subject to t ≤ g_k·a + b_k and −1 ≤ a ≤ 1, faces written as constraints like any other.
        faces = np.concatenate([np.eye(size), -np.eye(size)])
        left = np.block([[-self.slopes, np.ones((count, 1))], [faces, np.zeros((2 * size, 1))]])
        right = np.concatenate([self.offsets, np.ones(2 * size)])
        solved = linprog(np.r_[np.zeros(size), -1.0], A_ub=left, b_ub=right, bounds=(None, None), method="highs")
        # Complementary slackness: a constraint with a multiplier holds with equality at every solution.
        held = -np.asarray(solved.ineqlin.marginals) > 1e-9
        if held.sum() != size + 1 or np.linalg.matrix_rank(left[held]) != size + 1:
            raise GradlabError(
                f"roof: held by {int(held.sum())} planes and faces, not {size + 1}; its top is not strict"
            )
        self._top: NDArray[np.float64] = np.linalg.solve(left[held], right[held])

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...]."""
        return self._heights(actions).amin(-1)

    def optima(self) -> Optima:
        """The one maximum; every start climbs to it."""
        action = np.clip(self._top[None, :-1], -1.0, 1.0)
        # A face that holds it is exactly a face.
        action = np.where(np.abs(np.abs(action) - 1) < 1e-12, np.sign(action), action)
        return Optima(action, self._top[-1:], np.ones(1))
