"""The path of ascent, ready to draw."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor, whole_number
from gradlab.errors import GradlabError
from gradlab.landscape.entrance import measured_agent
from gradlab.landscape.searching import ascent
from gradlab.landscape.surface import agent_surface


def ascent_path(
    agent: Agent, obs: Any, start: Tensor | None = None, *, steps: int = 30, critic: int | None = None
) -> Tensor:
    """The way up Q(s, ·) from ``start`` by projected gradient ascent that follows kinks.

    Args:
        agent: the agent.
        obs: observations [B, n].
        start: where to begin, [B, p], in the critic's action units; the actor's action by default. Points outside
            the box begin on its nearest face.
        steps: number of points; the first is the start. A point repeats where a trial step failed or the top is
            reached.
        critic: index of one critic instead of the one the actor follows.

    Returns:
        Actions [steps, B, p]; Q never falls along a path.

    Raises:
        GradlabError: ``steps`` is below one or ``start`` is not [B, p].

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 1), [lambda obs, act: -(act - 0.5).abs().sum(-1)], [-1.0], [1.0])
        >>> ascent_path(agent, torch.zeros(1, 1), torch.tensor([[-1.0]]))[-1].round(decimals=3)
        tensor([[0.5000]])
    """
    agent = measured_agent(agent)
    states = agent.observations(obs)
    surface = agent_surface(agent, states, critic)
    steps = whole_number("steps", steps, 1)
    with torch.no_grad():
        begin = (agent.action(states) if start is None else real_tensor("start", start).to(states)).detach()
    if begin.shape != (len(states), surface.size):
        raise GradlabError(f"start: shape {tuple(begin.shape)}; expected {(len(states), surface.size)}")
    diagonal = surface.size**0.5
    climb = ascent.begin(surface, torch.arange(len(states)), surface.unit(begin.cpu()), 0.03 * diagonal)
    path = [climb.point]
    for _ in range(steps - 1):
        climb = ascent.advance(surface, climb, 0.06 * diagonal)
        path.append(climb.point)
    return surface.actions(torch.stack(path)).to(states.device)
