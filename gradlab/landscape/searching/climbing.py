"""The climb from the starts, most of which follow another one on the same hill."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.landscape.searching import ascent, linking, merging
from gradlab.landscape.surface import Surface

#: The longest step, as a share of the unit box's diagonal; steps between two looks for points that have met.
LONGEST, _LOOK = 0.2, 4
#: Steps before which points are linked to higher ones, and the least cosine between the slope and the way there: far
#: below their tops, only straight ahead is surely the same hill. Not on a line, where meeting is enough.
_LINKS = {2: 0.8, 3: 0.8, 4: 0.7, 8: 0.3, 14: 0.0, 24: 0.0}
#: Last step whose places are kept to be linked to; a cosine that every way has.
_TRAIL, _ANY = 8, -2.0


def climb_all(
    surface: Surface,
    climb: ascent.Climb,
    lowest: Tensor,
    value_range: Tensor | None,
    *,
    starts: int,
    steps: int,
    tolerance: float,
    radius: float,
) -> Tensor:
    """Climb, in place; the row that each start ends as, [N].

    Most starts need not climb far: they are linked to a higher place on the same hill, where another one is or was.
    The known points, after each state's ``starts``, always climb; only their ends are linked.
    """
    owner = torch.arange(len(climb.state))
    going = torch.ones(len(climb.state), dtype=torch.bool)
    free = owner % (len(owner) // surface.states) < starts
    trail: list[tuple[Tensor, ascent.Climb]] = []

    def link(rows: Tensor, uphill: float) -> None:
        span = highest_of(climb.state, climb.value, surface.states) - lowest if value_range is None else value_range
        _link(surface, climb, owner, going, rows, trail, (tolerance * span).expand(surface.states), uphill)

    for step in range(steps):
        if step % _LOOK == 0:
            least = _least(lowest, climb)[climb.state]
        if step in _LINKS and surface.size > 1:
            link(going & free, _LINKS[step])
        elif step % _LOOK == 0:
            _meet(surface, climb, owner, going, radius)
        if step <= _TRAIL and surface.size > 1:
            rows = going.nonzero().flatten()
            trail.append((rows, climb.take(rows)))
        if not _step(surface, climb, going, least):
            break
    _meet(surface, climb, owner, going, radius)
    if surface.size > 1:
        # Of ends that a straight path joins one is enough; whether level ones are plateaus is not known yet.
        going &= (climb.gradient != 0).any(-1)
        trail.clear()
        link(going, _ANY)
    return owner


def _link(
    surface: Surface,
    climb: ascent.Climb,
    owner: Tensor,
    going: Tensor,
    asked: Tensor,
    trail: list[tuple[Tensor, ascent.Climb]],
    allowed: Tensor,
    uphill: float,
) -> None:
    """Let points on the hill of a higher one follow it; ``owner`` and ``going`` change in place.

    Those of ``asked`` [N] follow a going one, or one that was at a place of the ``trail``, by rows and places, at an
    earlier step; ``allowed`` [S] is the dip on the way.
    """
    rows = torch.cat([asked.nonzero().flatten(), (going & ~asked).nonzero().flatten()])
    asking = int(asked.sum())
    places = [climb.take(rows), *(place for _, place in trail)]
    rows = torch.cat([rows, *(one for one, _ in trail)])
    there = ascent.Climb(*(torch.cat(parts) for parts in zip(*(vars(one).values() for one in places), strict=True)))
    target = linking.targets(there, asking, surface.states, uphill)
    start = (target != torch.arange(asking)).nonzero().flatten()
    end = target[start]
    linked = linking.link(surface, there.take(start), there.take(end), allowed[there.state[start]])
    leader = torch.arange(len(owner))
    leader[rows[start[linked]]] = owner[rows[end[linked]]]
    leader = linking.roots(leader)
    owner.copy_(leader[owner])
    going &= leader == torch.arange(len(owner))


def highest_of(state: Tensor, value: Tensor, states: int) -> Tensor:
    """The highest value of each state's rows, [S]."""
    return torch.full((states,), -torch.inf, dtype=value.dtype).scatter_reduce(0, state, value, "amax")


def _least(lowest: Tensor, climb: ascent.Climb) -> Tensor:
    """Rise per step, [S], that is lost in the rounding of the range seen so far."""
    highest = highest_of(climb.state, climb.value, len(lowest))
    return 64 * torch.finfo(lowest.dtype).eps * (highest - lowest)


def _step(surface: Surface, climb: ascent.Climb, going: Tensor, least: Tensor) -> bool:
    """One trial step, in place, of the points that are going and not resting; False when there are none."""
    shortest = torch.finfo(least.dtype).eps ** 0.5 / 4
    rows = (going & ~ascent.resting(climb, shortest, least)).nonzero().flatten()
    if len(rows):
        climb.put(rows, ascent.advance(surface, climb.take(rows), LONGEST * surface.size**0.5))
    return len(rows) > 0


def _meet(surface: Surface, climb: ascent.Climb, owner: Tensor, going: Tensor, radius: float) -> None:
    """Let points that have met climb as one; ``owner`` and ``going`` change in place."""
    rows = going.nonzero().flatten()
    here = climb.take(rows)
    leader = torch.arange(len(owner))
    leader[rows] = rows[merging.nearby(here.state, here.point, here.value, here.gradient, surface.states, radius)]
    owner.copy_(leader[owner])
    going &= leader == torch.arange(len(owner))
