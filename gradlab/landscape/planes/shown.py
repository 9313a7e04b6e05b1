"""Which critics a picture shows, and their values and action gradients at rows, from one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import shown as printed
from gradlab.critics import Reduction
from gradlab.errors import GradlabError
from gradlab.landscape.surface import check_critic

#: Rows a gradient is taken of at a time; the graph of a 256-wide critic then stays near 40 MB.
_ROWS = 8_192

Critics = Sequence[int | str] | None


class Shown(NamedTuple):
    """One picture: a critic by its index, or else a reduction of all of them."""

    label: str
    critic: int | None
    reduction: Reduction


def shown_critics(agent: Agent, critics: Critics, *, minimum: bool = False) -> list[Shown]:
    """What ``critics`` names; None is every critic and, where several make it up, what the actor follows.

    Args:
        agent: the agent.
        critics: indices, ``"followed"``, ``"min"`` or ``"mean"``; None for the default.
        minimum: whether the default holds the smallest of several critics too.

    Raises:
        GradlabError: the actions are discrete, there is no such critic, or the list is empty.

    Example:
        >>> bowl = lambda obs, act: -act.square().sum(-1)
        >>> agent = Agent(torch.nn.Linear(1, 1), [bowl, bowl], [-1.0], [1.0])
        >>> [one.label for one in shown_critics(agent, None, minimum=True)], shown_critics(agent, [1])[0].critic
        (['critic 1', 'critic 2', 'min'], 1)
    """
    check_critic(agent, None)
    count = len(agent.critics)
    if critics is None:
        several = [_of(agent, index) for index in range(count)]
        if count > 1 and agent.reduction != "first":
            several.append(_of(agent, "followed"))
        if count > 1 and minimum and agent.reduction != "min":
            several.append(_of(agent, "min"))
        return several
    if isinstance(critics, str) or not isinstance(critics, Sequence):
        raise GradlabError(f"critics: {printed(critics)}; give a list of indices, 'followed', 'min' or 'mean'")
    if not critics:
        raise GradlabError("critics: an empty list; name at least one, or leave it out for all")
    return [_of(agent, one) for one in critics]


def _of(agent: Agent, one: int | str) -> Shown:
    if one == "followed":
        return Shown("followed", 0 if agent.reduction == "first" else None, agent.reduction)
    if one == "min":
        return Shown("min", None, "min")
    if one == "mean":
        return Shown("mean", None, "mean")
    if isinstance(one, bool) or not isinstance(one, int):
        raise GradlabError(f"critics: {printed(one)}; give indices, 'followed', 'min' or 'mean'")
    check_critic(agent, one)
    index = one % len(agent.critics)
    return Shown(f"critic {index + 1}", index, "first")


def values(agent: Agent, obs: Tensor, act: Tensor, shown: Sequence[Shown]) -> Tensor:
    """Q [pictures, N] at rows obs [N, n] and act [N, p], detached; every critic is evaluated once."""
    with torch.no_grad():
        return torch.cat([_reduced(agent, o, a, shown, gradients=False)[0] for o, a in _chunks(obs, act)], 1)


def values_and_gradients(agent: Agent, obs: Tensor, act: Tensor, shown: Sequence[Shown]) -> tuple[Tensor, Tensor]:
    """Q [pictures, N] and ∇_a Q [pictures, N, p] at rows obs [N, n] and act [N, p], detached.

    Every critic is evaluated once: the gradient of a minimum is that of the critic which is smallest there, that of
    a mean is the mean. The gradient is zero where Q does not depend on the action, and NaN where Q is not finite.

    Args:
        agent: the agent.
        obs: observations, one a row.
        act: actions, one a row.
        shown: the pictures, from ``shown_critics``.

    Example:
        >>> critics = [lambda obs, act: act[:, 0], lambda obs, act: -2 * act[:, 0]]
        >>> agent = Agent(torch.nn.Linear(1, 1), critics, [-1.0], [1.0], reduction="min")
        >>> q, gradient = values_and_gradients(agent, torch.zeros(2, 1), torch.tensor([[-1.0], [1.0]]),
        ...                                    shown_critics(agent, ["followed"]))
        >>> q.tolist(), gradient.tolist()
        ([[-1.0, -2.0]], [[[1.0], [-2.0]]])
    """
    parts = [_reduced(agent, o, a, shown, gradients=True) for o, a in _chunks(obs, act)]
    return torch.cat([part[0] for part in parts], 1), torch.cat([part[1] for part in parts], 1)


def _chunks(obs: Tensor, act: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(obs.split(_ROWS), act.split(_ROWS), strict=True))


def _reduced(
    agent: Agent, obs: Tensor, act: Tensor, shown: Sequence[Shown], *, gradients: bool
) -> tuple[Tensor, Tensor]:
    """Values [pictures, N] and gradients [pictures, N, p] (empty unless asked for) of one chunk."""
    reduced = any(one.critic is None and one.reduction != "truncated" for one in shown)
    needed = range(len(agent.critics)) if reduced else sorted({one.critic for one in shown if one.critic is not None})
    each = {index: _one(agent, obs, act, index, None, gradients) for index in needed}
    pictures = []
    for one in shown:
        if one.critic is not None:
            pictures.append(each[one.critic])
        elif one.reduction == "truncated":
            # The quantiles left out differ from row to row, so that its gradient is none of the critics' own.
            pictures.append(_one(agent, obs, act, None, "truncated", gradients))
        else:
            pictures.append(_combined(each, one.reduction))
    return torch.stack([q for q, _ in pictures]), torch.stack([gradient for _, gradient in pictures])


def _combined(each: dict[int, tuple[Tensor, Tensor]], reduction: Reduction) -> tuple[Tensor, Tensor]:
    q = torch.stack([value for value, _ in each.values()])
    gradient = torch.stack([slope for _, slope in each.values()])
    if reduction == "mean":
        return q.mean(0), gradient.mean(0)
    least = q.min(0)
    return least.values, gradient.gather(0, least.indices[None, :, None].expand(1, *gradient.shape[1:]))[0]


def _one(
    agent: Agent, obs: Tensor, act: Tensor, critic: int | None, reduction: Reduction | None, gradients: bool
) -> tuple[Tensor, Tensor]:
    """Values [N] and gradients [N, p] of one critic, or of one reduction of all."""
    if not gradients:
        return agent.q(obs, act, critic=critic, reduction=reduction), act.new_empty(len(act), 0)
    with torch.enable_grad():
        at = act.detach().requires_grad_()
        value = agent.q(obs.detach(), at, critic=critic, reduction=reduction)
        gradient = torch.zeros_like(act)
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value.sum(), at, materialize_grads=True)
    value = value.detach()
    return value, gradient.masked_fill(~torch.isfinite(value).unsqueeze(-1), torch.nan)
