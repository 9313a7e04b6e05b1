"""Successive surrogates Ψ_i = max(Q, τ_i): what is left of the landscape once some of it has been cut off."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, whole_number
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.landscape.entrance import random_source
from gradlab.landscape.optima import local_optima
from gradlab.landscape.planes.paths import ascent_path
from gradlab.landscape.truncated.surrogate_agents import (
    check_actions,
    function_agent,
    surrogate_agent,
    uniform_actions,
)
from gradlab.landscape.truncated.what_is_left import SurrogateMeans, Surrogates, what_is_left

__all__ = ["SurrogateMeans", "Surrogates", "surrogates"]


def surrogates(
    q: Agent | Callable[[Tensor], Tensor],
    low: Any,
    high: Any = None,
    *,
    anchors: Tensor | None = None,
    count: int = 3,
    states: int = 1,
    critic: int | None = None,
    starts: int = 64,
    threshold: float = 0.01,
    generator: torch.Generator | None = None,
) -> Surrogates:
    """The landscape of Q after successive cuts at τ_i = max_{j<i} Q(s, a_j), Ψ_i(s, a) = max(Q(s, a), τ_i).

    Two forms, as ``local_optima`` has: ``surrogates(agent, obs)`` or ``surrogates(q, low, high, states=S)``. SAVO
    (arXiv 2410.11833, section 4.2) trains its i-th actor on Ψ_i, where what lies below the actions of the actors before
    is flat. Theorem 4.2: each has fewer local optima than the one before.

    Ascent takes steps of a few hundredths of the box's diagonal, as ``ascent_path`` does, and so passes over dips that
    are narrower; against ascent in infinitesimal steps it ends as high or higher.

    Args:
        q: an Agent; or a function of actions [S, m, p] → values [S, m], differentiable.
        low: observations [S, n] in the agent form; otherwise the lower corner of the action box, [p].
        high: upper corner, [p]; only with a function.
        anchors: actions of the previous actors, [k, S, p], in the critic's units. Without them they are found one after
            the other, by actors that are as good as ascent on exact surrogates makes them: a_i is where ascent on Ψ_i
            ends, from the actor's action for i = 0 and from a uniform one else. One that begins on the plateau stays.
        count: number k of surrogates when no anchors are given.
        states: number S of states; only with a function.
        critic: index of one critic instead of the one the actor follows; only with an agent.
        starts: uniform starts a state, of each search and of the climbs.
        threshold: persistence, as a share of Q's range, from which an optimum counts.
        generator: source of all starts; one with seed 0 when None.

    Raises:
        GradlabError: anchors are not [k, S, p] or not finite, a number is out of its range, or what ``local_optima``
            refuses.

    Example:
        >>> q = lambda a: (3 * torch.pi * a).sin().squeeze(-1) + 0.4 * a.squeeze(-1)
        >>> left = surrogates(q, [-1.0], [1.0], anchors=torch.tensor([[[-0.495495]], [[0.171171]], [[0.837838]]]))
        >>> left.optima.flatten().tolist()
        [4, 2, 1, 0]
    """
    cuts, starts = whole_number("count", count, 0), whole_number("starts", starts, 1)
    threshold = real_number("threshold", threshold, 0.0)
    q = in_evaluation(q)
    agent, obs = _agent_form(q, low, high, states, critic)
    random = random_source(generator)
    settings: dict[str, Any] = {"starts": starts, "generator": random}

    whole = local_optima(agent, obs, critic=critic, **settings)
    if anchors is None:
        own_actor = isinstance(q, Agent)
        anchors = _climbed(agent, obs, critic, cuts, own_actor, random)
    else:
        anchors = check_actions("anchors", agent, obs, anchors).clamp(agent.action_low, agent.action_high)
    with torch.no_grad():
        at_anchors = agent.q(obs, anchors, critic=critic) if len(anchors) else obs.new_zeros(0, len(obs))
    bottom = torch.full_like(whole.best_value, -math.inf)[None]
    cut = torch.cat([bottom, at_anchors.cummax(0).values]) if len(anchors) else bottom

    counts = whole.count(threshold)[None]
    if len(anchors):
        # One search of all surrogates at once: k·S states.
        psi, rows = surrogate_agent(agent, obs.repeat(len(anchors), 1), cut[1:].flatten(), critic=critic)
        span = whole.value_range.repeat(len(anchors))
        cut_off = local_optima(psi, rows, value_range=span, **settings)
        counts = torch.cat([counts, cut_off.count(threshold).reshape(len(anchors), -1)])

    act = uniform_actions(agent, starts, len(obs), random)
    objective = str(agent.objective) if isinstance(q, Agent) else ""
    return what_is_left(agent, obs, critic, whole, anchors, cut, counts, act, threshold, objective)


def _agent_form(
    q: Agent | Callable[[Tensor], Tensor], low: Any, high: Any, states: int, critic: int | None
) -> tuple[Agent, Tensor]:
    if isinstance(q, Agent):
        if high is not None:
            raise GradlabError("surrogates: an agent brings its own action box; call surrogates(agent, obs)")
        return q, q.observations(low)
    if high is None:
        raise GradlabError("surrogates: high is missing; call surrogates(q, low, high) or (agent, obs)")
    if critic is not None:
        raise GradlabError("critic: only an agent has several; pass the function of the one you mean")
    return function_agent(q, low, high, states)


def _climbed(
    agent: Agent, obs: Tensor, critic: int | None, count: int, own_actor: bool, generator: torch.Generator
) -> Tensor:
    """Where ascent on each surrogate ends, [count, S, p], one surrogate after the other."""
    begin = uniform_actions(agent, count, len(obs), generator)
    if own_actor and count:
        with torch.no_grad():
            begin[0] = agent.action(obs).clamp(agent.action_low, agent.action_high)
    cut = torch.full((len(obs),), -math.inf, dtype=obs.dtype, device=obs.device)
    ends = []
    for start in begin:  # each surrogate needs the one before
        psi, rows = surrogate_agent(agent, obs, cut, critic=critic)
        end = ascent_path(psi, rows, start, steps=100)[-1]
        with torch.no_grad():
            cut = torch.maximum(cut, agent.q(obs, end, critic=critic))
        ends.append(end)
    return torch.stack(ends) if ends else begin
