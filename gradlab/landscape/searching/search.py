"""The search itself: climb, meet, merge, settle, and merge again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from gradlab.errors import GradlabError
from gradlab.landscape.searching import ascent, linking, merging, plateaus, stationary
from gradlab.landscape.surface import Surface

#: The first step and the longest, as shares of the unit box's diagonal.
_FIRST, _LONGEST = 0.05, 0.2
#: Steps between two looks for points that have met; starts and steps down to the lowest value.
_LOOK, _BOTTOMS, _DESCENT = 4, 4, 12
#: How much smaller each next radius of Goldstein ascent is.
_CLOSER = 16.0
#: Fall per step, as a share of the range of the starts, at which the way down is at its end.
_FALL = 1e-4
#: Steps before which points are linked to higher ones; not on a line, where meeting is enough, and in more than two
#: dimensions, where starts are far apart, from the fourth only.
_LINKS = (2, 4, 8, 16, 32)
#: Turns of Goldstein ascent and renewed climb, and trials in each, times two more than there are actions.
_TURNS, _TRIALS = 10, 3
#: Steps on a top for its last digits.
_TOP = 6


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
    owner = _climb(surface, climb, lowest, effort, value_range)
    climb, owner = _keep(climb, owner)

    highest = _highest(climb.state, climb.value, count)
    span = highest - lowest if value_range is None else value_range.to(lowest).expand(count)
    rounding = 8 * torch.finfo(lowest.dtype).eps * torch.maximum(highest.abs(), lowest.abs())
    flat = plateaus.level(surface, climb, radius=2 * effort.radius, span=span, rounding=rounding)

    climb = _settle(
        surface, climb, flat, torch.maximum(_least(lowest, climb), 1e-5 * effort.tolerance * span)[climb.state], effort
    )
    highest = _highest(climb.state, climb.value, count)
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


def _climb(surface: Surface, climb: ascent.Climb, lowest: Tensor, effort: Effort, value_range: Tensor | None) -> Tensor:
    """Climb, in place; the row that each start ends as, [N].

    Most starts need not climb: they are linked to a higher one on the same hill. The known points always do.
    """
    owner = torch.arange(len(climb.state))
    going = torch.ones(len(climb.state), dtype=torch.bool)
    free = owner % (len(owner) // surface.states) < effort.starts
    for step in range(effort.steps):
        if step % _LOOK == 0:
            least = _least(lowest, climb)[climb.state]
        if step in _LINKS and surface.size > 1 and step >= min(surface.size, 4):
            span = _highest(climb.state, climb.value, surface.states) - lowest if value_range is None else value_range
            _link(surface, climb, owner, going, free, effort.tolerance * span)
        elif step % _LOOK == 0:
            _meet(surface, climb, owner, going, effort.radius)
        if not _step(surface, climb, going, least):
            break
    _meet(surface, climb, owner, going, effort.radius)
    return owner


def _link(surface: Surface, climb: ascent.Climb, owner: Tensor, going: Tensor, free: Tensor, allowed: Tensor) -> None:
    """Let points on the hill of a higher one follow it; ``owner`` and ``going`` change in place."""
    rows = going.nonzero().flatten()
    here = climb.take(rows)
    target = linking.targets(here.state, here.point, here.value, here.gradient, surface.states)
    target = torch.where(free[rows], target, torch.arange(len(rows)))
    linked = linking.link(
        surface, here.state, here.point, here.value, target, allowed.expand(surface.states)[here.state]
    )
    leader = torch.arange(len(owner))
    leader[rows] = rows[linking.roots(target, linked)]
    owner.copy_(leader[owner])
    going &= leader == torch.arange(len(owner))


def _keep(climb: ascent.Climb, owner: Tensor) -> tuple[ascent.Climb, Tensor]:
    """Only the rows that own something, and the owners' new numbers."""
    rows, place = torch.unique(owner, return_inverse=True)
    return climb.take(rows), place


def _highest(state: Tensor, value: Tensor, states: int) -> Tensor:
    return torch.full((states,), -torch.inf, dtype=value.dtype).scatter_reduce(0, state, value, "amax")


def _least(lowest: Tensor, climb: ascent.Climb) -> Tensor:
    """Rise per step, [S], that is lost in the rounding of the range seen so far."""
    highest = _highest(climb.state, climb.value, len(lowest))
    return 64 * torch.finfo(lowest.dtype).eps * (highest - lowest)


def _step(surface: Surface, climb: ascent.Climb, going: Tensor, least: Tensor) -> bool:
    """One trial step, in place, of the points that are going and not resting; False when there are none."""
    last = torch.finfo(least.dtype).eps ** 0.5 / 4
    rows = (going & ~ascent.resting(climb, last, least)).nonzero().flatten()
    if len(rows):
        climb.put(rows, ascent.advance(surface, climb.take(rows), _LONGEST * surface.size**0.5))
    return len(rows) > 0


def _settle(surface: Surface, climb: ascent.Climb, flat: Tensor, least: Tensor, effort: Effort) -> ascent.Climb:
    """Goldstein ascent from every point, and another climb from those that it moved, a few times over."""
    # In a corner that every slope points into, and on a plateau, there is nothing to look for.
    rows = (~flat & (ascent.feasible(climb.point, climb.gradient) != 0).any(-1)).nonzero().flatten()
    radius = torch.full_like(climb.value, 2 * effort.radius)
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
            radius=radius[rows],
            rounds=_TRIALS * (surface.size + 2),
            least=4 * torch.finfo(here.value.dtype).eps * here.value.abs(),
            seed=effort.seed + turn,
        )
        moved = ended.value > here.value
        # What is stationary at one radius is looked at with a smaller one.
        radius[rows[~moved]] /= _CLOSER
        again = rows[moved]
        on = ascent.begin(surface, here.state[moved], ended.point[moved], 2 * effort.radius * surface.size**0.5)
        going = torch.ones(len(again), dtype=torch.bool)
        for _ in range(effort.steps // 3):
            if not _step(surface, on, going, least[again]):
                break
        climb.put(again, on)
        rows = rows[radius[rows] > effort.radius / _CLOSER**2]
    return _top(surface, climb, flat, effort)


def _top(surface: Surface, climb: ascent.Climb, flat: Tensor, effort: Effort) -> ascent.Climb:
    """The last digits on smooth tops, where steps by the slopes' secant rise less than a step is asked to rise."""
    slope = ascent.feasible(climb.point, climb.gradient)
    rows = (~flat & (slope != 0).any(-1)).nonzero().flatten()
    last = climb.take(rows)
    last.direction, last.step = last.gradient.clone(), torch.full_like(last.value, effort.radius / _CLOSER)
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
        _highest(climb.state, climb.value, surface.states) + _highest(climb.state, -climb.value, surface.states)
    )
    fall = ascent.Climb(fall.state, fall.point, -fall.value, -fall.gradient, -fall.direction, fall.step)
    for _ in range(_DESCENT):
        rows = (~ascent.resting(fall, 0.0, level[fall.state])).nonzero().flatten()
        fall.put(rows, ascent.advance(down, fall.take(rows), _LONGEST * surface.size**0.5))
    surface.evaluations += down.evaluations
    return -fall.value.reshape(surface.states, -1).amax(-1)


def _meet(surface: Surface, climb: ascent.Climb, owner: Tensor, going: Tensor, radius: float) -> None:
    """Let points that have met climb as one; ``owner`` and ``going`` change in place."""
    rows = going.nonzero().flatten()
    here = climb.take(rows)
    leader = torch.arange(len(owner))
    leader[rows] = rows[merging.nearby(here.state, here.point, here.value, here.gradient, surface.states, radius)]
    owner.copy_(leader[owner])
    going &= leader == torch.arange(len(owner))


def merge(surface: Surface, climb: ascent.Climb, tolerance: Tensor) -> tuple[Tensor, Tensor]:
    """Peak and persistence of every row; gradients are spent on raising the paths that decide."""
    state, point, value = climb.state, climb.point, climb.value
    pairs = merging.edges(state, point, value, surface.states)
    height = merging.passes(surface, state, point, value, pairs)
    some = merging.promising(value, pairs, height, len(state))
    # Two peaks that a straight path joins already need no better one.
    some = some[value[pairs[some]].amin(-1) - height[some] > tolerance[state[pairs[some, 0]]]]
    if surface.size == 1:
        height[some] = merging.passes(surface, state, point, value, pairs[some], looks=4)
    height[some] = merging.raise_passes(surface, state, point, value, pairs[some], height[some])
    tree = merging.spanning(pairs, height, len(state))
    return merging.elder(state, value, pairs[tree], height[tree], tolerance)
