"""Inner products of the gradients along the ledger's chain, and of the noise that each of them carries.

The chain is K *waypoints*: estimated parameter vectors g_1 … g_K. Their noise comes from independent *sources* (the
draws at the minibatch, the replay states, the on-policy episodes), each of n independent *units*. A waypoint is a ratio
of sums over units, g = Σ_i S_i / Σ_i W_i, and unit i enters by its centred pseudo-value

    e_i = (n − 1)(g − g₍ᵢ₎) − mean,     g − g₍ᵢ₎ = (S_i − W_i g)/(W − W_i),

g₍ᵢ₎ being g with the unit left out (J. Tukey 1958; B. Efron 1982, *The jackknife*, sections 2 and 3). Waypoints of the
same source share its units, so that their differences are paired. A sample mean is Σ_i (g + e_i)/n, and everything here
treats a ratio as such a mean of its pseudo-values; for equal weights that is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Numbers of the pseudo-values held in float64 at a time (64 MB).
_NUMBERS = 2**23


@dataclass(frozen=True)
class Source:
    """n independent units that k waypoints are made from.

    Attributes:
        sums: S_i, the weighted sum of parameter gradients in each unit, [n, k, P].
        weights: W_i, the weights in it, [n, k].
        waypoints: which waypoints these are, k positions in the chain.
        name: what the units are, for people ("episodes").
    """

    sums: Tensor
    weights: Tensor
    waypoints: tuple[int, ...]
    name: str

    @property
    def units(self) -> int:
        """Number n of units."""
        return len(self.sums)

    @property
    def known(self) -> bool:
        """Whether the units tell of noise at all: at least two carry weight in every waypoint."""
        return bool(((self.weights > 0).sum(0) > 1).all())

    def means(self) -> Tensor:
        """The waypoints themselves, [k, P], float64."""
        return self.sums.double().sum(0) / self.weights.sum(0)[:, None]

    def pseudo_values(self, columns: slice) -> Tensor:
        """Centred pseudo-values e_i of some parameters, [n, k, columns], float64."""
        sums = self.sums[..., columns].double()
        weights = self.weights[..., None]
        mass = weights.sum(0)
        shift = (sums - weights * (sums.sum(0) / mass)) / (mass - weights)
        values = (self.units - 1) * shift
        return values - values.mean(0)


@dataclass(frozen=True)
class Products:
    """What is known of waypoints x_k and pseudo-values e_r; row r is one waypoint of one unit.

    Rows are ordered by source, then unit, then waypoint.

    Attributes:
        plug_in: x_k·x_l, [K, K]; holds the waypoints' noise.
        cross: e_r·x_k, [R, K].
        gram: e_r·e_s, [R, R].
        unit: which unit a row belongs to, [R], counted over all sources.
        waypoint: which waypoint a row belongs to, [R].
        sizes: units of each source.
        unknown: waypoints whose noise nothing tells of, [K] bool; their rows are zero.
    """

    plug_in: Tensor
    cross: Tensor
    gram: Tensor
    unit: Tensor
    waypoint: Tensor
    sizes: tuple[int, ...]
    unknown: Tensor

    def by_unit(self) -> tuple[Tensor, Tensor]:
        """e_uk·x_l and e_uk·e_ul for each unit u, [U, K, K] both; zero for waypoints that are not the unit's own."""
        units, count = sum(self.sizes), len(self.plug_in)
        cross, squares = (self.plug_in.new_zeros(units, count, count) for _ in range(2))
        cross[self.unit, self.waypoint] = self.cross
        same = self.unit[:, None] == self.unit
        one, two = same.nonzero(as_tuple=True)
        squares[self.unit[one], self.waypoint[one], self.waypoint[two]] = self.gram[one, two]
        return cross, squares

    def gram_of(self, combination: Tensor) -> Tensor:
        """Inner products of the units' own Σ_k c_k e_uk, [U, U]."""
        fold = self.plug_in.new_zeros(sum(self.sizes), len(self.unit))
        fold[self.unit, torch.arange(len(self.unit))] = combination[self.waypoint]
        return fold @ self.gram @ fold.T


def products(waypoints: Tensor, sources: Sequence[Source]) -> Products:
    """All inner products, a block of parameters at a time.

    Args:
        waypoints: [K, P], float64.
        sources: of their noise; a waypoint that belongs to none is exact.

    Example:
        >>> rows = torch.tensor([[[1.0]], [[3.0]]])
        >>> source = Source(rows, torch.ones(2, 1).double(), (0,), "draws")
        >>> found = products(source.means(), [source])
        >>> found.plug_in.item(), found.gram.tolist()
        (4.0, [[1.0, -1.0], [-1.0, 1.0]])
    """
    count, parameters = waypoints.shape
    unit, waypoint = _labels(sources)
    unknown = torch.zeros(count, dtype=torch.bool)
    for source in sources:
        if not source.known:
            unknown[list(source.waypoints)] = True
    plug_in = waypoints.new_zeros(count, count)
    cross, gram = waypoints.new_zeros(len(unit), count), waypoints.new_zeros(len(unit), len(unit))
    step = max(1, _NUMBERS // max(1, len(unit)))
    for start in range(0, parameters, step):
        columns = slice(start, min(start + step, parameters))
        at = waypoints[:, columns]
        plug_in += at @ at.T
        noise = torch.cat([at.new_zeros(0, at.shape[1]), *(_rows(source, columns) for source in sources)])
        cross += noise @ at.T
        gram += noise @ noise.T
    sizes = tuple(source.units for source in sources)
    return Products(plug_in, cross, gram, unit, waypoint, sizes, unknown)


def _labels(sources: Sequence[Source]) -> tuple[Tensor, Tensor]:
    """The unit and the waypoint of every row."""
    units, waypoints, before = [torch.zeros(0, dtype=torch.long)], [torch.zeros(0, dtype=torch.long)], 0
    for source in sources:
        own = torch.tensor(source.waypoints)
        units.append(torch.arange(before, before + source.units).repeat_interleave(len(own)))
        waypoints.append(own.repeat(source.units))
        before += source.units
    return torch.cat(units), torch.cat(waypoints)


def _rows(source: Source, columns: slice) -> Tensor:
    if source.known:
        return source.pseudo_values(columns).flatten(0, 1)
    return torch.zeros(source.units * len(source.waypoints), columns.stop - columns.start, dtype=torch.float64)
