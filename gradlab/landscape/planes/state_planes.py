"""Planes of observations to look at a Q-gradient field over states along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.arguments import real_tensor, shown, whole, whole_number
from gradlab.errors import GradlabError

#: Quantiles of the observations seen that a plane spans.
_SPAN = (0.01, 0.99)


@dataclass(frozen=True)
class StatePlane:
    """Observations origin + x·u + y·v on a grid.

    Attributes:
        origin: where x = y = 0, [n].
        directions: the unit vectors u and v, orthogonal, [2, n].
        x: coordinates along u, [columns], in the observation's own units.
        y: coordinates along v, [rows].
        axes: what x and y are, in words.
        state: the state that the plane passes through, [n].
    """

    origin: Tensor
    directions: Tensor
    x: Tensor
    y: Tensor
    axes: tuple[str, str]
    state: Tensor

    def observations(self) -> Tensor:
        """The observations [rows·columns, n], rows along y slowest."""
        y, x = torch.meshgrid(self.y, self.x, indexing="ij")
        return self.origin + torch.stack([x, y], -1).reshape(-1, 2) @ self.directions


def state_plane(
    state: Any,
    plane: Any = (0, 1),
    *,
    data: Any = None,
    x: tuple[float, float] | None = None,
    y: tuple[float, float] | None = None,
    resolution: int = 41,
) -> StatePlane:
    """A plane through a state: along two of the observation's coordinates, or along two directions.

    Not every point of it need be a state that can be: where a policy never goes, a critic was never fitted. ``data``
    keeps the plane to what was seen, in each direction by itself.

    Args:
        state: the observation that the plane passes through, [n].
        plane: two coordinates, of which x and y are the values; or two directions [2, n], which are made orthonormal
            in this order (x = y = 0 is the state then).
        data: observations seen, [B, n]; x and y span their 1st to 99th percentile along each direction.
        x: range of x instead, in the observation's own units.
        y: range of y instead.
        resolution: points along each side.

    Returns:
        The plane, float64.

    Raises:
        GradlabError: the plane does not exist, an argument has the wrong shape, or there is neither data nor a range.

    Example:
        >>> plane = state_plane([1.0, 2.0, 3.0], (2, 0), x=(0.0, 4.0), y=(-1.0, 1.0), resolution=3)
        >>> plane.observations()[:4].tolist()
        [[-1.0, 2.0, 0.0], [-1.0, 2.0, 2.0], [-1.0, 2.0, 4.0], [0.0, 2.0, 0.0]]
    """
    at = real_tensor("state", state).detach().cpu().double()
    if at.ndim != 1 or len(at) < 2 or not bool(torch.isfinite(at).all()):
        raise GradlabError(f"state: shape {tuple(at.shape)}; give one observation [n] of finite numbers, at least two")
    resolution = whole_number("resolution", resolution, 2)
    origin = at.clone()
    if _pair(plane, len(at)):
        pair = [int(one) for one in plane]
        directions = torch.eye(len(at), dtype=at.dtype)[pair]
        origin[pair] = 0.0
        axes = (f"observation {pair[0] + 1}", f"observation {pair[1] + 1}")
    else:
        directions = _orthonormal(plane, len(at))
        axes = ("first direction", "second direction")
    ranges = [_given("x", x), _given("y", y)]
    if data is not None:
        seen = real_tensor("data", data).detach().cpu().double()
        if seen.ndim != 2 or seen.shape[1] != len(at) or len(seen) < 2 or not bool(torch.isfinite(seen).all()):
            raise GradlabError(f"data: shape {tuple(seen.shape)}; give finite observations [B, {len(at)}]")
        span = ((seen - origin) @ directions.T).quantile(torch.tensor(_SPAN, dtype=at.dtype), dim=0).T
        ranges = [one or (float(a), float(b)) for one, (a, b) in zip(ranges, span, strict=True)]
    sides = []
    for name, one in zip("xy", ranges, strict=True):
        if one is None:
            raise GradlabError(f"{name}: no range; give data=observations seen, or {name}=(lowest, highest)")
        if not one[0] < one[1]:
            raise GradlabError(f"{name}: the observations do not vary along it; give {name}=(lowest, highest)")
        sides.append(torch.linspace(one[0], one[1], resolution, dtype=at.dtype))
    return StatePlane(origin, directions, sides[0], sides[1], axes, at)


def _pair(plane: Any, size: int) -> bool:
    """Whether these are two coordinates; one line where they are and do not exist."""
    if isinstance(plane, (str, bytes)) or not hasattr(plane, "__len__"):
        raise GradlabError(f"plane: {shown(plane)}; give two coordinates or two directions [2, n]")
    if len(plane) != 2 or not all(whole(one, 0) for one in plane):
        return False
    if int(plane[0]) == int(plane[1]) or max(int(one) for one in plane) >= size:
        raise GradlabError(f"plane: {shown(plane)}; expected two different coordinates of 0 to {size - 1}")
    return True


def _orthonormal(plane: Any, size: int) -> Tensor:
    given = real_tensor("plane", plane).detach().cpu().double()
    if given.shape != (2, size):
        raise GradlabError(f"plane: shape {tuple(given.shape)}; give two coordinates or two directions [2, {size}]")
    basis, triangle = torch.linalg.qr(given.T)
    lengths = triangle.diagonal()
    # NaN must fail too.
    if not bool((lengths.abs() > 1e-9 * given.norm(dim=1)).all()):
        raise GradlabError("plane: the directions are zero, parallel or not finite; give two independent ones")
    frame: Tensor = (basis * lengths.sign()).T
    return frame


def _given(name: str, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    ends = real_tensor(name, value).double()
    if ends.shape != (2,) or not bool(torch.isfinite(ends).all() and ends[0] < ends[1]):
        raise GradlabError(f"{name}: {shown(value)}; give a lower and a higher number")
    return float(ends[0]), float(ends[1])
