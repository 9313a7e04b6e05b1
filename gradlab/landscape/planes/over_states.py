"""The Q-gradient field over states: ∇_a Q on a plane of observations, or along a trajectory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor, shown
from gradlab.errors import GradlabError
from gradlab.landscape.entrance import measured_agent
from gradlab.landscape.planes.shown import shown_critics, values_and_gradients
from gradlab.landscape.planes.state_planes import StatePlane

_UNITS = {
    "q": "return",
    "gradient": "return per action unit",
    "norm": "return per action unit",
    "change": "return per action unit",
    "volatility": "return per action unit and observation unit",
    "angle": "radians",
    "action": "critic's action units",
    "distance": "observation units",
}


def gradient_field_over_states(
    agent: Agent,
    states: StatePlane | Any,
    act: Any = None,
    *,
    critics: Sequence[int | str] | None = None,
    steps: Any = None,
    episodes: Any = None,
) -> xr.Dataset:
    """∇_a Q over a plane of states, or along a trajectory, at the actor's action or at a fixed one.

    An actor is trained along this field, so that where it turns or jumps between states that are near, the actor is
    told to be rough (PAVE, arXiv 2601.22970, calls it the field's volatility). At a fixed action the change with the
    state is the critic's alone; at the actor's it is that of the critic and the actor together.

    Args:
        agent: the agent.
        states: a plane from ``state_plane``, or observations in the order they were visited, [T, n].
        act: None for the actor's action at each state; one action [p] for all states; or one a state, [T, p].
        critics: indices of critics, ``"followed"``, ``"min"``, ``"mean"``; by default every critic, and the value that
            the actor follows where it is made of several.
        steps: labels of a trajectory's steps, [T]; 0, 1, … by default.
        episodes: which episode each step of a trajectory belongs to, [T]; nothing is compared across their borders.

    Returns:
        A dataset in the model's dtype.

        Along a trajectory: ``q`` (critic, step), ``gradient`` (critic, step, component), ``norm`` = ‖g_t‖, and from
        each step to the next, NaN where there is none: ``angle`` between g_t and g_{t+1} in radians (NaN where one is
        zero), ``change`` = ‖g_{t+1} − g_t‖, and ``volatility`` = change / ‖s_{t+1} − s_t‖ (NaN where the state did not
        change); ``distance`` (step) is that of the states; ``action`` (step, component), and ``episode`` (step) where
        it was given. ``gradient_volatility`` has their means.

        On a plane: ``q`` (critic, y, x), ``gradient`` (critic, y, x, component), ``norm``, ``action`` (y, x,
        component), and ``volatility`` = ‖∂g/∂(x, y)‖_F by differences at the grid's spacing (central inside, one-sided
        on the border); coordinates ``x`` and ``y`` in the observation's units, ``origin`` and ``direction`` of the
        plane, and ``place`` of the state that it passes through.

    Raises:
        GradlabError: shapes do not fit, an action is outside the box, or Q is finite nowhere.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 1), [lambda obs, act: -(act - obs).square().sum(-1)], [-1.0], [1.0])
        >>> along = gradient_field_over_states(agent, [[0.25], [0.5], [-1.0]], act=[0.0])
        >>> along.gradient.values.ravel().tolist(), along.volatility.values.ravel().tolist()
        ([0.5, 1.0, -2.0], [2.0, 2.0, nan])
    """
    agent = measured_agent(agent)
    shown = shown_critics(agent, critics)
    on_plane = isinstance(states, StatePlane)
    obs = agent.observations(states.observations() if on_plane else states)
    action = _actions(agent, obs, act)
    q, gradient = values_and_gradients(agent, obs, action, shown)
    if not bool(torch.isfinite(q).any()):
        raise GradlabError("critic: NaN or infinite at every state; has it diverged?")
    labels = {"critic": [one.label for one in shown]}
    if on_plane:
        if steps is not None or episodes is not None:
            raise GradlabError("steps and episodes: only a trajectory has them; leave them out for a plane")
        return _on_plane(states, q, gradient, action, labels)
    member = _per_step("episodes", episodes, len(obs))
    ticks = _per_step("steps", steps, len(obs))
    return _along(obs, q, gradient, action, member, ticks, labels)


def angles(one: Tensor, two: Tensor) -> Tensor:
    """The angle between vectors [..., p] in radians, [...]; NaN where one is zero.

    2·atan2(‖û − v̂‖, ‖û + v̂‖) keeps its digits near 0 and π, where the arc cosine loses half of them (W. Kahan, *How
    futile are mindless assessments of roundoff*, 2006, section 12).

    Example:
        >>> angles(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1e-6])).item()
        9.999999974752427e-07
    """
    one, two = (part / part.norm(dim=-1, keepdim=True) for part in (one, two))
    return 2 * torch.atan2((one - two).norm(dim=-1), (one + two).norm(dim=-1))


def _actions(agent: Agent, obs: Tensor, act: Any) -> Tensor:
    if act is None:
        with torch.no_grad():
            return agent.action(obs).detach()
    given = real_tensor("act", act).detach().to(obs)
    if given.shape not in ((agent.action_size,), (len(obs), agent.action_size)):
        raise GradlabError(
            f"act: shape {tuple(given.shape)}; give one action ({agent.action_size},) or one a state "
            f"{(len(obs), agent.action_size)}"
        )
    # NaN must fail too.
    if not bool(((given >= agent.action_low) & (given <= agent.action_high)).all()):
        raise GradlabError("act: outside of the action box or not finite; give actions in the critic's coordinates")
    return given.expand(len(obs), -1)


def _per_step(name: str, labels: Any, count: int) -> np.ndarray[Any, Any] | None:
    if labels is None:
        return None
    try:
        found = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    except (TypeError, ValueError, RuntimeError):
        raise GradlabError(f"{name}: {shown(labels)}; give one a step, [T]") from None
    if found.shape != (count,):
        raise GradlabError(f"{name}: shape {found.shape} for {count} steps; give one each")
    return found


def _along(
    obs: Tensor,
    q: Tensor,
    gradient: Tensor,
    action: Tensor,
    member: np.ndarray[Any, Any] | None,
    ticks: np.ndarray[Any, Any] | None,
    labels: dict[str, Any],
) -> xr.Dataset:
    g, s = gradient.double(), obs.double()
    change, distance = g.diff(dim=1).norm(dim=-1), s.diff(dim=0).norm(dim=-1)
    apart = torch.zeros(len(distance), dtype=torch.bool)
    if member is not None:
        apart = torch.as_tensor(member[1:] != member[:-1])
    apart = apart.to(distance.device)
    moved = torch.where(distance > 0, distance, torch.nan)

    def to_next(part: Tensor) -> Tensor:
        part = part.masked_fill(apart, math.nan)
        return torch.cat([part, part.new_full((*part.shape[:-1], 1), math.nan)], -1)

    dims = ("critic", "step")
    variables: dict[str, Any] = {
        "q": (dims, q),
        "gradient": ((*dims, "component"), gradient),
        "norm": (dims, g.norm(dim=-1)),
        "angle": (dims, to_next(angles(g[:, 1:], g[:, :-1]))),
        "change": (dims, to_next(change)),
        "volatility": (dims, to_next(change / moved)),
        "distance": (("step",), to_next(distance)),
        "action": (("step", "component"), action),
    }
    if member is not None:
        variables["episode"] = (("step",), member)
    coords = {**labels, "step": np.arange(len(obs)) if ticks is None else ticks, "component": _components(action)}
    return _dataset(variables, coords, "trajectory", q.dtype)


def _on_plane(plane: StatePlane, q: Tensor, gradient: Tensor, action: Tensor, labels: dict[str, Any]) -> xr.Dataset:
    grid = (len(plane.y), len(plane.x))
    g = gradient.double().reshape(len(q), *grid, -1)
    slopes = torch.gradient(g, spacing=(plane.y.to(g), plane.x.to(g)), dim=(1, 2))
    dims = ("critic", "y", "x")
    units = {"units": "observation units"}
    place = (plane.state - plane.origin) @ plane.directions.T
    return _dataset(
        {
            "q": (dims, q.reshape(-1, *grid)),
            "gradient": ((*dims, "component"), g),
            "norm": (dims, g.norm(dim=-1)),
            "volatility": (dims, torch.stack(slopes).square().sum((0, -1)).sqrt()),
            "action": (("y", "x", "component"), action.reshape(*grid, -1)),
            "origin": (("feature",), plane.origin, units),
            "direction": (("axis", "feature"), plane.directions),
            "place": (("axis",), place, units),
        },
        {
            **labels,
            "x": (("x",), plane.x, {**units, "long_name": plane.axes[0]}),
            "y": (("y",), plane.y, {**units, "long_name": plane.axes[1]}),
            "axis": ["x", "y"],
            "component": _components(action),
        },
        "plane",
        q.dtype,
    )


def _components(action: Tensor) -> list[str]:
    return [f"action {i + 1}" for i in range(action.shape[-1])]


def _dataset(
    variables: dict[str, tuple[Any, ...]], coords: dict[str, Any], states: str, dtype: torch.dtype
) -> xr.Dataset:
    """Tensors as arrays of the model's dtype, with their units; made at once, for xarray takes longer to change one."""

    def labelled(name: str, dims: tuple[str, ...], values: Any, *attrs: dict[str, str]) -> tuple[Any, ...]:
        if isinstance(values, Tensor):
            values = values.detach().to(dtype).cpu().numpy()
        units = {"units": _UNITS[name]} if name in _UNITS else {}
        return dims, values, {**units, **(attrs[0] if attrs else {})}

    return xr.Dataset(
        {name: labelled(name, *parts) for name, parts in variables.items()},
        coords={name: labelled(name, *parts) if isinstance(parts, tuple) else parts for name, parts in coords.items()},
        attrs={"states": states},
    )
