"""Inner products of the ledger's vectors, and of the noise that each of them carries.

The chain is K *waypoints*: estimated parameter vectors g_1 … g_K. Their noise comes from independent *sources* (the
draws at the minibatch, the replay states, the on-policy episodes), each of n independent *units*. A waypoint is a ratio
of sums over units, g = Σ_i S_i / Σ_i W_i, and unit i enters by its centred pseudo-value

    e_i = (n − 1)(g − g₍ᵢ₎) − mean,     g − g₍ᵢ₎ = (S_i − W_i g)/(W − W_i),

g₍ᵢ₎ being g with the unit left out (J. Tukey 1958; B. Efron 1982, *The jackknife*, sections 2 and 3). Waypoints of the
same source share its units, so that their differences are paired. A sample mean is Σ_i (g + e_i)/n, and everything here
treats a ratio as such a mean of its pseudo-values; for equal weights that is exact. The ledger's vectors are
combinations of waypoints, made before products are taken, since differences of products would lose small ones.
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
    """What is known of vectors x_c and their pseudo-values e_r; row r is one vector in one unit.

    Rows are ordered by source, then unit, then vector.

    Attributes:
        plug_in: x_c·x_d, [C, C]; holds the vectors' noise.
        cross: e_r·x_c, [R, C].
        gram: e_r·e_s, [R, R].
        unit: which unit a row belongs to, [R], counted over all sources.
        vector: which vector a row belongs to, [R].
        sizes: units of each source.
        unknown: vectors whose noise nothing tells of, [C] bool; their rows are zero.
    """

    plug_in: Tensor
    cross: Tensor
    gram: Tensor
    unit: Tensor
    vector: Tensor
    sizes: tuple[int, ...]
    unknown: Tensor

    def by_unit(self) -> tuple[Tensor, Tensor]:
        """e_uc·x_d and e_uc·e_ud for each unit u, [U, C, C] both; zero for vectors the unit has no say in."""
        units, count = sum(self.sizes), len(self.plug_in)
        cross, squares = (self.plug_in.new_zeros(units, count, count) for _ in range(2))
        cross[self.unit, self.vector] = self.cross
        same = self.unit[:, None] == self.unit
        one, two = same.nonzero(as_tuple=True)
        squares[self.unit[one], self.vector[one], self.vector[two]] = self.gram[one, two]
        return cross, squares

    def gram_of(self, weights: Tensor) -> Tensor:
        """Inner products of the units' own Σ_c w_c e_uc for weights w [C], [U, U]."""
        own = weights[self.vector]
        rows = own.nonzero().squeeze(1)
        fold = self.plug_in.new_zeros(sum(self.sizes), len(rows))
        fold[self.unit[rows], torch.arange(len(rows))] = own[rows]
        return fold @ self.gram[rows[:, None], rows] @ fold.T


def products(waypoints: Tensor, sources: Sequence[Source], combinations: Tensor) -> Products:
    """All inner products of combinations of waypoints, a block of parameters at a time.

    Args:
        waypoints: [K, P], float64.
        sources: of their noise; a waypoint that belongs to none is exact.
        combinations: [C, K], float64; row c gives vector c.

    Example:
        >>> rows = torch.tensor([[[1.0]], [[3.0]]])
        >>> source = Source(rows, torch.ones(2, 1).double(), (0,), "draws")
        >>> found = products(source.means(), [source], torch.ones(1, 1).double())
        >>> found.plug_in.item(), found.gram.tolist()
        (4.0, [[1.0, -1.0], [-1.0, 1.0]])
    """
    count, parameters = len(combinations), waypoints.shape[1]
    units, vectors, before = [], [], 0
    unknown = torch.zeros(count, dtype=torch.bool)
    parts = []
    for source in sources:
        weights = combinations[:, list(source.waypoints)]
        touched = (weights != 0).any(1).nonzero().squeeze(1)
        if not source.known:
            unknown[touched] = True
        parts.append((source, weights[touched]))
        units.append(torch.arange(before, before + source.units).repeat_interleave(len(touched)))
        vectors.append(touched.repeat(source.units))
        before += source.units
    unit, vector = (torch.cat([torch.zeros(0, dtype=torch.long), *labels]) for labels in (units, vectors))
    plug_in = waypoints.new_zeros(count, count)
    cross, gram = waypoints.new_zeros(len(unit), count), waypoints.new_zeros(len(unit), len(unit))
    step = max(1, _NUMBERS // max(1, len(unit)))
    for start in range(0, parameters, step):
        columns = slice(start, min(start + step, parameters))
        at = combinations @ waypoints[:, columns]
        plug_in += at @ at.T
        noise = torch.cat([at.new_zeros(0, at.shape[1]), *(_rows(*part, columns) for part in parts)])
        cross += noise @ at.T
        gram += noise @ noise.T
    return Products(plug_in, cross, gram, unit, vector, tuple(source.units for source in sources), unknown)


def _rows(source: Source, weights: Tensor, columns: slice) -> Tensor:
    """Pseudo-values of the combinations a source has a say in, [n · touched, columns]."""
    if source.known:
        return (weights @ source.pseudo_values(columns)).flatten(0, 1)
    return torch.zeros(source.units * len(weights), columns.stop - columns.start, dtype=torch.float64)
