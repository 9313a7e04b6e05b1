"""Q and its action gradient on a plane of actions, and the path of ascent, ready to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import ascent
from gradlab.landscape.surface import agent_surface, check_critic


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
    states = agent.observations(obs)
    surface = agent_surface(agent, states, critic)
    if steps < 1:
        raise GradlabError(f"steps: {steps}; expected at least one")
    with torch.no_grad():
        begin = agent.action(states) if start is None else torch.as_tensor(start).to(states)
    if begin.shape != (len(states), surface.size):
        raise GradlabError(f"start: shape {tuple(begin.shape)}; expected {(len(states), surface.size)}")
    diagonal = surface.size**0.5
    climb = ascent.begin(surface, torch.arange(len(states)), surface.unit(begin.cpu()), 0.03 * diagonal)
    path = [climb.point]
    for _ in range(steps - 1):
        climb = ascent.advance(surface, climb, 0.06 * diagonal)
        path.append(climb.point)
    return surface.actions(torch.stack(path)).to(states.device)


def field(
    agent: Agent,
    obs: Any,
    *,
    plane: tuple[int, int] = (0, 1),
    resolution: int = 41,
    arrows: int = 21,
    critics: Sequence[int] | None = None,
) -> xr.Dataset:
    """Q over a plane of actions through the actor's action, and the gradient's arrows in it.

    The other action coordinates stay at the actor's. With one action coordinate the plane is a line, and the
    dimensions ``y`` and ``arrow_y`` are absent.

    Args:
        agent: the agent.
        obs: observations [S, n].
        plane: indices of the action coordinates along x and y.
        resolution: points along each side for Q.
        arrows: points along each side for the gradient; gradients cost more and are drawn sparser.
        critics: indices of the critics to show; all by default. What the actor follows is added to all of them when
            it is made of several: their ``min``, ``mean`` or ``truncated`` mean.

    Returns:
        A dataset in the model's dtype with ``q`` (critic, state, y, x), ``gradient`` (critic, state, arrow_y, arrow_x,
        component), the two in-plane components of ∇_a Q, and ``actor`` (state, action). Coordinates ``x``, ``y``,
        ``arrow_x``, ``arrow_y`` are in the critic's action units over the box; ``critic`` is "critic 1", "critic 2", …
        and "followed". ``attrs["plane"]`` holds the indices shown.

    Raises:
        GradlabError: the plane, the resolution or a critic's index does not exist.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 2), [lambda obs, act: -act.square().sum(-1)], [-1.0, -1.0], [1.0, 1.0])
        >>> picture = field(agent, torch.zeros(1, 1), resolution=5, arrows=3)
        >>> dict(picture.q.sizes), picture.gradient.sel(arrow_x=1.0, arrow_y=-1.0).values.ravel().tolist()
        ({'critic': 1, 'state': 1, 'y': 5, 'x': 5}, [-2.0, 2.0])
    """
    check_critic(agent, None)
    states = agent.observations(obs)
    axes = _axes(agent, plane)
    if resolution < 2 or arrows < 2:
        raise GradlabError(f"resolution and arrows: {resolution} and {arrows}; expected at least 2 of each")
    chosen = list(range(len(agent.critics))) if critics is None else list(critics)
    for index in chosen:
        check_critic(agent, index)
    if not chosen:
        raise GradlabError("critics: an empty list; name at least one, or leave it out for all")
    labels = [f"critic {index % len(agent.critics) + 1}" for index in chosen]
    shown: list[int | None] = [*chosen]
    if critics is None and agent.reduction != "first" and len(chosen) > 1:
        labels.append("followed")
        shown.append(None)
    with torch.no_grad():
        actor = agent.action(states)
        fine = _grid(agent, actor, axes, resolution)
        q = torch.stack([agent.q(states, fine, critic=index) for index in shown])
    coarse = _grid(agent, actor, axes, arrows)
    gradient = _gradients(agent, states, coarse, shown)[..., axes]

    names = ["x", "y"][: len(axes)]
    spatial = names[::-1]  # rows of a picture are y

    def picture(part: Tensor, count: int) -> np.ndarray[Any, Any]:
        """[critics, points, states, ...] → [critics, states, (y,) x, ...]."""
        part = part.transpose(1, 2)
        return part.reshape(*part.shape[:2], *[count] * len(axes), *part.shape[3:]).cpu().numpy()

    coords: dict[str, Any] = {"critic": labels}
    for name, axis in zip(names, axes, strict=True):
        coords[name] = _side(agent, axis, resolution).cpu().numpy()
        coords[f"arrow_{name}"] = _side(agent, axis, arrows).cpu().numpy()
    return xr.Dataset(
        {
            "q": (("critic", "state", *spatial), picture(q, resolution)),
            "gradient": (
                ("critic", "state", *(f"arrow_{name}" for name in spatial), "component"),
                picture(gradient, arrows),
            ),
            "actor": (("state", "action"), actor.cpu().numpy()),
        },
        coords=coords,
        attrs={"plane": axes},
    )


def _axes(agent: Agent, plane: tuple[int, int]) -> list[int]:
    if agent.action_size == 1:
        return [0]
    if len(plane) != 2 or plane[0] == plane[1] or not all(0 <= axis < agent.action_size for axis in plane):
        raise GradlabError(f"plane: {plane}; expected two different action coordinates of 0 to {agent.action_size - 1}")
    return list(plane)


def _side(agent: Agent, axis: int, count: int) -> Tensor:
    low, high = float(agent.action_low[axis]), float(agent.action_high[axis])
    return torch.linspace(low, high, count, dtype=agent.dtype, device=agent.device)


def _grid(agent: Agent, actor: Tensor, axes: list[int], count: int) -> Tensor:
    """Actions [points, S, p] with the plane's coordinates on a grid, y slowest, and the others at the actor's."""
    sides = torch.meshgrid(*[_side(agent, axis, count) for axis in axes[::-1]], indexing="ij")
    actions = actor.repeat(count ** len(axes), 1, 1)
    for axis, side in zip(axes[::-1], sides, strict=True):
        actions[..., axis] = side.reshape(-1, 1)
    return actions


def _gradients(agent: Agent, obs: Tensor, act: Tensor, critics: Sequence[int | None]) -> Tensor:
    """∇_a Q [critics, points, S, p] of each critic, None being what the actor follows."""
    gradients = []
    for index in critics:
        with torch.enable_grad():
            at = act.detach().requires_grad_()
            value = agent.q(obs, at, critic=index)
            gradient = torch.zeros_like(act)
            if value.requires_grad:
                (gradient,) = torch.autograd.grad(value.sum(), at, materialize_grads=True)
        gradients.append(gradient)
    return torch.stack(gradients)
