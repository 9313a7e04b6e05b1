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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

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
    """What is known of waypoints x_k and pseudo-values e_u, u counting the units of all sources.

    Attributes:
        plug_in: x_k·x_l, [K, K]; holds the waypoints' noise.
        cross: x_k·e_ul, [U, K, K].
        squares: e_uk·e_ul, [U, K, K].
        grams: for each combination c of waypoints, Σ_kl c_k c_l e_uk·e_vl, [C, U, U].
        sizes: units of each source; they follow one another in u.
        unknown: waypoints whose noise nothing tells of, [K] bool.
    """

    plug_in: Tensor
    cross: Tensor
    squares: Tensor
    grams: Tensor
    sizes: tuple[int, ...]
    unknown: Tensor


def products(waypoints: Tensor, sources: Sequence[Source], combinations: Tensor) -> Products:
    """All inner products, a block of parameters at a time.

    Args:
        waypoints: [K, P], float64.
        sources: of their noise; a waypoint that belongs to none is exact.
        combinations: [C, K], float64; those whose noise is to be known in full.

    Example:
        >>> rows = torch.tensor([[[1.0]], [[3.0]]])
        >>> source = Source(rows, torch.ones(2, 1).double(), (0,), "draws")
        >>> found = products(source.means(), [source], torch.ones(1, 1).double())
        >>> found.plug_in.item(), found.squares.flatten().tolist()
        (4.0, [1.0, 1.0])
    """
    count, parameters = waypoints.shape
    sizes = tuple(source.units for source in sources)
    units = sum(sizes)
    unknown = torch.zeros(count, dtype=torch.bool)
    for source in sources:
        if not source.known:
            unknown[list(source.waypoints)] = True
    plug_in = waypoints.new_zeros(count, count)
    cross, squares = (waypoints.new_zeros(units, count, count) for _ in range(2))
    grams = waypoints.new_zeros(len(combinations), units, units)
    for columns in _blocks(parameters, max(1, _NUMBERS // max(1, units * count))):
        at = waypoints[:, columns]
        plug_in += at @ at.T
        if units == 0:
            continue
        noise = at.new_zeros(units, count, at.shape[1])
        for source, rows in zip(sources, _slices(sizes), strict=True):
            if source.known:
                noise[rows, list(source.waypoints)] = source.pseudo_values(columns)
        cross += (noise @ at.T).mT
        squares += noise @ noise.mT
        for gram, combination in zip(grams, combinations, strict=True):
            _add_gram(gram, torch.einsum("k,ukp->up", combination, noise))
    return Products(plug_in, cross, squares, grams, sizes, unknown)


def _add_gram(gram: Tensor, noise: Tensor) -> None:
    # Most combinations see one or two of the sources; the rest of the rows are zero.
    rows = noise.abs().sum(1).nonzero().squeeze(1)
    gram[rows[:, None], rows] += noise[rows] @ noise[rows].T


def _blocks(total: int, size: int) -> Iterable[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def _slices(sizes: Sequence[int]) -> list[slice]:
    ends = torch.tensor([0, *sizes]).cumsum(0).tolist()
    return [slice(start, end) for start, end in pairwise(ends)]
