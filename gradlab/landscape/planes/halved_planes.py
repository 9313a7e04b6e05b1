"""The plane of actions that holds the actor's action and the best optimum, and fills a rectangle of the box."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number
from gradlab.landscape.entrance import given_optima, measured_agent
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.planes.optima_planes import SAME, check_states, two_best
from gradlab.landscape.planes.planes import Plane, actors_action, coordinate_plane
from gradlab.landscape.surface import check_critic


def halved_plane(agent: Agent, obs: Any, optima: LocalOptima, *, threshold: float = 0.01) -> Plane:
    """The plane through the actor's action on which half of the actions go to the best optimum along x, half along y.

    The way d from the actor's action to the best optimum is taken apart, coordinate by coordinate, into two vectors of
    about the same length, by the sizes of |d_i|: first, fourth, fifth, eighth, … along x, the others along y. They have
    no coordinate in common, so that both directions meet faces of the box on their own: what the plane cuts out of the
    box is a rectangle, at whose corners (0, 0) and (‖d_x‖, ‖d_y‖) lie the actor's action and the optimum. The plane
    through two points in corners of a box of many dimensions and a third may meet the box in hardly more than a line.

    Where the actor is at the best optimum, within 0.5 % of the box's diagonal, d is the way to the second best; where
    there is none, or d is along one coordinate alone, coordinates take the place of what is missing, and ``determined``
    says so.

    Args:
        agent: the agent, of at least two action coordinates.
        obs: observations [S, n].
        optima: of the same states, from ``local_optima``.
        threshold: persistence, as a share of the value range, from which an optimum may be the second best.

    Raises:
        GradlabError: the optima are of another number of states or of another box.

    Example:
        >>> from gradlab.landscape import local_optima
        >>> actor = torch.nn.Linear(1, 4)
        >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.constant_(actor.bias, -1.0)
        >>> agent = Agent(actor, [lambda obs, act: act.sum(-1)], [-1.0] * 4, [1.0] * 4)
        >>> plane = halved_plane(agent, torch.zeros(1, 1), local_optima(agent, torch.zeros(1, 1)))
        >>> plane.directions[0].round(decimals=2).tolist()
        [[0.71, 0.0, 0.0, 0.71], [0.0, 0.71, 0.71, 0.0]]
    """
    agent = measured_agent(agent)
    check_critic(agent, None)
    threshold, optima = real_number("threshold", threshold, 0.0), given_optima("optima", optima)
    actor = actors_action(agent, obs)
    check_states(optima, *actor.shape)
    if agent.action_size == 1:
        return coordinate_plane(agent, obs)
    low, high = agent.action_low.double(), agent.action_high.double()
    actor = actor.clamp(low, high)
    best, second = (point.to(actor) for point in two_best(optima, threshold))
    least = SAME * float((high - low).norm())
    way = best - actor
    there = way.norm(dim=-1, keepdim=True) > least
    way = torch.where(there, way, torch.nan_to_num(second - actor))
    way = torch.where(way.norm(dim=-1, keepdim=True) > least, way, 0.0)

    # Where nothing leads anywhere, equal sizes leave the coordinates in their order.
    order = (way / (high - low)).abs().argsort(dim=-1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(actor.shape[1]).to(order).expand_as(order))
    along_x = ((rank + 1) // 2) % 2 == 0
    halves = torch.stack([torch.where(along_x, way, 0.0), torch.where(along_x, 0.0, way)], 1)
    length = halves.norm(dim=-1, keepdim=True)
    determined = length > least
    single = torch.nn.functional.one_hot(order[:, :2], actor.shape[1]).to(actor)
    inwards = torch.where(actor > (low + high) / 2, -1.0, 1.0)[:, None] * single
    directions = torch.where(determined, halves / length.clamp_min(1e-300), inwards)
    words = ("one half of the actions, to the best optimum", "the other half of them, to the best optimum")
    marks = {"actor": actor, "best optimum": best, "second best": second}
    return Plane(actor, directions, words, "through actor and best optimum", marks, determined.squeeze(-1))


def moved_actions(direction: Tensor) -> str:
    """Which actions a direction [p] moves, in words.

    Example:
        >>> moved_actions(torch.tensor([0.6, 0.0, -0.8])), moved_actions(torch.tensor([0.0, 1.0, 0.0]))
        ('actions 1 and 3', 'action 2')
    """
    numbers = [str(index + 1) for index in (direction.abs() > 1e-6).nonzero().flatten().tolist()]
    if len(numbers) < 2:
        return f"action {''.join(numbers)}"
    return f"actions {', '.join(numbers[:-1])} and {numbers[-1]}"
