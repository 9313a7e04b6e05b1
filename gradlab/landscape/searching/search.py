"""The search itself: climb, meet, merge, settle, and merge again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from gradlab.errors import GradlabError
from gradlab.landscape.searching import ascent, merging, passes, plateaus, stationary
from gradlab.landscape.searching.climbing import LONGEST, climb_all, highest_of
from gradlab.landscape.surface import Surface

#: The first step, as a share of the unit box's diagonal; starts and steps down to the lowest value.
_FIRST, _BOTTOMS, _DESCENT = 0.05, 4, 12
#: Fall per step, as a share of the range of the starts, at which the way down is at its end.
_FALL = 1e-4
#: Turns of Goldstein ascent, and trials in each, times two more than there are actions; radii, as multiples of the
#: merging radius; the rise, as a share of the tolerance, that earns another turn at the same radius.
_TURNS, _TRIALS, _RADII, _RISE = 10, 3, (2.0, 0.125), 0.1
#: Steps on a top for its last digits, and the length of the first, as a share of the merging radius.
_TOP, _DIGITS = 6, 1 / 16


@dataclass(frozen=True)
class Effort:
    """How hard to look: the arguments of ``local_optima`` of the same names, and the seed of all randomness."""

    starts: int
    steps: int
    tolerance: float
    radius: float
    seed: int


@dataclass(frozen=True)
class Ends:
    """Where the search ended, one row an end, in the unit box.

    Attributes:
        state: state index, [N].
        point: place in the unit box, [N, p].
        value: Q there, [N].
        persistence: height over the best known pass to a higher end, [N]; over the lowest value where there is none.
        optimum: whether it is an optimum, rather than part of another or of a plateau, [N].
        owner: the end that each point belongs to, [S, points]; the points are the starts, and the known ones, in
            their order, last.
        highest: highest value seen, [S].
        span: the value range, [S].
    """

    state: Tensor
    point: Tensor
    value: Tensor
    persistence: Tensor
    optimum: Tensor
    owner: Tensor
    highest: Tensor
    span: Tensor


def search(surface: Surface, known: list[Tensor], effort: Effort, value_range: Tensor | None) -> Ends:
    """Search every state from uniform starts, and from the ``known`` points, each [S, p] in the unit box.

    Raises:
        GradlabError: Q or its gradient is not finite at a start.
    """
    count = surface.states
    climb = _begin(surface, known, effort)
    points = len(climb.state) // count
    lowest = _descend(surface, climb, points)
    owner = climb_all(
        surface,
        climb,
        lowest,
        value_range,
        starts=effort.starts,
        steps=effort.steps,
        tolerance=effort.tolerance,
        radius=effort.radius,
    )
    climb, owner = _keep(climb, owner)

    highest = highest_of(climb.state, climb.value, count)
    span = highest - lowest if value_range is None else value_range.to(lowest).expand(count)
    rounding = 8 * torch.finfo(lowest.dtype).eps * torch.maximum(highest.abs(), lowest.abs())
    flat = plateaus.level(surface, climb, radius=2 * effort.radius, span=span, rounding=rounding)

    climb = _settle(surface, climb, flat, _RISE * effort.tolerance * span[climb.state], effort)
    highest = highest_of(climb.state, climb.value, count)
    span = highest - lowest if value_range is None else span
    peak, persistence = merge(surface, climb, torch.maximum(effort.tolerance * span, rounding))
    # The passes between optima can lie below where descent ended: no persistence exceeds the range.
    lowest = torch.minimum(lowest, surface.lowest)
    span = highest - lowest if value_range is None else span
    persistence = torch.where(torch.isinf(persistence), (highest - lowest).double()[climb.state], persistence)
    persistence = persistence.to(climb.value)
    topped = flat & (climb.value >= climb.value[peak] - rounding[climb.state])
    plateau = torch.zeros_like(flat).index_put((peak[topped],), torch.tensor(True))
    return Ends(
        climb.state,
        climb.point,
        climb.value,
        persistence,
        # A plateau below a higher peak is part of its slope; one on top of everything is no maximum either.
        (peak == torch.arange(len(peak))) & ~plateau & (persistence > rounding[climb.state]),
        peak[owner].reshape(count, points),
        highest,
        span,
    )


def _begin(surface: Surface, known: list[Tensor], effort: Effort) -> ascent.Climb:
    sobol = SobolEngine(surface.size, scramble=True, seed=effort.seed).draw(effort.starts, dtype=surface.low.dtype)
    points = torch.cat([sobol.expand(surface.states, -1, -1), *(one[:, None] for one in known)], 1)
    state = torch.arange(surface.states).repeat_interleave(points.shape[1])
    climb = ascent.begin(surface, state, points.reshape(-1, surface.size), _FIRST * surface.size**0.5)
    finite = torch.isfinite(climb.value) & torch.isfinite(climb.gradient).all(-1)
    if not bool(finite.all()):
        bad = state[~finite].unique().tolist()
        raise GradlabError(
            f"critic: NaN or infinite values or gradients in state(s) {bad[:5]}; has it diverged? leave them out"
        )
    return climb


def _keep(climb: ascent.Climb, owner: Tensor) -> tuple[ascent.Climb, Tensor]:
    """Only the rows that own something, and the owners' new numbers."""
    rows, place = torch.unique(owner, return_inverse=True)
    return climb.take(rows), place


def _settle(surface: Surface, climb: ascent.Climb, flat: Tensor, rise: Tensor, effort: Effort) -> ascent.Climb:
    """Goldstein ascent from every point, with another turn after a ``rise`` [N] and a smaller radius without one."""
    # In a corner that every slope points into, and on a plateau, there is nothing to look for.
    rows = (~flat & (ascent.feasible(climb.point, climb.gradient) != 0).any(-1)).nonzero().flatten()
    radii = effort.radius * torch.tensor(_RADII, dtype=climb.value.dtype)
    place = torch.zeros(len(climb.value), dtype=torch.long)
    for turn in range(_TURNS):
        if len(rows) == 0:
            break
        here = climb.take(rows)
        ended = stationary.goldstein(
            surface,
            here.state,
            here.point,
            here.value,
            here.gradient,
            radius=radii[place[rows]],
            rounds=_TRIALS * (surface.size + 2),
            least=4 * torch.finfo(here.value.dtype).eps * here.value.abs(),
            seed=effort.seed + turn,
        )
        climb.point[rows], climb.value[rows], climb.gradient[rows] = ended.point, ended.value, ended.gradient
        place[rows[ended.value - here.value <= rise[rows]]] += 1
        rows = rows[place[rows] < len(radii)]
    return _top(surface, climb, flat, effort)


def _top(surface: Surface, climb: ascent.Climb, flat: Tensor, effort: Effort) -> ascent.Climb:
    """The last digits on smooth tops, where steps by the slopes' secant rise less than a step is asked to rise."""
    slope = ascent.feasible(climb.point, climb.gradient)
    rows = (~flat & (slope != 0).any(-1)).nonzero().flatten()
    last = climb.take(rows)
    last.direction, last.step = last.gradient.clone(), torch.full_like(last.value, _DIGITS * effort.radius)
    for _ in range(_TOP):
        last = ascent.advance(surface, last, 2 * effort.radius)
    climb.put(rows, last)
    return climb


def _descend(surface: Surface, climb: ascent.Climb, points: int) -> Tensor:
    """The lowest value seen, [S]: where descent from each state's few lowest starts ends.

    Without it the range would depend on how many starts happened to fall near the bottom.
    """
    down = surface.flipped()
    first = climb.value.reshape(-1, points).topk(min(_BOTTOMS, points), largest=False).indices
    first = (first + points * torch.arange(surface.states)[:, None]).reshape(-1)
    fall = climb.take(first)
    level = _FALL * (
        highest_of(climb.state, climb.value, surface.states) + highest_of(climb.state, -climb.value, surface.states)
    )
    fall = ascent.Climb(fall.state, fall.point, -fall.value, -fall.gradient, -fall.direction, fall.step)
    for _ in range(_DESCENT):
        rows = (~ascent.resting(fall, 0.0, level[fall.state])).nonzero().flatten()
        fall.put(rows, ascent.advance(down, fall.take(rows), LONGEST * surface.size**0.5))
    surface.evaluations += down.evaluations
    return -fall.value.reshape(surface.states, -1).amax(-1)


def merge(surface: Surface, climb: ascent.Climb, tolerance: Tensor) -> tuple[Tensor, Tensor]:
    """Peak and persistence of every row; looks are spent on the paths that decide."""
    state, value = climb.state, climb.value
    pairs = merging.edges(state, climb.point, value, surface.states)
    paths = passes.straight(surface, state, climb.point, value, climb.gradient, pairs)
    some = merging.promising(value, pairs, passes.expected(paths), len(state))
    pairs, paths = pairs[some], paths.take(some)
    allowed, height = tolerance[paths.state], paths.ceiling().clone()
    # Two peaks that a straight path joins already need no better one.
    joined = height - passes.expected(paths) <= allowed
    height[joined] = passes.lowest(surface, paths.take(joined), allowed[joined])
    low = ~joined | (paths.ceiling() - height > allowed)
    height[low] = passes.lowest(surface, passes.raised(surface, paths.take(low)), allowed[low])
    tree = merging.spanning(pairs, height, len(state))
    return merging.elder(state, value, pairs[tree], height[tree], tolerance)
