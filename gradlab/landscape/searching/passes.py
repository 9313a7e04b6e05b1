"""The lowest value along a path between two peaks, and paths bent upwards so that it is higher.

Every look is a value with its gradient, which costs no more than a value and says where the next is worth most: the
slopes at both ends of a leg give a cubic, and the cubic's lowest place is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.landscape.searching.ascent import feasible
from gradlab.landscape.searching.cubics import PLACES, cubics
from gradlab.landscape.surface import Surface

#: Actions up to which rows are cheap, since there are few edges.
_FEW = 2
#: Rounds in which the nodes of a path climb.
_ROUNDS = 6
#: Looks at a path at most; what it is expected to fall further, as a share of its dip, for another look.
_LOOKS, _FURTHER = 64, 0.002
#: Longest leg of a path that shows no dip, in the unit box and as a share of the path, and beside a path's lowest
#: place; looks beside the lower end of a path that shows no dip, as shares of it.
_LEG, _SHARE, _NEAR, _BESIDE = 1 / 8, 1 / 5, 1 / 16, (1 / 16, 1 / 64)


@dataclass
class Paths:
    """Paths of K nodes within one state each; the first and the last node are its ends.

    Attributes:
        state: state of each path, [E].
        point: its nodes in the unit box, [E, K, p].
        value: Q at the nodes, [E, K].
        gradient: of Q at the nodes in unit coordinates, [E, K, p].
    """

    state: Tensor
    point: Tensor
    value: Tensor
    gradient: Tensor

    def ceiling(self) -> Tensor:
        """The value at the lower end, [E]."""
        return self.value[:, [0, -1]].amin(-1)

    def take(self, rows: Tensor) -> Paths:
        """The paths of ``rows`` alone."""
        return Paths(*(part[rows] for part in vars(self).values()))

    def add(self, surface: Surface, *shares: float) -> Paths:
        """The same paths with more nodes in every leg, at ``shares`` of the way along it."""
        start, end = self.point[:, :-1, None], self.point[:, 1:, None]
        between = start + torch.tensor(shares).to(start)[:, None] * (end - start)
        rows = self.state[:, None, None].expand(between.shape[:3]).reshape(-1)
        value, gradient = surface.climb(rows, between.flatten(0, 2))
        new = (between, value.reshape(between.shape[:3]), gradient.reshape(between.shape))
        parts = []
        for old, more in zip((self.point, self.value, self.gradient), new, strict=True):
            mixed = torch.cat([old[:, :-1, None], more], 2).flatten(1, 2)
            parts.append(torch.cat([mixed, old[:, -1:]], 1))
        return Paths(self.state, *parts)


def straight(surface: Surface, state: Tensor, point: Tensor, value: Tensor, gradient: Tensor, pairs: Tensor) -> Paths:
    """Straight paths between the rows of ``pairs`` [E, 2], with nodes between.

    One in the middle; three in one or two dimensions, where there are few edges.
    """
    shares = (0.5,) if surface.size > _FEW else (0.25, 0.5, 0.75)
    return Paths(state[pairs[:, 0]], point[pairs], value[pairs], gradient[pairs]).add(surface, *shares)


def expected(paths: Paths) -> Tensor:
    """The lowest value that the cubics of each path's legs predict, or that was met, [E]."""
    legs = _Legs.of(paths)
    return legs.expected()[0].reshape(len(paths.state), paths.value.shape[1] - 1).amin(-1).minimum(paths.value.amin(-1))


def raised(surface: Surface, paths: Paths) -> Paths:
    """The paths with a node more in every leg, bent upwards; no node is lower than it was on the straight way.

    Nodes climb across the path, perpendicular to its tangent, each with its own step length (the string method for
    passes: E, Ren and Vanden-Eijnden, Phys. Rev. B 66, 2002), as long as they lie lower than both ends of the path:
    others do not hold its height down. Any path bounds the pass from below, so that stopping early is safe.
    """
    if surface.size == 1 or len(paths.state) == 0:
        return paths  # on a line there is one path only
    paths = paths.add(surface, 0.5)
    count, nodes, size = paths.point.shape
    inner = nodes - 2
    path = paths.point
    rows = paths.state[:, None].expand(count, inner).reshape(-1)
    ceiling = paths.ceiling()[:, None].expand(count, inner).reshape(-1)
    there, gradient = paths.value[:, 1:-1].reshape(-1), paths.gradient[:, 1:-1].reshape(-1, size)
    length = (path[:, -1] - path[:, 0]).norm(dim=-1, keepdim=True).expand(count, inner).reshape(-1)
    step = 0.25 * length
    for _ in range(_ROUNDS):
        low = ((there < ceiling) & (step > 0.02 * length)).nonzero().flatten()
        if len(low) == 0:
            break
        at = path[:, 1:-1].reshape(-1, size)
        tangent = torch.nn.functional.normalize(path[:, 2:] - path[:, :-2], dim=-1).reshape(-1, size)[low]
        across = gradient[low] - (gradient[low] * tangent).sum(-1, keepdim=True) * tangent
        way = torch.nn.functional.normalize(feasible(at[low], across), dim=-1)
        trial = (at[low] + step[low, None] * way).clamp(0, 1)
        met, slope = surface.climb(rows[low], trial)
        better = met > there[low]
        won = low[better]
        at[won], there[won], gradient[won] = trial[better], met[better], slope[better]
        step[low[~better]] /= 3
        path = torch.cat([path[:, :1], at.reshape(count, inner, size), path[:, -1:]], 1)
    value = torch.cat([paths.value[:, :1], there.reshape(count, inner), paths.value[:, -1:]], 1)
    slopes = torch.cat([paths.gradient[:, :1], gradient.reshape(count, inner, size), paths.gradient[:, -1:]], 1)
    return Paths(paths.state, path, value, slopes)


def lowest(surface: Surface, paths: Paths, tolerance: Tensor) -> Tensor:
    """The lowest value along each path, [E].

    One look after the other goes where the cubics predict the path's lowest value, until they predict no fall that
    matters. A path that shows no dip of more than ``tolerance`` [E] is looked at all along, as are all in one and two
    dimensions, and beside its lower end: a low peak at the foot of a high one has its dip there.
    """
    height, legs = paths.value.amin(-1), _Legs.of(paths)
    whole = (paths.point[:, -1] - paths.point[:, 0]).norm(dim=-1)
    every = (_SHARE * whole).clamp(max=_LEG)
    # On a line there is no other way to tell two peaks apart.
    level = every / 8 if surface.size == 1 else every
    dipping = every if surface.size <= _FEW else torch.full_like(every, torch.inf)
    for _ in range(_LOOKS if len(height) else 0):
        dip = paths.ceiling() - height
        low, place = legs.expected()
        further = height[legs.path] - low
        enough = torch.maximum(_FURTHER * dip, 0.25 * tolerance)[legs.path]
        falls = further > enough
        length = (legs.point[:, 1] - legs.point[:, 0]).norm(dim=-1)
        # Kinks are where cubics err: beside the lowest place the tangents' crossing is a look worth as well.
        crossing, corner = legs.crossing()
        lowest_there = legs.value.amin(-1) <= height[legs.path]
        kink = lowest_there & (height[legs.path] - crossing > enough)
        longest = torch.where(dip <= tolerance, level, dipping)
        long = (length > longest[legs.path]) | kink | lowest_there & (length > _NEAR)
        # What is expected to fall comes first, the longest leg after that.
        share = further / further.amax().clamp_min(torch.finfo(low.dtype).tiny)
        worth = torch.where(falls, 1 + share, torch.where(long, length / (1 + length), 0.0))
        chosen = _first_of_each(worth, legs.path, len(height))
        if len(chosen) == 0:
            break
        legs.split(surface, paths.state, chosen, torch.where(falls, place, torch.where(kink, corner, 0.5))[chosen])
        height = height.scatter_reduce(0, legs.path, legs.value.amin(-1), "amin")
    return _beside(surface, paths, height, tolerance)


def _first_of_each(worth: Tensor, path: Tensor, count: int) -> Tensor:
    """The leg of greatest positive worth [L] of each of ``count`` paths, where it has one."""
    best = worth.new_zeros(count).scatter_reduce(0, path, worth, "amax")
    most = ((worth == best[path]) & (worth > 0)).nonzero().flatten()
    first = torch.full((count,), len(worth)).scatter_reduce(0, path[most], most, "amin")
    return first[first < len(worth)]


def _beside(surface: Surface, paths: Paths, height: Tensor, tolerance: Tensor) -> Tensor:
    """Heights after looks beside the lower end of paths that show no dip."""
    height = height.clone()
    swap = (paths.value[:, -1] < paths.value[:, 0])[:, None]
    start = torch.where(swap, paths.point[:, -1], paths.point[:, 0])
    then = torch.where(swap, paths.point[:, -2], paths.point[:, 1])
    for share in _BESIDE:
        rows = (paths.ceiling() - height <= tolerance).nonzero().flatten()
        at = torch.lerp(start[rows], then[rows], share * (paths.point.shape[1] - 1))
        height[rows] = torch.minimum(height[rows], surface.values(paths.state[rows], at))
    return height


@dataclass
class _Legs:
    """Straight legs of paths: whose they are [L], and points [L, 2, p], values and gradients at both ends."""

    path: Tensor
    point: Tensor
    value: Tensor
    gradient: Tensor

    @staticmethod
    def of(paths: Paths) -> _Legs:
        count, nodes = paths.value.shape
        both = [
            torch.stack([part[:, :-1], part[:, 1:]], 2).flatten(0, 1)
            for part in (paths.point, paths.value, paths.gradient)
        ]
        return _Legs(torch.arange(count).repeat_interleave(nodes - 1), *both)

    def expected(self) -> tuple[Tensor, Tensor]:
        """The lowest value of each leg's cubic, [L], and how far along the leg it is, [L]."""
        move = self.point[:, 1] - self.point[:, 0]
        slopes = (self.gradient * move[:, None]).sum(-1)
        low, where = cubics(*self.value.unbind(1), *slopes.unbind(1)).min(-1)
        return low, PLACES.to(low)[where]

    def crossing(self) -> tuple[Tensor, Tensor]:
        """The value where the tangents at both ends of each leg cross, [L], and how far along it, [L].

        Infinite for legs that do not fall from their start and rise to their end.
        """
        move = self.point[:, 1] - self.point[:, 0]
        first, last = (self.gradient * move[:, None]).sum(-1).unbind(1)
        start, end = self.value.unbind(1)
        place = (end - last - start) / (first - last).clamp(max=-torch.finfo(move.dtype).tiny)
        valley = (first < 0) & (last > 0) & (place > 0.01) & (place < 0.99)
        return torch.where(valley, start + first * place, torch.inf), torch.where(valley, place, 0.5)

    def split(self, surface: Surface, state: Tensor, rows: Tensor, place: Tensor) -> None:
        """One look at ``place`` [R] of the legs of ``rows``, whose paths are of ``state`` [E]; each becomes two."""
        at = torch.lerp(self.point[rows, 0], self.point[rows, 1], place[:, None])
        value, gradient = surface.climb(state[self.path[rows]], at)
        self.path = torch.cat([self.path, self.path[rows]])
        for name, new in (("point", at), ("value", value), ("gradient", gradient)):
            part = getattr(self, name)
            second = torch.stack([new, part[rows, 1]], 1)
            part[rows, 1] = new
            setattr(self, name, torch.cat([part, second]))
