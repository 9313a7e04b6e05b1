"""Successive surrogates from one search of Q, for a price that a running measurement can pay."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, whole_number
from gradlab.landscape.entrance import given_optima, measured_agent, random_source
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.matching_optima import check_optima
from gradlab.landscape.truncated.surrogate_agents import uniform_actions
from gradlab.landscape.truncated.what_is_left import Surrogates, ascend, what_is_left


def surrogates_of_search(
    agent: Agent,
    obs: Any,
    optima: LocalOptima,
    *,
    count: int = 3,
    critic: int | None = None,
    starts: int = 16,
    threshold: float = 0.01,
    rounds: int = 2,
    generator: torch.Generator | None = None,
) -> Surrogates:
    """``surrogates`` without a search of its own: how much of a landscape is left after each cut.

    On Ψ_i = max(Q, τ_i) an optimum of Q of value v above τ_i is left, and its pass to a higher one is not below τ_i: of
    its persistence P there is min(P, v − τ_i). So the optima of all surrogates are known once Q's are, and Theorem 4.2
    of SAVO (arXiv 2410.11833) holds of them by construction; ``surrogates``, which searches each anew, is what tests
    it. The first cut is at the actor's own action, τ_1 = Q(s, π(s)); each further one is where ascent on the surrogate
    before ends, from a uniform action, which on the plateau is where it began.

    Args:
        agent: the agent.
        obs: observations [S, n].
        optima: what ``local_optima(agent, obs, critic=critic)`` found.
        count: number k of surrogates.
        critic: index of one critic instead of the one the actor follows.
        starts: uniform actions a state, from which ascent tells how often the best optimum is found.
        threshold: persistence, as a share of Q's range, from which an optimum counts.
        rounds: most rounds of that ascent, of 25 steps.
        generator: source of the actions; one with seed 0 when None.

    Raises:
        GradlabError: a number is out of its range, or the optima are of other states.

    Example:
        >>> from gradlab.landscape import local_optima
        >>> actor = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.constant_(actor.bias, -0.495495)
        >>> wave = lambda obs, a: (3 * torch.pi * a).sin().sum(-1) + 0.4 * a.sum(-1)
        >>> agent, obs = Agent(actor, [wave], [-1.0], [1.0]), torch.zeros(2, 1)
        >>> left = surrogates_of_search(agent, obs, local_optima(agent, obs), count=1)
        >>> left.optima.tolist()
        [[4, 4], [2, 2]]
    """
    agent = measured_agent(agent)
    cuts, starts = whole_number("count", count, 0), whole_number("starts", starts, 1)
    threshold, rounds = real_number("threshold", threshold, 0.0), whole_number("rounds", rounds, 1)
    states = agent.observations(obs)
    check_optima(agent, states, given_optima("optima", optima), critic)
    random = random_source(generator)
    with torch.no_grad():
        own = agent.action(states).clamp(agent.action_low, agent.action_high)
        value = agent.q(states, own, critic=critic)
    anchors, heights = [own], [value]
    further = uniform_actions(agent, max(cuts - 1, 0), len(states), random)
    if len(further):
        begin, end, at = ascend(agent, states, further, critic, 1e-4 * optima.value_range, rounds)
        for first, last, place in zip(begin, end, at, strict=True):
            higher = (first > heights[-1]) & (last > heights[-1])
            anchors.append(torch.where(higher[:, None], place, anchors[-1]))
            heights.append(torch.where(higher, last, heights[-1]))
    bottom = torch.full_like(value, -torch.inf)
    cut = torch.stack([bottom, *heights[:cuts]])
    return what_is_left(
        agent,
        states,
        critic,
        optima,
        torch.stack(anchors)[:cuts],
        cut,
        _counts(optima, cut, threshold),
        uniform_actions(agent, starts, len(states), random),
        threshold,
        str(agent.objective),
        rounds,
    )


def _counts(optima: LocalOptima, cut: Tensor, threshold: float) -> Tensor:
    """Optima of each surrogate that are persistent enough, [k + 1, S], integers."""
    least = threshold * optima.value_range
    columns = [
        (torch.minimum(persistence, values - each[:, None]) >= enough).sum(-1)
        for persistence, values, enough, each in zip(optima.persistence, optima.values, least, cut.T, strict=True)
    ]
    return torch.stack(columns, -1)
