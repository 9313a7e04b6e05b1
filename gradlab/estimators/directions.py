"""Random directions along which an action is perturbed, of second moment E uuᵀ = c·I."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gradlab.errors import GradlabError


class Direction(ABC):
    """A law of directions u in p dimensions with E uuᵀ = c·I.

    A zeroth-order estimate is a multiple of u. From differences of a linear critic its mean is c·∇_a Q: c is its scale,
    and its direction is right whatever c is.

    Where −u is as likely as u (``symmetric``), the mean and all odd moments are zero, and with them what Q(a) and its
    curvature H add on average. Otherwise they stay: forward differences add ½μ E[(uᵀHu) u], one point Q(a)/μ · E u
    besides. ``Coordinate`` alone is such a law here: its mean is 1/√p in every coordinate, so these are ½μ√p·H_ii in
    coordinate i and Q(a)/(μ√p).
    """

    #: Name in tables; short, lower case, with hyphens.
    name: str
    #: The second moment c, the same in any number of dimensions.
    second_moment: float = 1.0
    #: Whether −u is as likely as u, so that Q(a) and its curvature cancel on average without a second point.
    symmetric: bool = True

    @abstractmethod
    def draw(self, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
        """Directions of ``shape`` [..., count, p], with the dtype and device of ``like``.

        Groups of ``count`` are independent of each other; within a group the mean of uuᵀ has expectation c·I.

        Raises:
            GradlabError: there are not ``count`` different ones.
        """

    def __str__(self) -> str:
        return self.name


class Gaussian(Direction):
    """The standard normal: the estimates are gradients of the critic smoothed with a Gaussian.

    Source: Nesterov & Spokoiny 2017, "Random gradient-free minimization of convex functions", section 2.

    Example:
        >>> Gaussian().draw((2, 1, 3), torch.Generator().manual_seed(0), torch.zeros(0)).shape
        torch.Size([2, 1, 3])
    """

    name = "gaussian"

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
        """Independent normal numbers."""
        return torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


class Sphere(Direction):
    """Uniform on the sphere of radius √p: the estimates are gradients of the critic smoothed over the ball.

    Source: Flaxman et al. 2005, "Online convex optimization in the bandit setting", lemma 2.1.

    Example:
        >>> Sphere().draw((1, 1, 4), torch.Generator().manual_seed(0), torch.zeros(0)).norm()
        tensor(2.)
    """

    name = "sphere"

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
        """Normal numbers brought to length √p."""
        u = Gaussian().draw(shape, generator, like)
        lengths: Tensor = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
        return u * (math.sqrt(shape[-1]) / lengths)


class Rademacher(Direction):
    """Signs: u_i = ±1, independent and equally likely (SPSA's perturbations; Spall 1992, section III).

    Example:
        >>> Rademacher().draw((1, 1, 4), torch.Generator().manual_seed(0), torch.zeros(0)).abs()
        tensor([[[1., 1., 1., 1.]]])
    """

    name = "rademacher"

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
        """Independent signs."""
        bits = torch.randint(0, 2, shape, generator=generator, device=generator.device)
        return (2 * bits - 1).to(like)


class Coordinate(Direction):
    """√p·e_i, i uniform: one coordinate at a time, in steps of √p·μ.

    A group of ``count`` holds different coordinates; with ``count`` = p it is the full difference quotient. Without a
    random sign its mean is 1/√p, not zero: forward differences keep ½μ√p·∂²Q/∂a_i² on average, as difference quotients
    do, and one point keeps Q(a)/(μ√p), which makes it useless.

    Example:
        >>> Coordinate().draw((1, 4, 4), torch.Generator().manual_seed(0), torch.zeros(0)).sum(1)
        tensor([[2., 2., 2., 2.]])
    """

    name = "coordinate"
    symmetric = False

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
        """Coordinates without replacement within a group."""
        *groups, count, size = shape
        if count > size:
            raise GradlabError(
                f"directions coordinate: count is {count}, but there are {size} coordinates; ask for fewer"
            )
        order = torch.rand((*groups, size), generator=generator, dtype=torch.float64, device=generator.device).argsort(
            -1
        )
        return math.sqrt(size) * one_hot(order[..., :count], size).to(like)


class ClippedGaussian(Direction):
    """clip(N(0, std²), ±limit) in each coordinate: TD3's smoothing noise, which CPG's public code takes for u.

    With k = limit/std, c = std²·(2Φ(k) − 1 − 2kφ(k)) + 2·limit²·(1 − Φ(k)): the estimates have the right direction on
    a linear critic and c times its scale. Source: CPG, arXiv 2409.01477, public code (std .2, limit .5).

    Args:
        std: standard deviation before clipping.
        limit: largest size of a coordinate.

    Raises:
        GradlabError: one of them is not positive and finite.

    Example:
        >>> round(ClippedGaussian().second_moment, 4)
        0.0391
    """

    name = "clipped"

    def __init__(self, std: float = 0.2, limit: float = 0.5) -> None:
        if not (math.isfinite(std) and std > 0 and math.isfinite(limit) and limit > 0):
            raise GradlabError(f"directions clipped: std {std}, limit {limit}; both must be positive numbers")
        self.std, self.limit = float(std), float(limit)
        if (std, limit) != (0.2, 0.5):
            self.name = f"clipped-{std:g}-{limit:g}"
        k = limit / std
        within, density = math.erf(k / math.sqrt(2)), math.exp(-k * k / 2) / math.sqrt(2 * math.pi)
        self.second_moment = std**2 * (within - 2 * k * density) + limit**2 * (1 - within)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
        """Normal numbers, scaled and clipped."""
        return (self.std * Gaussian().draw(shape, generator, like)).clamp(-self.limit, self.limit)


#: Every law by its name; a new one is its class and a line here.
DIRECTIONS: dict[str, Direction] = {
    law.name: law for law in (Gaussian(), Sphere(), Rademacher(), Coordinate(), ClippedGaussian())
}
