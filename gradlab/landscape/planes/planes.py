"""Planes of actions to cut a landscape along: where they lie, and what determines their directions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.landscape.entrance import measured_agent, random_source
from gradlab.landscape.planes.action_fields import plane_axes
from gradlab.landscape.planes.plane_geometry import frame, inward
from gradlab.landscape.surface import check_critic

#: A coordinate within this share of the box's width of a face counts as saturated.
SATURATED = 1e-2


@dataclass(frozen=True)
class Plane:
    """A plane of actions at each of S states: the actions origin + x·u + y·v, or a line where there is one action.

    Attributes:
        origin: where x = y = 0, [S, p], in the critic's action units.
        directions: the unit vectors u and v, orthogonal, [S, 2, p]; [S, 1, 1] with one action coordinate.
        axes: what x and y are, in words.
        kind: how the plane was chosen, in words.
        marks: points worth marking by name, [S, p] each; NaN where a state has none.
        determined: whether each direction is what ``axes`` says, [S, 2]; where too few points or free coordinates
            determine it, it is random. All by default.
        curvature: second derivative of Q along each direction, [S, 2], where the plane was chosen by it.
    """

    origin: Tensor
    directions: Tensor
    axes: tuple[str, ...] = ("x", "y")
    kind: str = "given"
    marks: dict[str, Tensor] = field(default_factory=dict)
    determined: Tensor | None = None
    curvature: Tensor | None = None


def coordinate_plane(agent: Agent, obs: Any, pair: tuple[int, int] = (0, 1)) -> Plane:
    """The plane of two action coordinates through the actor's action; x and y are the actions themselves.

    Args:
        agent: the agent.
        obs: observations [S, n].
        pair: the coordinates along x and y.

    Raises:
        GradlabError: the pair does not exist.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 3), [lambda obs, act: act.sum(-1)], [-1.0] * 3, [1.0] * 3)
        >>> plane = coordinate_plane(agent, torch.zeros(1, 1), (2, 0))
        >>> plane.axes, plane.directions[0].tolist()
        (('action 3', 'action 1'), [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    """
    agent = measured_agent(agent)
    check_critic(agent, None)
    axes = plane_axes(agent, pair)
    actor = actors_action(agent, obs)
    directions = torch.eye(agent.action_size, dtype=actor.dtype, device=actor.device)[axes]
    origin = actor.clone()
    origin[:, axes] = 0.0
    words = tuple(f"action {axis + 1}" for axis in axes)
    return Plane(origin, directions.expand(len(actor), -1, -1), words, "action coordinates", {"actor": actor})


def random_plane(agent: Agent, obs: Any, *, generator: torch.Generator | None = None) -> Plane:
    """A plane through the actor's action along two random orthonormal directions, others at every state.

    Where the actor is within 1 % of the width of a face, the directions drawn are turned inwards in that coordinate,
    before they are made orthogonal: the plane would meet the box in hardly more than the actor's action otherwise,
    most of the time (a plane through a corner of a box of p dimensions enters it with chance p·2^(1−p)).

    Args:
        agent: the agent.
        obs: observations [S, n].
        generator: of the directions; one with seed 0 when None.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 5), [lambda obs, act: act.sum(-1)], [-1.0] * 5, [1.0] * 5)
        >>> u, v = random_plane(agent, torch.zeros(1, 1)).directions[0]
        >>> round(float(u @ u), 6), round(abs(float(u @ v)), 6)
        (1.0, 0.0)
    """
    agent = measured_agent(agent)
    check_critic(agent, None)
    actor = actors_action(agent, obs)
    states, size = actor.shape
    if size == 1:
        return coordinate_plane(agent, obs)
    drawn = normal_pair(states, size, generator).to(actor)
    drawn = inward(drawn, actor, agent.action_low.double(), agent.action_high.double(), SATURATED)
    directions, _ = frame(torch.zeros_like(drawn), drawn, 0.0)
    words = ("first random direction", "second random direction")
    return Plane(actor, directions, words, "random directions", {"actor": actor})


def actors_action(agent: Agent, obs: Any) -> Tensor:
    """The action without exploration, [S, p], float64."""
    with torch.no_grad():
        return agent.action(agent.observations(obs)).double().detach()


def normal_pair(states: int, size: int, generator: torch.Generator | None) -> Tensor:
    """Two normal vectors a state, [S, 2, p], float64."""
    generator = random_source(generator)
    return torch.randn(states, 2, size, generator=generator, device=generator.device, dtype=torch.float64)
