"""Successive surrogates Ψ_i = max(Q, τ_i): what is left of the landscape once some of it has been cut off."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, whole_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.evaluation_mode import in_evaluation
from gradlab.landscape.entrance import random_source
from gradlab.landscape.optima import local_optima
from gradlab.landscape.planes.paths import ascent_path
from gradlab.landscape.truncated.surrogate_agents import (
    ROWS,
    check_actions,
    function_agent,
    gradients,
    surrogate_agent,
    uniform_actions,
)
from gradlab.statistics.state_means import bounded_state_mean, count_mean, state_share

#: Rounds of ascent, and steps in each.
_ROUNDS, _STEPS = 5, 25


@dataclass(frozen=True)
class SurrogateMeans:
    """One surrogate over all states.

    Attributes:
        optima: mean number of strict optima left.
        fewer: share of states with fewer optima than on the surrogate before; NaN on Q itself.
        more: share with more, which SAVO's Theorem 4.2 excludes: what is measured beyond zero is what the search
            missed on the surrogate before.
        vanishing_share: share of the box where the gradient vanishes.
        best_share: chance that a uniform start climbs to the best optimum, over states where one is left.
        mean_gap: best value less the surrogate's value where uniform starts end.
    """

    optima: Estimate
    fewer: Estimate
    more: Estimate
    vanishing_share: Estimate
    best_share: Estimate
    mean_gap: Estimate


@dataclass(frozen=True)
class Surrogates:
    """Q = Ψ_0 and its successive surrogates Ψ_1 … Ψ_k at each of S states.

    Attributes:
        anchors: the actions whose values the surrogates are cut at, [k, S, p], in the critic's action units.
        threshold: τ_i, [k + 1, S], in units of Q; −∞ for Ψ_0.
        optima: number of strict optima with a persistence of at least the threshold given, as a share of **Q's** range,
            [k + 1, S], integers. Each surrogate is searched anew.
        vanishing_share: share of uniform actions where ∇_a Ψ_i = 0, [k + 1, S]: the plateau Q ≤ τ_i, and where Q is
            flat itself.
        best_share: share of uniform starts whose ascent on Ψ_i ends within ``threshold`` of the best value, as a share
            of the range, [k + 1, S]; NaN where τ_i is as near to it, and nothing is left to be found.
        mean_gap: best value − mean of Ψ_i where ascent on it ends, from uniform starts, [k + 1, S]. As
            Ψ_i = max(Q, τ_i) this is what is left on the table when the best of the anchors and of one more actor,
            started anywhere, is taken. A start on the plateau stays there, at τ_i.
        value_range: Q's range on the box, [S].
        best_value: highest value seen, [S].
        starts: uniform starts a state, evenly spread and others in every state. A share of them is known to
            ½/√starts at worst; ``over_states`` allows for that, as it differs from state to state.
        objective: the objective Q belongs to, in words.
    """

    anchors: Tensor
    threshold: Tensor
    optima: Tensor
    vanishing_share: Tensor
    best_share: Tensor
    mean_gap: Tensor
    value_range: Tensor
    best_value: Tensor
    starts: int
    objective: str = ""

    def over_states(self, episode: Any = None) -> tuple[SurrogateMeans, ...]:
        """Every surrogate's numbers over the states; ``episode`` [S] says which states are not independent."""
        said: dict[str, Any] = {"episode": episode, "objective": self.objective}
        # A range lost in rounding can be smaller than the gap that was seen.
        gaps = self.mean_gap.double().clamp_min(0)
        largest = float(torch.maximum(self.value_range.double().max(), gaps.nan_to_num(0.0).max()))
        means = []
        for i, counts in enumerate(self.optima):
            before = self.optima[i - 1].double() if i else torch.full_like(counts, math.nan, dtype=torch.float64)
            change = counts - before
            # A comparison with NaN is false, but there is nothing to compare Q with.
            fewer, more = (torch.where(change.isnan(), change, is_so) for is_so in (change < 0, change > 0))
            means.append(
                SurrogateMeans(
                    optima=count_mean(counts, **said),
                    fewer=state_share(fewer, **said),
                    more=state_share(more, **said),
                    vanishing_share=state_share(self.vanishing_share[i], **said),
                    best_share=state_share(self.best_share[i], **said),
                    mean_gap=bounded_state_mean(gaps[i], **said, least=0.0, most=largest),
                )
            )
        return tuple(means)

    def __repr__(self) -> str:
        left = ", ".join(f"{mean:.2f}" for mean in self.optima.double().mean(-1).tolist())
        return f"<Surrogates: {self.optima.shape[1]} states, optima left {left}>"


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
    begin, end = _ascend(agent, obs, act, critic, 1e-4 * whole.value_range)
    flat = (gradients(agent, obs, act, critic) == 0).all(-1)
    best = torch.stack([whole.best_value, end.amax(0), cut.amax(0)]).amax(0)
    within = threshold * whole.value_range
    # Ascent on Ψ never sees what is below τ: it is ascent on Q from the starts above, and the others do not move.
    moves = begin > cut[:, None]
    to_best = moves & (end >= best - within)
    left = (best - cut > within) & (counts[0] > 0)
    return Surrogates(
        anchors=anchors,
        threshold=cut,
        optima=counts,
        vanishing_share=(~moves | flat).to(best).mean(1),
        best_share=torch.where(left, to_best.to(best).mean(1), torch.nan),
        mean_gap=best - torch.where(moves, end, cut[:, None]).mean(1),
        value_range=whole.value_range,
        best_value=best,
        starts=starts,
        objective=str(agent.objective) if isinstance(q, Agent) else "",
    )


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


def _ascend(agent: Agent, obs: Tensor, act: Tensor, critic: int | None, least: Tensor) -> tuple[Tensor, Tensor]:
    """Q at actions [K, S, p] and where ascent from them ends, [K, S] each; it ends once a round rises by ``least``."""
    count, states, _ = act.shape
    rows, enough, at = obs.repeat(count, 1), least.repeat(count), act.flatten(0, 1)
    with torch.no_grad():
        begin = agent.q(rows, at, critic=critic)
    end, going = begin.clone(), torch.arange(len(rows), device=rows.device)
    for _ in range(_ROUNDS):
        if len(going) == 0:
            break
        for some in going.split(ROWS):
            at[some] = ascent_path(agent, rows[some], at[some], steps=_STEPS, critic=critic)[-1]
        with torch.no_grad():
            value = agent.q(rows[going], at[going], critic=critic)
        rises = value > end[going] + enough[going]
        end[going] = torch.maximum(end[going], value)
        going = going[rises]
    return begin.reshape(count, states), end.reshape(count, states)
