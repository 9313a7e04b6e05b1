"""The plane of actions along which Q is curved most."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number
from gradlab.errors import GradlabError
from gradlab.hessians import second_derivatives
from gradlab.landscape.entrance import measured_agent
from gradlab.landscape.planes.plane_geometry import frame, inward
from gradlab.landscape.planes.planes import SATURATED, Plane, actors_action, normal_pair
from gradlab.landscape.surface import check_critic


def curvature_plane(
    agent: Agent,
    obs: Any,
    scale: float | None = None,
    *,
    critic: int | None = None,
    generator: torch.Generator | None = None,
) -> Plane:
    """The plane through the actor's action along the two directions in which Q is curved most.

    They are the eigenvectors of ∇²_aa Q with the eigenvalues largest in size, of either sign. Coordinates at which
    the actor is saturated (within 1 % of the width of a face) are held fixed, as no direction leads out of the box;
    where fewer than two coordinates are free, a direction is random and ``determined`` says so.

    Args:
        agent: the agent.
        obs: observations [S, n].
        scale: None for exact second derivatives; otherwise the step of central differences of ∇_a Q, in the critic's
            action units, taken at the nearest action from which the step stays in the box. A piecewise-linear critic
            has second derivatives at a scale only.
        critic: index of one critic instead of the one the actor follows.
        generator: source of directions that nothing determines; one with seed 0 when None.

    Returns:
        The plane, with the eigenvalues as its ``curvature``; float64.

    Raises:
        GradlabError: the critic is piecewise linear and there is no scale, or the scale does not fit into the box.

    Example:
        >>> q = lambda obs, act: (act.square() * torch.tensor([1.0, -3.0, 0.5], dtype=act.dtype)).sum(-1)
        >>> agent = Agent(torch.nn.Linear(1, 3), [q], [-9.0] * 3, [9.0] * 3)
        >>> plane = curvature_plane(agent, torch.zeros(1, 1))
        >>> plane.curvature.tolist(), plane.directions[0].abs().argmax(-1).tolist()
        ([[-6.0, 2.0]], [1, 0])
    """
    agent = measured_agent(agent)
    check_critic(agent, critic)
    actor = actors_action(agent, obs)
    states, size = actor.shape
    low, high = agent.action_low.double(), agent.action_high.double()
    index = None if critic is None else critic % len(agent.critics)
    at = actor
    if scale is not None:
        scale = real_number("scale", scale, above=0.0)
        if 2 * scale >= float((high - low).min()):
            raise GradlabError(f"scale: {scale:g}; a step both ways does not fit into the action box; give a shorter")
        at = actor.clamp(low + scale, high - scale)
    double = agent.snapshot(double=True)
    hessian = second_derivatives(double, double.observations(obs), at, scale, critic=index).action
    if size == 1:
        line = torch.ones_like(actor)[:, None]
        kind, marks = "top curvature", {"actor": actor}
        return Plane(torch.zeros_like(actor), line, ("action 1",), kind, marks, curvature=hessian[:, 0])
    eigenvalues, vectors, known = _curved_most(hessian, _free(actor, low, high))
    # The sign of an eigenvector is arbitrary; its largest component is made positive, so that pictures agree.
    largest = vectors.gather(2, vectors.abs().argmax(-1, keepdim=True))
    vectors = vectors * torch.where(largest < 0, -1.0, 1.0)
    drawn = inward(normal_pair(states, size, generator).to(actor), actor, low, high, SATURATED)
    directions, determined = frame(vectors * known[..., None], drawn, 0.5)
    # Along a direction drawn at random, what Q is curved by there.
    curvature = torch.einsum("skp,spq,skq->sk", directions, hessian, directions)
    curvature = torch.where(determined, eigenvalues, curvature)
    words = ("largest curvature", "second largest curvature")
    kind = "top curvature" if scale is None else f"top curvature at scale {scale:g}"
    return Plane(actor, directions, words, kind, {"actor": actor}, determined, curvature)


def _free(actor: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Which coordinates are not saturated, [S, p]."""
    return torch.minimum(actor - low, high - actor) > SATURATED * (high - low)


def _curved_most(hessian: Tensor, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The two eigenvalues [S, 2] largest in size on the free coordinates, eigenvectors [S, 2, p], and which exist."""
    both = free[:, :, None] & free[:, None, :]
    # Distinct entries far outside the spectrum keep saturated coordinates out of the other eigenvectors.
    beyond = 4 * hessian.abs().sum((1, 2)).clamp_min(1.0)
    pinned = beyond[:, None] * torch.arange(2, hessian.shape[1] + 2).to(hessian) * ~free
    values, vectors = torch.linalg.eigh(hessian * both + torch.diag_embed(pinned))
    size = torch.where(values > 1.5 * beyond[:, None], -1.0, values.abs())
    top = size.topk(2, dim=-1).indices
    picked = vectors.gather(2, top[:, None].expand(-1, vectors.shape[1], -1)).mT
    return values.gather(1, top), picked, size.gather(1, top) >= 0
