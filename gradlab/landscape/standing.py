"""The actor's standing in its own critic's landscape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape.optima import LocalOptima, local_optima
from gradlab.landscape.surface import check_critic


@dataclass(frozen=True)
class Gap:
    """What the actor leaves on the table according to its critic, per state.

    Attributes:
        gap: highest Q found − Q(s, π(s)), [B], in units of Q; never negative, as the actor's action is one of the
            points the search starts from. The search can miss the highest optimum, so this is a lower bound.
        relative: the same over the value range on the action box, [B], in [0, 1]; 0 where Q is constant.
        distance: Euclidean distance from π(s) to the best action found, [B], in the critic's action units.
        reaches_best: whether ascent from π(s) reaches the best optimum, [B], bool; where it does, more training on
            this critic closes the gap, elsewhere the actor is in the basin of a lower one.
        actor_value: Q(s, π(s)), [B].
        best_value: highest Q found, [B].
    """

    gap: Tensor
    relative: Tensor
    distance: Tensor
    reaches_best: Tensor
    actor_value: Tensor
    best_value: Tensor


def gap(agent: Agent, obs: Any, optima: LocalOptima | None = None, *, critic: int | None = None) -> Gap:
    """The *amortisation gap* max_a Q(s, a) − Q(s, π(s)) at every state, and whether ascent would close it.

    Args:
        agent: the agent.
        obs: observations [B, n].
        optima: what ``local_optima(agent, obs, critic=critic)`` found at the same states; searched for when None.
        critic: index of one critic instead of the one the actor follows.

    Raises:
        GradlabError: ``optima`` belong to another number of states or were found without the actor's action.

    Example:
        >>> actor = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [lambda obs, act: -(act - 0.5).square().sum(-1)], [-1.0], [1.0])
        >>> standing = gap(agent, torch.zeros(1, 1))
        >>> round(standing.gap.item(), 4), round(standing.distance.item(), 2), standing.reaches_best.item()
        (0.25, 0.5, True)
    """
    check_critic(agent, critic)
    states = agent.observations(obs)
    if optima is None:
        optima = local_optima(agent, states, critic=critic)
    if optima.actor is None:
        raise GradlabError("optima: found without the actor's action; use local_optima(agent, obs)")
    if len(optima.values) != len(states):
        raise GradlabError(f"optima: of {len(optima.values)} states, but obs has {len(states)}; give the same states")
    with torch.no_grad():
        # Inside the box, where the search started: an actor without tanh may point outside.
        act = agent.action(states).clamp(agent.action_low, agent.action_high)
        actor_value = agent.q(states, act, critic=critic)
    best_value = torch.maximum(optima.best_value.to(actor_value), actor_value)
    raw = best_value - actor_value
    span = optima.value_range.to(raw)
    return Gap(
        gap=raw,
        relative=torch.where(span > 0, raw / span, torch.zeros_like(raw)).clamp(max=1.0),
        distance=(optima.best_action.to(act) - act).norm(dim=-1),
        reaches_best=optima.actor == 0,
        actor_value=actor_value,
        best_value=best_value,
    )
