"""The kinds of random direction of zeroth-order estimators: moments, quadrature rules, and what averaging does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtr, roots_jacobi
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimators.directions import ClippedGaussian, Direction
from gradlab.quadrature import gauss_hermite
from gradlab.worlds.polynomials import (
    MonomialMoment,
    clipped_normal_moment,
    coordinate_moment,
    gaussian_moment,
    product_moment,
    rademacher_moment,
    sphere_moment,
)

#: (p, nodes) → points [N, p] and weights [N] that add up to one, float64.
Rule = Callable[[int, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class DirectionKind:
    """What is known of one kind of direction u in p dimensions.

    Attributes:
        moment: E[u^e] for exponents [..., p].
        rule: quadrature of E[f(u)].
        distinct: whether directions averaged within one draw all differ (drawn without replacement from p).
    """

    moment: MonomialMoment
    rule: Rule
    distinct: bool = False

    def averaging(self, count: int, size: int) -> float:
        """Variance of the mean of ``count`` directions' draws over that of one.

        1/count where they are independent; without replacement the finite-population correction
        (p − count)/(count (p − 1)) (Cochran 1977, theorem 2.2).

        Raises:
            GradlabError: there are not so many.
        """
        if count < 1 or (self.distinct and count > size):
            raise GradlabError(f"directions: count is {count}; ask for at least one, and at most {size} coordinates")
        if self.distinct and size > 1:
            return (size - count) / (count * (size - 1))
        return 1 / count


def direction_kind(directions: str | Direction) -> DirectionKind:
    """The kind that ``ZerothOrder`` knows under this name, or that a direction is.

    Raises:
        GradlabError: nothing is known of it.

    Example:
        >>> points, weights = direction_kind("rademacher").rule(2, 1)
        >>> points.tolist(), weights.sum().item()
        ([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], 1.0)
    """
    if isinstance(directions, ClippedGaussian):
        return clipped(directions.std, directions.limit)
    name = directions if isinstance(directions, str) else directions.name
    if name not in KINDS:
        raise GradlabError(f"directions: {name!r}, whose moments are not known; choose one of {', '.join(KINDS)}")
    return KINDS[name]


def clipped(std: float = 0.2, limit: float = 0.5) -> DirectionKind:
    """Independent coordinates clip(N(0, std²), ±limit)."""

    def line(nodes: int) -> tuple[Tensor, Tensor]:
        at, weights = np.polynomial.legendre.leggauss(nodes)
        k = limit / std
        inside = weights * k * np.exp(-((k * at) ** 2) / 2) / math.sqrt(2 * math.pi)
        tail = float(ndtr(-k))
        points = torch.tensor([-limit, *(limit * at).tolist(), limit], dtype=torch.float64)
        return points, torch.tensor([tail, *inside.tolist(), tail], dtype=torch.float64)

    return DirectionKind(
        product_moment(lambda order: clipped_normal_moment(order, std, limit)),
        lambda size, nodes: _product(size, line(nodes)),
    )


def _product(size: int, line: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    points = torch.tensor(list(itertools.product(line[0].tolist(), repeat=size)), dtype=torch.float64)
    masses = torch.tensor(list(itertools.product(line[1].tolist(), repeat=size)), dtype=torch.float64)
    return points, masses.prod(-1)


def _corners(size: int) -> tuple[Tensor, Tensor]:
    return _product(size, (torch.tensor([-1.0, 1.0]).double(), torch.tensor([0.5, 0.5]).double()))


def _axes(size: int) -> tuple[Tensor, Tensor]:
    return math.sqrt(size) * torch.eye(size).double(), torch.full((size,), 1 / size, dtype=torch.float64)


def _sphere(size: int, nodes: int) -> tuple[Tensor, Tensor]:
    points, weights = _unit_sphere(size, nodes)
    return math.sqrt(size) * points, weights


def _unit_sphere(size: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Exact for polynomials of degree up to 2·nodes − 1, by latitudes t of density ∝ (1 − t²)^{(p−3)/2}.

    Source: Stroud 1971, "Approximate calculation of multiple integrals", on product rules for the sphere.
    """
    if size == 1:
        return _corners(1)
    if size == 2:
        angle = torch.arange(2 * nodes, dtype=torch.float64) * (math.pi / nodes)
        return torch.stack([angle.cos(), angle.sin()], -1), torch.full_like(angle, 1 / (2 * nodes))
    at, mass = (torch.from_numpy(part) for part in roots_jacobi(nodes, (size - 3) / 2, (size - 3) / 2))
    circle, weights = _unit_sphere(size - 1, nodes)
    radius = (1 - at.square()).sqrt()
    first = at[:, None, None].expand(-1, len(circle), 1)
    points = torch.cat([first, radius[:, None, None] * circle], -1).reshape(-1, size)
    return points, (mass[:, None] / mass.sum() * weights).reshape(-1)


#: By the name that ``ZerothOrder`` knows it under; a new one is a line here.
KINDS: dict[str, DirectionKind] = {
    "gaussian": DirectionKind(gaussian_moment, gauss_hermite),
    "sphere": DirectionKind(sphere_moment, _sphere),
    "rademacher": DirectionKind(rademacher_moment, lambda size, _: _corners(size)),
    "coordinate": DirectionKind(coordinate_moment, lambda size, _: _axes(size), distinct=True),
    "clipped": clipped(),
}
