"""Which optima of a critic are there in the true Q, and which are the critic's inventions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, switch, whole_number
from gradlab.errors import GradlabError
from gradlab.landscape.entrance import given_optima, measured_agent
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.matching_optima import check_optima
from gradlab.landscape.optima import local_optima
from gradlab.landscape.surface import check_critic
from gradlab.landscape.truth.phantom_means import PhantomMeans, phantom_means
from gradlab.landscape.truth.verdicts import Differences, Verdict, differences, judge_slopes, judge_values
from gradlab.objective import Objective, compare_objectives
from gradlab.references.simulator import SimulatorReference
from gradlab.simulation.states import States


@dataclass(frozen=True)
class PhantomOptima:
    """The optima of a critic at B states, held against the true Q^π; one row an optimum, [R], states in order.

    Attributes:
        state: state index.
        optimum: index in the state's list of ``LocalOptima``; 0 is the highest.
        own: whether it is the one that ascent from π(s) reaches, bool; False where that is not known.
        critic_gain: Q(s, a) − Q(s, π(s)) by the critic.
        value_range: the critic's value range in the row's state.
        true_value: Q^π(s, a), of the horizon's rewards, float64.
        actor_true_value: Q^π(s, π(s)), likewise; for a stochastic policy π(s) is its mode.
        gain: the *real gain* Q^π(s, a) − Q^π(s, π(s)) with its uncertainty.
        rise: largest rise of Q^π from the optimum to a point at ``radius`` around it.
        by_value: ``Verdict``, int8: PHANTOM where the critic says that the optimum is better than the actor's action
            and in truth it is worse; REAL where it is better; NOT_CLAIMED where the critic does not say so.
        by_slope: ``Verdict``, int8: PHANTOM where the true Q rises from the optimum to a point at ``radius``; REAL
            where it does not, so that a maximum of the true Q is near.
        radius: as a share of the box's width.
        episode: which episode the row's state is of.
        states: number B of states.
        objective: whose values the true ones are.
        reference: where they come from.
        caveat: what the numbers must never be shown without.
        notes: what a person should know, a line each.
    """

    state: Tensor
    optimum: Tensor
    own: Tensor
    critic_gain: Tensor
    value_range: Tensor
    true_value: Tensor
    actor_true_value: Tensor
    gain: Differences
    rise: Tensor
    by_value: Tensor
    by_slope: Tensor
    radius: float
    episode: Tensor
    states: int
    objective: Objective
    reference: str
    caveat: str
    notes: tuple[str, ...]

    def means(self) -> PhantomMeans:
        """Shares of phantoms and mean gains, promised and real, with intervals over episodes."""
        return phantom_means(self)


def phantom_optima(
    agent: Agent,
    states: States,
    reference: SimulatorReference,
    optima: LocalOptima | None = None,
    *,
    critic: int | None = None,
    radius: float = 0.05,
    threshold: float = 0.01,
    most: int = 4,
    allow_mismatch: bool = False,
) -> PhantomOptima:
    """Roll out from the critic's optima, the actor's action and points around, and see which optima are real.

    Two questions, for an optimum a of Q(s, ·) that follows the policy afterwards:

    * **by value**: is a better than π(s)? The critic claims a gain where Q(s, a) − Q(s, π(s)) is at least
      ``threshold`` of its range; the truth is the sign of Q^π(s, a) − Q^π(s, π(s)).
    * **by slope**: is the true Q(s, ·) locally maximal there? It is compared at the 2p points a ± r·width_j, and at the
      point at that radius on the way to π(s) where that is further. Points that the box's face leaves less than half
      of the radius do not count. Where the true Q is a paraboloid along the axes, a maximum within r/2 of a in every
      coordinate is REAL and one further off PHANTOM; a ridge oblique to all these directions can hide a rise.

    Both verdicts allow for noise (all returns of one optimum share each seed's noise, and differences are taken seed
    by seed), for what the horizon cuts off (``verdicts.differences``, which takes the same rollouts to half the horizon
    as well) and for rounding; at 2.5 % each side, so that one in forty is called wrongly where noise decides.

    Args:
        agent: the agent; a copy acts, in evaluation mode.
        states: B states visited by ``reference.simulator``.
        reference: whose ``values`` are the truth; its horizon is at least 2.
        optima: what ``local_optima(agent, states.obs, critic=critic)`` found; searched for when None.
        critic: index of one critic instead of the one the actor follows.
        radius: r, as a share of the box's width, up to 0.5.
        threshold: persistence, as a share of the value range, from which an optimum is looked at, and gain likewise
            from which it is claimed.
        most: how many optima of a state are looked at, the highest first.
        allow_mismatch: go on where the reference's objective is another than the agent's; every number then says so.

    Raises:
        GradlabError: the objectives differ in discount or entropy, the states or optima do not fit, no optimum counts,
            or an argument is out of range.

    Example:
        >>> from gradlab.testing.environments import LinearQuadraticEnvironment
        >>> from gradlab.worlds import LinearQuadratic
        >>> world = LinearQuadratic(A=0.5, B=0.5, Q=1.0, R=1.0, gamma=0.9, K=0.1)
        >>> reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world, 2.0), horizon=60)
        >>> agent = world.agent(action_bound=2.0)
        >>> states = reference.simulator.visit(agent, 3, seed=0, episodes=3, max_steps=2)
        >>> found = phantom_optima(agent, states, reference)
        >>> found.by_slope.tolist()
        [1, 1, 1]
    """
    agent = measured_agent(agent)
    check_critic(agent, critic)
    radius, threshold = real_number("radius", radius, above=0.0), real_number("threshold", threshold, 0.0)
    most, allow_mismatch = whole_number("most", most, 1), switch("allow_mismatch", allow_mismatch)
    if radius > 0.5:
        raise GradlabError(f"radius: {radius:g}; a share of the box's width, at most 0.5")
    if reference.horizon < 2:
        raise GradlabError("horizon: 1; give at least 2 rewards, by whose course what lies beyond is judged")
    objective = reference.objective(agent)
    caveat, _ = compare_objectives(agent.objective, objective, reference.name, allow_mismatch=allow_mismatch)
    obs = agent.observations(states.obs)
    if optima is None:
        optima = local_optima(agent, obs, critic=critic)
    check_optima(agent, obs, given_optima("optima", optima), critic)
    row, index = _chosen(optima, threshold, most)
    low, high = agent.action_low.cpu(), agent.action_high.cpu()
    with torch.no_grad():
        # Inside the box, where the search started and the environment clips.
        own = agent.action(obs).clamp(agent.action_low, agent.action_high)
        own_value = agent.q(obs, own, critic=critic).cpu()
    own = own.cpu()
    counts = torch.tensor([len(v) for v in optima.values])
    flat = (counts.cumsum(0) - counts)[row] + index
    at = torch.cat(optima.actions).cpu()[flat]
    critic_gain = torch.cat(optima.values).cpu()[flat] - own_value[row]
    around, there = _around(at, own[row], low, high, radius)
    true, rises, gain = _rolled_out(agent, states[row], reference, torch.cat([torch.stack([own[row], at]), around]))
    claimed = critic_gain > threshold * optima.value_range.cpu().to(critic_gain)[row]
    return PhantomOptima(
        state=row,
        optimum=index,
        own=torch.zeros_like(claimed) if optima.actor is None else index == optima.actor.cpu()[row],
        critic_gain=critic_gain.double(),
        value_range=optima.value_range.cpu().double()[row],
        true_value=true[1],
        actor_true_value=true[0],
        gain=gain,
        rise=torch.where(there, rises.value, -torch.inf).amax(0),
        by_value=judge_values(gain, claimed),
        by_slope=judge_slopes(rises, there),
        radius=radius,
        episode=states.episode.cpu()[row],
        states=len(states),
        objective=objective,
        reference=reference.name,
        caveat=caveat,
        notes=_notes(reference, agent, gain),
    )


def _chosen(optima: LocalOptima, threshold: float, most: int) -> tuple[Tensor, Tensor]:
    """State and index of the optima that count, [R] each: by persistence, and of these the highest of each state."""
    counts = torch.tensor([len(v) for v in optima.values])
    state = torch.arange(len(counts)).repeat_interleave(counts)
    index = torch.arange(len(state)) - (counts.cumsum(0) - counts)[state]
    persistence = torch.cat(optima.persistence).cpu()
    enough = persistence >= threshold * optima.value_range.cpu().to(persistence)[state]
    state, index = state[enough], index[enough]
    kept = torch.bincount(state, minlength=len(counts))
    place = torch.arange(len(state)) - (kept.cumsum(0) - kept)[state]
    if len(state) == 0:
        raise GradlabError(
            f"optima: none has a persistence of {threshold:g} of its range; lower it, or is the critic constant?"
        )
    return state[place < most], index[place < most]


def _around(at: Tensor, own: Tensor, low: Tensor, high: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Points around optima [R, p], and which of them count: [2p + 1, R, p] and [2p + 1, R]."""
    width = high - low
    steps = radius * torch.cat([torch.diag(width), -torch.diag(width)])
    points = (at + steps[:, None]).clamp(low, high)
    away = (own - at) / width
    far = away.norm(dim=-1, keepdim=True)
    homewards = at + radius * width * away / far.clamp_min(1e-12)
    points = torch.cat([points, homewards.clamp(low, high)[None]])
    there = ((points - at) / width).norm(dim=-1) >= radius / 2
    there[-1] = far.squeeze(-1) > radius
    # A point that does not count is not rolled out from elsewhere: the optimum itself stands for it.
    return torch.where(there[..., None], points, at), there


def _rolled_out(
    agent: Agent, states: States, reference: SimulatorReference, actions: Tensor
) -> tuple[Tensor, Differences, Differences]:
    """True values [2 + points, R], rises from the optimum [points, R], gain over the actor's action [R]."""
    shorter = reference.horizon // 2
    whole = reference.values(agent, states, actions)
    part = reference.values(agent, states, actions, horizon=shorter).draws
    left = agent.discount ** (reference.horizon - shorter)
    beyond = left / (1 - left) if left < 1 else torch.inf
    draws = whole.draws
    rises = differences(draws[:, 2:], part[:, 2:], draws[:, 1:2], part[:, 1:2], beyond, whole.samples)
    gain = differences(draws[:, 1], part[:, 1], draws[:, 0], part[:, 0], beyond, whole.samples)
    return whole.mean, rises, gain


def _notes(reference: SimulatorReference, agent: Agent, gain: Differences) -> tuple[str, ...]:
    left = agent.discount**reference.horizon
    beyond = f"beyond lies {left:.2g} of the weight of a task that goes on"
    notes = [
        f"true values count {reference.horizon} rewards; {beyond}, allowed for by how the second half of them differs"
    ]
    if agent.policy.stochastic:
        notes.append("the actor's action is the policy's mode; what follows is drawn from the policy")
    bad = int((~torch.isfinite(gain.value)).sum())
    if bad:
        notes.append(f"{bad} of {len(gain.value)} optima have no finite simulation and stay unresolved")
    return tuple(notes)


__all__ = ["PhantomOptima", "Verdict", "phantom_optima"]
