"""M, μ and M/μ over a plane of actions or of states, as labelled datasets ready to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor, shown
from gradlab.curvature.measured import Sensitivity, of_derivatives
from gradlab.curvature.sensitivity import At, as_measured, sensitivity
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.hessians.at_actions import second_derivatives
from gradlab.hessians.differences import feature_scale
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.planes.over_states import gradient_field_over_states
from gradlab.landscape.planes.planes import Plane
from gradlab.landscape.planes.slices import slice_plane
from gradlab.landscape.planes.state_planes import StatePlane

_UNITS = {
    "mixed_partial": "return per action unit and observation unit",
    "mixed_frobenius": "return per action unit and observation unit",
    "curvature": "return per action unit squared",
    "ratio": "action units per observation unit",
    "valid": "",
}


def curvature_field(
    agent: Agent,
    obs: Any,
    plane: tuple[int, int] | LocalOptima | Plane = (0, 1),
    scale: float | None = None,
    *,
    critic: int | None = None,
    resolution: int = 50,
    window: Sequence[tuple[float, float]] | None = None,
    obs_scale: Any = None,
) -> xr.Dataset:
    """The critic's second derivatives at the actions of a plane through the box, at many states.

    Args:
        agent: the agent.
        obs: observations [S, n].
        plane: as in ``slice_plane``: two action coordinates, the optima found at these states, or a ``Plane``.
        scale: None for exact second derivatives, otherwise the step of central differences of ∇_a Q in action units;
            near a face of the box these ask the critic for actions outside of it.
        critic: index of one critic instead of the one the actor follows.
        resolution: points along each side.
        window: as in ``slice_plane``.
        obs_scale: as in ``sensitivity``; by default from the states given, so give it where there is only one.

    Returns:
        What ``slice_plane`` has of the critic's values, and (state, y, x): ``mixed_partial`` M = ‖∇²_as Q‖₂,
        ``mixed_frobenius``, ``curvature`` μ = −λ_max(∇²_aa Q), ``ratio`` M/μ (NaN where μ is not positive) and
        ``valid``, whether ∇²_aa Q is negative definite. NaN outside the box.

    Raises:
        GradlabError: as ``slice_plane`` and ``sensitivity`` do.

    Example:
        >>> q = lambda obs, act: (act[:, 0] ** 3 * obs[:, 0] - act.square().sum(-1))
        >>> agent = Agent(torch.nn.Linear(1, 2), [q], [-1.0, -1.0], [1.0, 1.0])
        >>> found = curvature_field(agent, torch.ones(1, 1), resolution=5).isel(state=0)
        >>> found.mixed_partial.values[0].tolist(), found.curvature.values[0].tolist()
        ([3.0, 0.75, 0.0, 0.75, 3.0], [2.0, 2.0, 2.0, -1.0, -4.0])
    """
    agent = in_evaluation(agent)
    states = agent.observations(obs)
    which = "followed" if critic is None else critic
    picture = slice_plane(agent, states, plane, resolution=resolution, gradient=False, window=window, critics=[which])
    inside = torch.tensor(picture["inside"].values)
    dims = picture["inside"].dims
    place = torch.stack(
        torch.meshgrid(*(torch.tensor(picture[name].values) for name in dims[1:]), indexing="ij")[::-1], -1
    )
    origin, direction = (torch.tensor(picture[name].values) for name in ("origin", "direction"))
    act = torch.einsum("...d,sdp->s...p", place, direction) + origin.reshape(len(origin), *[1] * (inside.ndim - 1), -1)
    rows = act[inside].to(agent.action_low).clamp(agent.action_low, agent.action_high)
    where = states[inside.nonzero()[:, 0].to(states.device)]
    # The rows repeat the states: steps in the features are by how the states themselves vary.
    steps = feature_scale(states.double()) if obs_scale is None else obs_scale
    # Without the actor's Jacobian, which is the same at every action, and takes as long as the rest.
    measured, at = as_measured(agent, where, scale)
    derivatives = second_derivatives(measured, at, rows.to(at), scale, critic=critic, obs_scale=steps)
    inner = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    found = of_derivatives(derivatives, None, rows, inner, scale=scale)
    return picture.assign({name: (dims, _whole(part, inside), _units(name)) for name, part in _parts(found).items()})


def curvature_field_over_states(
    agent: Agent,
    states: StatePlane,
    scale: float | None = None,
    *,
    act: At | Any = None,
    critic: int | None = None,
    obs_scale: Any = None,
) -> xr.Dataset:
    """The critic's second derivatives over a plane of states, at the actor's action, at its optimum, or at one action.

    Where M is large beside μ the actor is told to move its action fast with the state: spikes of ``ratio`` are where
    a policy that follows this critic is rough (PAVE, arXiv 2601.22970).

    Args:
        agent: the agent.
        states: a plane from ``state_plane``.
        scale: None for exact second derivatives, otherwise the step of central differences of ∇_a Q.
        act: ``"actor"`` (None), ``"optimum"``, one action [p], or one a state [rows·columns, p].
        critic: index of one critic instead of the one the actor follows.
        obs_scale: step in each observation feature relative to ``scale``, [n]; by default from the plane's states.

    Returns:
        What ``gradient_field_over_states`` has at the same actions, and (y, x): ``mixed_partial``,
        ``mixed_frobenius``, ``curvature``, ``ratio``, ``valid`` and ``policy_jacobian``.

    Raises:
        GradlabError: as these do.

    Example:
        >>> from gradlab.landscape import state_plane
        >>> q = lambda obs, act: (act[:, 0] * obs[:, 0] ** 2 - act.square().sum(-1))
        >>> agent = Agent(torch.nn.Linear(2, 1), [q], [-1.0], [1.0])
        >>> plane = state_plane([0.0, 0.0], (0, 1), x=(0.0, 2.0), y=(0.0, 1.0), resolution=3)
        >>> curvature_field_over_states(agent, plane).ratio.values[0].tolist()
        [0.0, 1.0, 2.0]
    """
    if not isinstance(states, StatePlane):
        raise GradlabError(f"states: {shown(states)}; give a plane from gradlab.landscape.state_plane")
    agent = in_evaluation(agent)
    obs = agent.observations(states.observations())
    given = act
    if act is not None and not isinstance(act, str):
        given = real_tensor("act", act).detach().to(obs)
        given = given.expand(len(obs), -1) if given.ndim == 1 else given
    found = sensitivity(agent, obs, scale, act=given, critic=critic, obs_scale=obs_scale)
    which = "followed" if critic is None else critic
    at = None if found.at == "actor" else found.actions.to(obs)
    field = gradient_field_over_states(agent, states, at, critics=[which])
    grid = (len(states.y), len(states.x))
    parts = {**_parts(found), "policy_jacobian": found.policy_jacobian}
    return field.assign(
        {name: (("y", "x"), part.reshape(grid).cpu().numpy(), _units(name)) for name, part in parts.items()}
    )


def _parts(found: Sensitivity) -> dict[str, Tensor]:
    return {name: getattr(found, name) for name in _UNITS}


def _units(name: str) -> dict[str, str]:
    return {"units": _UNITS.get(name, "action units per observation unit")}


def _whole(part: Tensor, inside: Tensor) -> Any:
    """[N] → the whole grid; outside the box NaN, or false of what is true or false."""
    full = torch.full(inside.shape, False if part.dtype == torch.bool else math.nan, dtype=part.dtype)
    full[inside] = part.cpu()
    return full.numpy()
