"""Q and its gradient over two action coordinates through the actor's action, as the dashboard draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import shown as printed
from gradlab.arguments import whole_number
from gradlab.errors import GradlabError
from gradlab.landscape.entrance import measured_agent
from gradlab.landscape.planes.shown import shown_critics, values, values_and_gradients


def field(
    agent: Agent,
    obs: Any,
    *,
    plane: tuple[int, int] = (0, 1),
    resolution: int = 41,
    arrows: int = 21,
    critics: Sequence[int | str] | None = None,
) -> xr.Dataset:
    """Q over a plane of actions through the actor's action, and the gradient's arrows in it.

    The other action coordinates stay at the actor's. With one action coordinate the plane is a line, and the
    dimensions ``y`` and ``arrow_y`` are absent. Where the arrows' points are some of Q's, as with 41 and 21, every
    point is evaluated once.

    Args:
        agent: the agent.
        obs: observations [S, n].
        plane: indices of the action coordinates along x and y.
        resolution: points along each side for Q.
        arrows: points along each side for the gradient; gradients cost more and are drawn sparser.
        critics: indices of the critics to show; all by default. What the actor follows is added to all of them when
            it is made of several: their ``min``, ``mean`` or ``truncated`` mean. ``"followed"``, ``"min"`` and
            ``"mean"`` may be named too.

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
    agent = measured_agent(agent)
    shown = shown_critics(agent, critics)
    states = agent.observations(obs)
    axes = plane_axes(agent, plane)
    resolution, arrows = whole_number("resolution", resolution, 2), whole_number("arrows", arrows, 2)
    with torch.no_grad():
        actor = agent.action(states).detach()
    fine = [_side(agent, axis, resolution) for axis in axes]
    stride, remainder = divmod(resolution - 1, arrows - 1)
    shared = remainder == 0
    coarse = [side[::stride] for side in fine] if shared else [_side(agent, axis, arrows) for axis in axes]

    q, gradient = _picture(agent, states, actor, axes, fine, shown, stride if shared else 0)
    if not shared:
        _, gradient = _picture(agent, states, actor, axes, coarse, shown, 1)
    names = ["x", "y"][: len(axes)]
    spatial = names[::-1]  # rows of a picture are y
    coords: dict[str, Any] = {"critic": [one.label for one in shown]}
    for name, side, sparse in zip(names, fine, coarse, strict=True):
        coords[name] = side.cpu().numpy()
        coords[f"arrow_{name}"] = sparse.cpu().numpy()
    return xr.Dataset(
        {
            "q": (("critic", "state", *spatial), _array(q, len(axes))),
            "gradient": (
                ("critic", "state", *(f"arrow_{name}" for name in spatial), "component"),
                _array(gradient, len(axes)),
            ),
            "actor": (("state", "action"), actor.cpu().numpy()),
        },
        coords=coords,
        attrs={"plane": axes},
    )


def plane_axes(agent: Agent, plane: Any) -> list[int]:
    """The checked coordinates of a plane of actions; [0] where there is but one."""
    if agent.action_size == 1:
        return [0]
    pair = list(plane) if isinstance(plane, Sequence) and not isinstance(plane, str) else []
    whole = [axis for axis in pair if isinstance(axis, (int, np.integer)) and 0 <= axis < agent.action_size]
    if len(pair) != 2 or len(set(whole)) != 2:
        raise GradlabError(
            f"plane: {printed(plane)}; expected two different action coordinates of 0 to {agent.action_size - 1}"
        )
    return [int(axis) for axis in pair]


def _side(agent: Agent, axis: int, count: int) -> Tensor:
    low, high = float(agent.action_low[axis]), float(agent.action_high[axis])
    return torch.linspace(low, high, count, dtype=agent.dtype, device=agent.device)


def _picture(
    agent: Agent, obs: Tensor, actor: Tensor, axes: list[int], sides: list[Tensor], shown: Any, stride: int
) -> tuple[Tensor, Tensor]:
    """Q [pictures, (y,) x, S] and the gradient's components [pictures, (y,) x, S, axes] at every ``stride``-th point.

    No gradient is taken for a stride of 0.
    """
    grid = torch.meshgrid(*sides[::-1], indexing="ij")
    actions = actor.repeat(*grid[0].shape, 1, 1)
    for axis, side in zip(axes[::-1], grid, strict=True):
        actions[..., axis] = side[..., None]
    marked = torch.zeros(grid[0].shape, dtype=torch.bool, device=actor.device)
    if stride:
        marked[(slice(None, None, stride),) * len(sides)] = True

    def rows(which: Tensor) -> tuple[Tensor, Tensor]:
        act = actions[which]
        return obs.expand(len(act), *obs.shape).reshape(-1, obs.shape[-1]), act.reshape(-1, act.shape[-1])

    q = actions.new_empty(len(shown), *actions.shape[:-1])
    gradient = actions.new_empty(0)
    if stride:
        at_arrows, slopes = values_and_gradients(agent, *rows(marked), shown)
        q[:, marked] = at_arrows.reshape(len(shown), -1, len(obs)).to(q)
        count = [len(side[::stride]) for side in sides]
        gradient = slopes[..., axes].reshape(len(shown), *count[::-1], len(obs), len(axes))
    if not bool(marked.all()):
        q[:, ~marked] = values(agent, *rows(~marked), shown).reshape(len(shown), -1, len(obs)).to(q)
    return q, gradient


def _array(part: Tensor, axes: int) -> np.ndarray[Any, Any]:
    """[pictures, (y,) x, S, ...] → [pictures, S, (y,) x, ...]."""
    return part.movedim(1 + axes, 1).cpu().numpy()
