"""Batched projected ascent that also works on the kinks of a piecewise-linear critic.

Every point has its own direction and step length. The direction is the shortest vector in the convex hull of the
last direction and the gradient just met (a *conjugate subgradient*): on a smooth slope it is the gradient, on the two
sides of a kink it runs along the kink, where the plain gradient would zigzag (P. Wolfe, "A method of conjugate
subgradients for minimizing nondifferentiable functions", Mathematical Programming Study 3, 1975). The step length
comes from the slopes at both ends of the last step, as in a secant method.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.landscape.surface import Surface


@dataclass
class Climb:
    """Points on their way up; every tensor has one row a point.

    Attributes:
        state: index of the state a point belongs to, [N].
        point: place in the unit box, [N, p].
        value: Q there, [N].
        gradient: of Q in unit coordinates, [N, p].
        direction: what to follow next, [N, p]; not normalised.
        step: length of the next step in the unit box, [N].
    """

    state: Tensor
    point: Tensor
    value: Tensor
    gradient: Tensor
    direction: Tensor
    step: Tensor

    def take(self, rows: Tensor) -> Climb:
        """The points of ``rows`` (indices or mask) alone."""
        return Climb(*(part[rows] for part in vars(self).values()))

    def put(self, rows: Tensor, other: Climb) -> None:
        """Write points back to ``rows``, in place."""
        for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True):
            mine[rows] = theirs


def begin(surface: Surface, state: Tensor, point: Tensor, step: float) -> Climb:
    """Climbs that have not moved yet, from rows (state [N], point [N, p]) with a first step of length ``step``."""
    value, gradient = surface.climb(state, point)
    return Climb(state, point.clone(), value, gradient, gradient.clone(), torch.full_like(value, step))


def feasible(point: Tensor, direction: Tensor) -> Tensor:
    """``direction`` without the components that leave the unit box at ``point``."""
    outward = ((point <= 0) & (direction < 0)) | ((point >= 1) & (direction > 0))
    return direction.masked_fill(outward, 0.0)


def advance(surface: Surface, climb: Climb, longest: float) -> Climb:
    """One trial step of every point: one evaluation of Q and its gradient each; values never fall.

    Args:
        surface: the landscape.
        climb: the points.
        longest: the greatest step length in the unit box.
    """
    gradient = feasible(climb.point, climb.gradient)
    direction = feasible(climb.point, climb.direction)
    # The aggregated direction must still go up here; a kink left behind no longer matters.
    uphill = (direction * gradient).sum(-1) > 0
    direction = torch.where(uphill[:, None], direction, gradient)
    length = direction.norm(dim=-1)
    unit = direction / length.clamp_min(torch.finfo(length.dtype).tiny)[:, None]
    trial = (climb.point + climb.step[:, None] * unit).clamp(0, 1)
    moved = trial - climb.point
    value, met = surface.climb(climb.state, trial)

    before = (gradient * moved).sum(-1)
    after = (feasible(trial, met) * moved).sum(-1)
    better = (value > climb.value) & torch.isfinite(met).all(-1)
    # Where the slope along the step would vanish, in units of the step: by the secant of the two slopes.
    zero = torch.nan_to_num(before / (before - after), nan=2.0, posinf=2.0, neginf=2.0)
    growing = after >= before
    passed = after < 0

    hull = _shortest(direction, feasible(climb.point, met))
    # A hull that nearly holds zero says "stationary at this step length": look closer with the plain gradient.
    stuck = hull.norm(dim=-1) < 0.2 * torch.minimum(length, met.norm(dim=-1))
    aggregate = torch.where(stuck[:, None], torch.where(better[:, None], met, climb.gradient), hull)

    remaining = torch.where(growing, torch.full_like(zero, 2.0), (zero - 1).clamp(0.25, 2.0))
    back = torch.where(stuck, (1 - zero).clamp(0.1, 0.5), torch.ones_like(zero))
    shorter = torch.where(stuck, zero.clamp(0.1, 0.5), torch.full_like(zero, 0.5))
    factor = torch.where(better, torch.where(passed, back, remaining), shorter)
    keep = better[:, None]
    return Climb(
        climb.state,
        torch.where(keep, trial, climb.point),
        torch.where(better, value, climb.value),
        torch.where(keep, met, climb.gradient),
        torch.where(better[:, None] & ~passed[:, None], met, aggregate),
        (climb.step * factor).clamp(max=longest),
    )


def _shortest(a: Tensor, b: Tensor) -> Tensor:
    """The shortest vector of the segment from a to b, per row [N, p]."""
    difference = a - b
    squared = difference.square().sum(-1).clamp_min(torch.finfo(a.dtype).tiny)
    share = ((a * difference).sum(-1) / squared).clamp(0, 1)
    return a - share[:, None] * difference


def resting(climb: Climb, shortest: float, least: Tensor) -> Tensor:
    """Which points are done, [N].

    There is no way up inside the box, steps are shorter than ``shortest``, or a step along the present slope would
    rise by no more than ``least`` [N].
    """
    slope = feasible(climb.point, climb.gradient).norm(dim=-1)
    done: Tensor = (climb.step < shortest) | (slope * climb.step <= least)
    return done
