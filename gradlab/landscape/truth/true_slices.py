"""A slice through a critic's landscape beside the same slice through the true Q."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.landscape.entrance import given_optima, measured_agent
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.planes.halved_planes import halved_plane, moved_actions
from gradlab.landscape.planes.slices import slice_plane
from gradlab.references.simulator import SimulatorReference
from gradlab.simulation.states import States

#: How far from the plane an optimum may be, as a share of the box's diagonal, to be marked in it.
_IN_PLANE = 1e-3


def true_slice(
    agent: Agent,
    states: States,
    reference: SimulatorReference,
    optima: LocalOptima,
    *,
    resolution: int = 25,
    threshold: float = 0.01,
) -> xr.Dataset:
    """Q of the critic that the actor follows, and the true Q^π, on one plane of actions at each state.

    With one or two actions the plane is the whole box; with more it is that of ``halved_plane``, a rectangle through
    the actor's action and the best optimum. Every point of it is rolled out, so that the cost is ``resolution``²
    rollouts a state.

    Args:
        agent: the agent.
        states: S states visited by ``reference.simulator``.
        reference: whose ``values`` are the truth.
        optima: of the agent's critic at these states.
        resolution: points along each side.
        threshold: persistence, as a share of the value range, from which an optimum is marked.

    Returns:
        What ``slice_plane`` gives for the followed critic, and

        * ``true`` (state, y, x): Q^π, and ``true_stderr`` likewise; NaN outside of the box.
        * ``actor_place`` (state, component), ``actor_q`` and ``actor_true`` (state): the actor's action in the plane,
          what the critic says of it, and its true value; for a stochastic policy that of its mode.
        * ``optimum_place`` (state, optimum, component), ``optimum_q`` and ``optimum_true`` (state, optimum): optima in
          the plane, the highest first, NaN where there is none.

        ``attrs["objective"]`` is the objective of the true values.

    Raises:
        GradlabError: states, optima and reference do not fit the agent, or an argument is wrong.

    Example:
        >>> from gradlab.landscape import local_optima
        >>> from gradlab.testing.environments import LinearQuadraticEnvironment
        >>> from gradlab.worlds import LinearQuadratic
        >>> world = LinearQuadratic(A=0.5, B=0.5, Q=1.0, R=1.0, gamma=0.9, K=0.1)
        >>> reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world, 2.0), horizon=60)
        >>> agent = world.agent(action_bound=2.0)
        >>> states = reference.simulator.visit(agent, 2, seed=0, episodes=2, max_steps=2)
        >>> picture = true_slice(agent, states, reference, local_optima(agent, states.obs), resolution=5)
        >>> bool(abs(picture.q.isel(critic=0) - picture.true).max() < 1e-4)  # this world's critic is right
        True
    """
    agent = measured_agent(agent)
    obs = agent.observations(states.obs)
    optima = given_optima("optima", optima)
    plane = (0, 1) if agent.action_size <= 2 else halved_plane(agent, obs, optima, threshold=threshold)
    cut = slice_plane(agent, obs, plane, resolution=resolution, critics=["followed"])
    origin, directions = (torch.tensor(cut[name].values).double() for name in ("origin", "direction"))
    count = directions.shape[1]
    sides = [torch.tensor(cut[name].values).double() for name in ("x", "y")[:count]]
    grid = torch.stack(torch.meshgrid(*sides[::-1], indexing="ij")[::-1], -1)
    inside = torch.tensor(cut["inside"].values)
    reached = torch.einsum("...d,sdp->s...p", grid, directions) + origin.reshape(len(states), *[1] * count, -1)
    low, high = agent.action_low.cpu().double(), agent.action_high.cpu().double()
    found = reference.values(agent, states[inside.nonzero()[:, 0]], reached[inside].clamp(low, high))
    spatial = ("state", *["y", "x"][-count:])
    for name, part in (("true", found.mean), ("true_stderr", found.stderr)):
        whole = torch.full(inside.shape, torch.nan, dtype=torch.float64)
        whole[inside] = part.cpu()
        cut[name] = (spatial, whole.numpy())
        cut[name].attrs["units"] = "return"
    if len(states) == 1 and agent.action_size > 2:
        # With several states the words are what is meant, and ``determined`` says where it is so.
        for name, determined, direction in zip("xy", cut["determined"].values[0], directions[0], strict=True):
            moved = moved_actions(direction)
            cut[name].attrs["long_name"] = f"{moved}, to the best" if determined else moved

    with torch.no_grad():
        actor = agent.action(obs).clamp(agent.action_low, agent.action_high)
        actor_q = agent.q(obs, actor).cpu().double()
    actor = actor.cpu().double()
    row, index, at, height = _in_plane(optima, origin, directions, threshold, float((high - low).norm()))
    most = max(1, int(index.max()) + 1 if len(index) else 1)
    marked = reference.values(
        agent, states[torch.cat([torch.arange(len(states)), row])], torch.cat([actor, at])
    ).mean.cpu()

    def table(part: Tensor) -> np.ndarray:
        whole = torch.full((len(states), most, *part.shape[1:]), torch.nan, dtype=torch.float64)
        whole[row, index] = part
        return whole.numpy()

    place = torch.einsum("rp,rdp->rd", at - origin[row], directions[row])
    cut["actor_place"] = (("state", "component"), torch.einsum("sp,sdp->sd", actor - origin, directions).numpy())
    cut["actor_q"] = ("state", actor_q.numpy())
    cut["actor_true"] = ("state", marked[: len(states)].numpy())
    cut["optimum_place"] = (("state", "optimum", "component"), table(place))
    cut["optimum_q"] = (("state", "optimum"), table(height))
    cut["optimum_true"] = (("state", "optimum"), table(marked[len(states) :]))
    cut.attrs["objective"] = str(found.objective)
    return cut


def _in_plane(
    optima: LocalOptima, origin: Tensor, directions: Tensor, threshold: float, diagonal: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """State [R], place among the marked of its state [R], action [R, p] and value [R] of the optima in the plane."""
    counts = torch.tensor([len(v) for v in optima.values])
    state = torch.arange(len(counts)).repeat_interleave(counts)
    actions, values, persistence = (
        torch.cat(part).cpu().double() for part in (optima.actions, optima.values, optima.persistence)
    )
    offset = actions - origin[state]
    along = torch.einsum("rp,rdp->rd", offset, directions[state])
    away = (offset - torch.einsum("rd,rdp->rp", along, directions[state])).norm(dim=-1)
    kept = (away <= _IN_PLANE * diagonal) & (persistence >= threshold * optima.value_range.cpu().double()[state])
    state = state[kept]
    number = torch.bincount(state, minlength=len(counts))
    index = torch.arange(len(state)) - (number.cumsum(0) - number)[state]
    return state, index, actions[kept], values[kept]
