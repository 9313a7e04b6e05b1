"""The actor's standing in its own critic's landscape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, whole_number
from gradlab.errors import GradlabError
from gradlab.landscape.entrance import given_optima, measured_agent, random_source
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.matching_optima import check_optima
from gradlab.landscape.optima import local_optima
from gradlab.landscape.standing.means import GapMeans, gap_means
from gradlab.landscape.surface import check_critic

#: Far from the seeds people choose.
_SEED = 2_904_117_773


@dataclass(frozen=True)
class Gap:
    """What the actor leaves on the table according to its critic, per state.

    ``gap`` is ``own_fit`` + ``basin_choice``: what climbing on from its action would gain the actor, and what it would
    still miss then, being in the basin of a lower optimum. More training on this critic mends the first only.

    Attributes:
        gap: highest Q found − Q(s, π(s)), [B], in units of Q; never negative, as the actor's action is one of the
            points the search starts from. The search can miss the highest optimum, so this is a lower bound. For a
            stochastic policy π(s) is its mode.
        relative: the same over the value range on the action box, [B], in [0, 1]; 0 where Q is level.
        own_fit: Q where the actor's own ascent ends − Q(s, π(s)), [B].
        basin_choice: highest Q found − Q where the actor's own ascent ends, [B].
        distance: Euclidean distance from π(s) to the best action found, [B], in the critic's action units.
        distance_share: the same with every coordinate in widths of the box, as a share of the diagonal, [B], in [0, 1].
        basin: index of the optimum that ascent from π(s) reaches, highest first, [B]; −1 where it ends on a plateau.
            It is the search's ascent, whose steps begin at a twentieth of the diagonal: ripples narrower than that may
            be passed over, as they are by noisy training, and count as the actor's own slope.
        rank: of where that ascent ends, [B], integers from 1: one more than the optima of at least ``threshold`` of the
            range in persistence that are higher.
        reaches_best: whether ascent from π(s) reaches the highest value found, [B], bool; where it does, more training
            on this critic closes the gap, elsewhere the actor is in the basin of a lower optimum. Where Q is level
            there is no best: it says nothing then, and takes no part in the mean over states.
        level: whether Q(s, ·) is level on the whole box but for rounding, [B], bool: the critic tells nothing of
            actions there, and the gap and its parts are 0 by that alone.
        optima: how many optima count by that threshold, [B], integers.
        actor_value: Q(s, π(s)), [B].
        best_value: highest Q found, [B].
        value_range: of Q over the box, [B], as the search found it.
        diagonal: of the box, in the critic's action units.
        expected: highest Q found − E_{a ~ π}[Q(s, a)], [B]; ``gap`` itself for a deterministic policy. Sampled, hence
            unclipped.
        expected_stderr: of that over the policy's draws, [B]; zero for a deterministic policy.
        stochastic: whether the policy is.
        objective: what the critic's values are meant to be of, in words.
        caveat: what the numbers must never be shown without.
    """

    gap: Tensor
    relative: Tensor
    own_fit: Tensor
    basin_choice: Tensor
    distance: Tensor
    distance_share: Tensor
    basin: Tensor
    rank: Tensor
    reaches_best: Tensor
    level: Tensor
    optima: Tensor
    actor_value: Tensor
    best_value: Tensor
    value_range: Tensor
    diagonal: float
    expected: Tensor
    expected_stderr: Tensor
    stochastic: bool
    objective: str
    caveat: str

    def over_states(self, episode: Any = None) -> GapMeans:
        """Means over the states, each an ``Estimate`` with an interval for the distribution the states come from.

        Args:
            episode: which episode each state is of, [B] integers: states of one are not independent; every state its
                own when None.

        Raises:
            GradlabError: there is not one episode number a state.

        Example:
            >>> actor = torch.nn.Linear(1, 1)
            >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.zeros_(actor.bias)
            >>> agent = Agent(actor, [lambda obs, act: -(act - 0.5).square().sum(-1)], [-1.0], [1.0])
            >>> means = gap(agent, torch.zeros(20, 1)).over_states()
            >>> round(means.gap.value, 4), [round(end, 1) for end in means.gap.interval()]
            (0.25, [0.2, 0.6])
        """
        return gap_means(self, episode)


def gap(
    agent: Agent,
    obs: Any,
    optima: LocalOptima | None = None,
    *,
    critic: int | None = None,
    threshold: float = 0.01,
    draws: int = 64,
    generator: torch.Generator | None = None,
) -> Gap:
    """The *amortisation gap* max_a Q(s, a) − Q(s, π(s)) at every state, its two parts, and where the actor stands.

    With a⁺ where projected ascent from π(s) ends, the gap is [Q(s, a⁺) − Q(s, π(s))] + [max_a Q(s, a) − Q(s, a⁺)], the
    actor's own fit and its choice of a basin (the split of C. Cremer, X. Li, D. Duvenaud 2018, *Inference suboptimality
    in variational autoencoders*, with ascent from the actor's action for the locally optimal one).

    Args:
        agent: the agent; it is asked in evaluation mode, a copy where it is in training.
        obs: observations [B, n].
        optima: what ``local_optima(agent, obs, critic=critic)`` found at the same states; searched for when None.
        critic: index of one critic instead of the one the actor follows.
        threshold: persistence, as a share of the value range, from which an optimum counts in ``rank``.
        draws: pairs of noise ε, −ε that the expectation over a stochastic policy's actions is taken over.
        generator: source of that noise; one with a seed of its own when None.

    Raises:
        GradlabError: ``optima`` are of other states or another critic or were found without the actor's action, or an
            argument is out of range.

    Example:
        >>> actor = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [lambda obs, act: -(act - 0.5).square().sum(-1)], [-1.0], [1.0])
        >>> standing = gap(agent, torch.zeros(1, 1))
        >>> round(standing.gap.item(), 4), round(standing.distance.item(), 2), standing.reaches_best.item()
        (0.25, 0.5, True)
        >>> round(standing.own_fit.item(), 4), standing.basin_choice.item(), standing.rank.item()
        (0.25, 0.0, 1)
    """
    agent = measured_agent(agent)
    check_critic(agent, critic)
    generator = random_source(generator, _SEED)
    draws, threshold = whole_number("draws", draws, 2), real_number("threshold", threshold, 0.0)
    states = agent.observations(obs)
    if optima is None:
        optima = local_optima(agent, states, critic=critic)
    optima = given_optima("optima", optima)
    if optima.actor is None or optima.reached is None:
        raise GradlabError("optima: found without the actor's action; use local_optima(agent, obs)")
    check_optima(agent, states, optima, critic)
    low, high = agent.action_low, agent.action_high
    with torch.no_grad():
        # Inside the box, where the search started: an actor without tanh may point outside.
        act = agent.action(states).clamp(low, high)
        actor_value = agent.q(states, act, critic=critic)
    best_value = torch.maximum(optima.best_value.to(actor_value), actor_value)
    reached = torch.minimum(torch.maximum(optima.reached.to(actor_value), actor_value), best_value)
    raw, basin_choice = best_value - actor_value, best_value - reached
    span = optima.value_range.to(raw)
    away = optima.best_action.to(act) - act
    rounding = 16 * torch.finfo(raw.dtype).eps * torch.maximum(best_value.abs(), actor_value.abs())
    level = torch.maximum(span, raw) <= rounding
    # Of two roundings the one is easily the whole of the other.
    raw, basin_choice = raw.masked_fill(level, 0.0), basin_choice.masked_fill(level, 0.0)
    expected, expected_stderr = raw, torch.zeros_like(raw)
    if agent.policy.stochastic:
        mean, expected_stderr = _expected_value(agent, states, critic, draws, generator)
        expected = best_value - mean
    return Gap(
        gap=raw,
        relative=torch.where(span > 0, raw / span, torch.zeros_like(raw)).clamp(max=1.0),
        # What is left of the gap, so that the two add up to it to the last digit but one.
        own_fit=(raw - basin_choice).clamp(min=0.0),
        basin_choice=basin_choice,
        distance=away.norm(dim=-1),
        distance_share=(away / (high - low)).norm(dim=-1) / agent.action_size**0.5,
        basin=optima.actor,
        rank=1 + _counted(optima, threshold, reached + rounding),
        reaches_best=basin_choice <= rounding,
        level=level,
        optima=_counted(optima, threshold, torch.full_like(raw, -torch.inf)),
        actor_value=actor_value,
        best_value=best_value,
        value_range=span,
        diagonal=float((high - low).norm()),
        expected=expected,
        expected_stderr=expected_stderr,
        stochastic=agent.policy.stochastic,
        objective=str(agent.objective),
        caveat=_caveat(agent),
    )


def gap_by_critic(agent: Agent, obs: Any, **options: Any) -> dict[str, Gap]:
    """The gap to the value that the actor follows, ``followed``, and to each critic by itself, ``critic 0`` and on.

    An actor that trains on the smaller of two critics stands well with neither alone: what is left of the critics' own
    gaps where the followed one is closed is how much they disagree on the best action.

    Args:
        agent: the agent.
        obs: observations [B, n].
        options: of ``gap``: ``threshold``, ``draws``, ``generator``.

    Raises:
        GradlabError: as ``gap`` does.

    Example:
        >>> actor = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.zeros_(actor.bias)
        >>> bowls = [lambda obs, act, at=at: -(act - at).square().sum(-1) for at in (-0.5, 0.5)]
        >>> agent = Agent(actor, bowls, [-1.0], [1.0], reduction="min")
        >>> {name: round(one.gap.item(), 3) for name, one in gap_by_critic(agent, torch.zeros(1, 1)).items()}
        {'followed': 0.0, 'critic 0': 0.25, 'critic 1': 0.25}
    """
    agent = measured_agent(agent)
    followed = gap(agent, obs, **options)
    # Where it is the first critic that is followed, it is not searched twice.
    first = agent.reduction == "first"
    alone = {
        f"critic {i}": followed if first and i == 0 else gap(agent, obs, critic=i, **options)
        for i in range(len(agent.critics))
    }
    return {"followed": followed, **alone}


def _counted(optima: LocalOptima, threshold: float, value: Tensor) -> Tensor:
    """How many optima that count are above ``value`` [B], [B]."""
    counts = torch.tensor([len(v) for v in optima.values])
    state = torch.arange(len(counts)).repeat_interleave(counts).to(value.device)
    values, persistence = (torch.cat(part).to(value) for part in (optima.values, optima.persistence))
    above = (values > value[state]) & (persistence >= threshold * optima.value_range.to(value)[state])
    return torch.bincount(state[above], minlength=len(counts))


@torch.no_grad()
def _expected_value(
    agent: Agent, obs: Tensor, critic: int | None, draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """E_{a ~ π}[Q(s, a)] by antithetic pairs, and its standard error, [B] each; with actions clipped to the box."""
    head = agent.head(obs)
    noise = agent.policy.noise((draws, len(obs), agent.action_size), generator, head)
    both = []
    for epsilon in (noise, -noise):
        act, _ = agent.policy.sample(head, epsilon)
        both.append(agent.q(obs, act.clamp(agent.action_low, agent.action_high), critic=critic))
    pairs = torch.stack(both).mean(0)
    return pairs.mean(0), pairs.std(0) / draws**0.5


def _caveat(agent: Agent) -> str:
    if not (agent.policy.stochastic and agent.entropy):
        return ""
    return f"of Q alone: for entropy (α={agent.entropy:.3g}) the policy gives some of it up on purpose"
