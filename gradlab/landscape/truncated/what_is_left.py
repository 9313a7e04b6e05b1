"""What is left of a landscape after successive cuts Ψ_i = max(Q, τ_i): optima, plateaus, and where ascent ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimate import Estimate
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.planes.paths import ascent_path
from gradlab.landscape.truncated.surrogate_agents import ROWS, gradients
from gradlab.statistics.state_means import bounded_state_mean, count_mean, state_share

#: Rounds of ascent, and steps in each.
ROUNDS, _STEPS = 5, 25


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


def what_is_left(
    agent: Agent,
    obs: Tensor,
    critic: int | None,
    whole: LocalOptima,
    anchors: Tensor,
    cut: Tensor,
    counts: Tensor,
    act: Tensor,
    threshold: float,
    objective: str,
    rounds: int = ROUNDS,
) -> Surrogates:
    """``Surrogates`` of known cuts and numbers of optima, and what ascent from uniform actions finds on them.

    Args:
        agent: the agent.
        obs: observations [S, n].
        critic: index of the critic, as ``surrogates`` takes it.
        whole: the optima of Q.
        anchors: [k, S, p].
        cut: τ, [k + 1, S].
        counts: optima of each surrogate, [k + 1, S].
        act: uniform actions [starts, S, p].
        threshold: as a share of Q's range.
        objective: of Q, in words.
        rounds: most rounds of ascent.
    """
    begin, end, _ = ascend(agent, obs, act, critic, 1e-4 * whole.value_range, rounds)
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
        starts=len(act),
        objective=objective,
    )


def ascend(
    agent: Agent, obs: Tensor, act: Tensor, critic: int | None, least: Tensor, rounds: int = ROUNDS
) -> tuple[Tensor, Tensor, Tensor]:
    """Q at actions [K, S, p] and where ascent from them ends, [K, S] each, and those ends, [K, S, p].

    It ends once a round rises by less than ``least`` [S].
    """
    count, states, _ = act.shape
    rows, enough, at = obs.repeat(count, 1), least.repeat(count), act.flatten(0, 1).clone()
    with torch.no_grad():
        begin = agent.q(rows, at, critic=critic)
    end, going = begin.clone(), torch.arange(len(rows), device=rows.device)
    for _ in range(rounds):
        if len(going) == 0:
            break
        for some in going.split(ROWS):
            at[some] = ascent_path(agent, rows[some], at[some], steps=_STEPS, critic=critic)[-1]
        with torch.no_grad():
            value = agent.q(rows[going], at[going], critic=critic)
        rises = value > end[going] + enough[going]
        end[going] = torch.maximum(end[going], value)
        going = going[rises]
    return begin.reshape(count, states), end.reshape(count, states), at.reshape(act.shape)
