"""Goldstein ascent: the last stretch to an optimum of a function with kinks, and the proof that it is stationary.

On a kink the gradient at one point says little: the way up runs along the kink, or there is none. The shortest vector
in the convex hull of the gradients met within a radius is a way up as long as it is not zero (A. A. Goldstein,
"Optimization of Lipschitz continuous functions", Mathematical Programming 13, 1977). A trial step along it either
rises, or meets a gradient that shortens the hull's vector, so that the hull is made of the gradients that matter
(Zhang, Lin, Jegelka, Sra and Jadbabaie, "Complexity of finding stationary points of nonconvex nonsmooth functions",
ICML 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.landscape.searching.hulls import combined, weights
from gradlab.landscape.surface import Surface

#: Length of the hull's shortest vector, as a share of its longest gradient, below which a point is stationary.
STATIONARY = 0.02
#: A trial that rises by this share of what the hull's vector promises is a step; one step may be so much longer.
_PROMISE, _STRETCH = 0.1, 16.0


@dataclass(frozen=True)
class Stationary:
    """Where Goldstein ascent ended; every tensor has one row a point.

    Attributes:
        point: place in the unit box, [N, p].
        value: Q there, [N]; never below the start's.
        gradient: of Q there in unit coordinates, [N, p].
        residual: length of the shortest vector in the hull of the gradients met within ``radius`` and the box's
            normal cone, as a share of the longest of them, [N].
    """

    point: Tensor
    value: Tensor
    gradient: Tensor
    residual: Tensor


def goldstein(
    surface: Surface,
    state: Tensor,
    point: Tensor,
    value: Tensor,
    gradient: Tensor,
    *,
    radius: Tensor,
    rounds: int,
    least: Tensor,
    seed: int,
) -> Stationary:
    """Climb along the shortest vectors of hulls until every point is stationary at ``radius``, or for ``rounds``.

    Args:
        surface: the landscape.
        state: state index of each row, [N].
        point: where each row is in the unit box, [N, p].
        value: Q there, [N].
        gradient: its gradient in unit coordinates, [N, p].
        radius: within which gradients count, in the unit box, [N].
        rounds: most trials a point, of one value and gradient each.
        least: rise that is lost in rounding, [N].
        seed: of where along a step that does not rise its gradient is taken.
    """
    generator = torch.Generator().manual_seed(seed)
    point, value, gradient = point.clone(), value.clone(), gradient.clone()
    count, size = point.shape
    room = min(rounds, 4 * size + 6) + 1
    hull, there = point.new_zeros(count, room, size), torch.zeros(count, room, dtype=torch.bool)
    hull[:, 0], there[:, 0] = gradient, True
    weight = torch.zeros_like(hull[..., 0])
    used = torch.ones(count, dtype=torch.long)
    reach = radius.clone()
    residual = torch.ones_like(value)
    going = torch.ones(count, dtype=torch.bool)
    for _ in range(rounds):
        rows = going.nonzero().flatten()
        most = int(used[rows].max()) if len(rows) else 1
        among = hull[rows, :most]
        # The last weights are near the next: one vertex was added.
        weight[rows, :most] = weights(among, there[rows, :most], point[rows], weight[rows, :most])
        vector = combined(among, weight[rows, :most], point[rows])
        length = vector.norm(dim=-1)
        longest = hull[rows].norm(dim=-1).amax(-1)
        residual[rows] = torch.where(longest > 0, length / longest, 0.0)
        still = (residual[rows] > STATIONARY) & (used[rows] < room)
        going[rows[~still]] = False
        rows, vector, length = rows[still], vector[still], length[still]
        if len(rows) == 0:
            break
        # A gradient from anywhere on the step will do; at its end it is the likeliest to lie across a kink.
        part = 1 - 0.5 * torch.rand(len(rows), generator=generator, dtype=torch.float64).to(point).square()
        step = (reach[rows] * torch.where(used[rows] > 1, part, 1.0))[:, None] * vector / length[:, None]
        trial = (point[rows] + step).clamp(0, 1)
        met, slope = surface.climb(state[rows], trial)
        promised = _PROMISE * length * (trial - point[rows]).norm(dim=-1)
        rises = (met - value[rows] > torch.maximum(promised, least[rows])) & torch.isfinite(slope).all(-1)
        won, lost = rows[rises], rows[~rises]
        point[won], value[won], gradient[won] = trial[rises], met[rises], slope[rises]
        there[won], used[won] = False, 1
        hull[won], weight[won] = 0.0, 0.0
        hull[won, 0], there[won, 0] = slope[rises], True
        reach[won] = torch.minimum(2 * reach[won], _STRETCH * radius[won])
        near = reach[lost] <= radius[lost]
        kept = lost[near]
        hull[kept, used[kept]] = torch.nan_to_num(slope[~rises][near])
        there[kept, used[kept]] = True
        used[kept] += 1
        reach[lost] = radius[lost]
    return Stationary(point, value, gradient, residual)
