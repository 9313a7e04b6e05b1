"""How good a learned surrogate is: its errors, its gradients on the plateau, and optima of its own making."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, whole_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.landscape.entrance import measured_agent, random_source
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.optima import local_optima
from gradlab.landscape.planes.paths import ascent_path
from gradlab.landscape.surface import check_critic
from gradlab.landscape.truncated.compared_optima import below_threshold, counting_optima, unmatched
from gradlab.landscape.truncated.surrogate_agents import (
    ROWS,
    Learned,
    check_actions,
    gradients,
    learned_agent,
    surrogate_agent,
    uniform_actions,
)
from gradlab.statistics.state_means import count_mean, state_mean, state_share


@dataclass(frozen=True)
class SurrogateQuality:
    """A learned surrogate Ψ̂ against the exact one, Ψ = max(Q, τ); means over states with intervals.

    Attributes:
        anchor_error: Ψ̂ − Ψ at the anchors, signed, in units of Q.
        anchor_squared: its square, in squared units of Q.
        box_error: Ψ̂ − Ψ at uniform actions, signed.
        box_squared: its square.
        relative_error: root of the mean square over the box, state by state, as a share of Q's range there.
        below: share of uniform actions where Ψ̂ < τ by more than ``slack``; an exact surrogate is never below.
        shortfall: mean of max(τ − Ψ̂, 0) over uniform actions, in units of Q.
        plateau: share of uniform actions on the plateau, Q ≤ τ. What follows is of these, over the states that have
            some.
        vanishing: share of plateau actions where ‖∇_a Ψ̂‖ is below ``least_slope`` times the root mean square of
            ‖∇_a Q‖ over the box, both per width of the box: an actor there stands still.
        slope: ‖∇_a Ψ̂‖ there over that same scale, mean.
        towards: share of plateau actions whose ∇_a Ψ̂ has a positive product with the way to the nearest of the uniform
            actions with Q > τ. A random direction has one half. Over the states that have such actions.
        escapes: share of plateau actions from where ascent on Ψ̂ ends where Q > τ, over the same states.
        ascent_gain: mean of Ψ less τ where ascent on Ψ̂ from plateau actions ends, as a share of (max Q − τ); what the
            exact surrogate leaves at zero. Over states where something is above τ.
        optima: number of strict optima of Ψ̂.
        spurious: number of those with no optimum of Ψ within ``radius``.
        missed: number of optima of Ψ with none of Ψ̂ within ``radius``.
        on_plateau: number of optima of Ψ̂ where Q ≤ τ: an actor there is no better than those before.
        per_state: the same numbers state by state, name → [S]; NaN where there is nothing to measure.
        slack: as above, as a share of Q's range.
        least_slope: as above.
        radius: as above, as a share of the box's diagonal.
    """

    anchor_error: Estimate
    anchor_squared: Estimate
    box_error: Estimate
    box_squared: Estimate
    relative_error: Estimate
    below: Estimate
    shortfall: Estimate
    plateau: Estimate
    vanishing: Estimate
    slope: Estimate
    towards: Estimate
    escapes: Estimate
    ascent_gain: Estimate
    optima: Estimate
    spurious: Estimate
    missed: Estimate
    on_plateau: Estimate
    per_state: dict[str, Tensor]
    slack: float
    least_slope: float
    radius: float


#: Distances held at once.
_DISTANCES = 1 << 24

_SIGNED = ("anchor_error", "box_error")
_SHARES = ("below", "plateau", "vanishing", "towards", "escapes")
_COUNTS = ("optima", "spurious", "missed", "on_plateau")


def surrogate_quality(
    agent: Agent,
    obs: Any,
    learned: Learned,
    previous: Tensor,
    *,
    anchors: Tensor | None = None,
    critic: int | None = None,
    samples: int = 128,
    starts: int = 64,
    threshold: float = 0.01,
    slack: float = 0.01,
    least_slope: float = 0.01,
    radius: float = 0.1,
    episode: Any = None,
    generator: torch.Generator | None = None,
) -> SurrogateQuality:
    """Hold a learned surrogate Ψ̂(s, a, a_0 … a_{k−1}) against the exact Ψ(s, a) = max(Q(s, a), max_j Q(s, a_j)).

    SAVO (arXiv 2410.11833, section 4.3) learns its surrogates because the exact ones are flat below τ. A learned one is
    worth having where its gradient on the plateau does not vanish and leads to where Q > τ, and harmful where it has
    optima that the exact one lacks. The gradients are per width of the box, so that coordinates of different units
    count alike.

    Args:
        agent: the agent.
        obs: observations [S, n].
        learned: called with observations [B, n], actions [B, p] and previous actions [B, k, p]; gives [B] or [B, 1].
        previous: actions of the previous actors, [k, S, p], k ≥ 1, in the critic's action units.
        anchors: the actions at which it is trained, [m, S, p]; the previous ones by default.
        critic: index of the critic; the one the actor follows by default.
        samples: uniform actions a state.
        starts: starts a state of the two searches for optima.
        threshold: persistence, as a share of Q's range, from which an optimum counts, of Ψ and Ψ̂ alike.
        slack: how far below τ is a violation, as a share of Q's range.
        least_slope: which gradients vanish, as a share of the root mean square gradient of Q.
        radius: within which an optimum of the one is an optimum of the other, as a share of the box's diagonal.
        episode: which episode a state is from, [S]; every state is its own when None.
        generator: source of all starts; one with seed 0 when None.

    Raises:
        GradlabError: there is no previous action, shapes do not fit, values are NaN, or a number is out of range.

    Example:
        >>> agent = Agent(torch.nn.Identity(), [lambda obs, act: -act.square().sum(-1)], [-1.0], [1.0])
        >>> too_high = lambda obs, act, previous: 0.5 - act.square().sum(-1)
        >>> quality = surrogate_quality(agent, torch.zeros(2, 1), too_high, torch.full((1, 2, 1), 0.5))
        >>> quality.anchor_error.value, quality.escapes.value, quality.spurious.value
        (0.5, 1.0, 0.0)
    """
    agent = measured_agent(agent)
    check_critic(agent, critic)
    states = agent.observations(obs)
    before = check_actions("previous", agent, states, previous).clamp(agent.action_low, agent.action_high)
    if len(before) == 0:
        raise GradlabError("previous: no actions; the first surrogate is Q itself, and nothing is learned")
    trained = before if anchors is None else check_actions("anchors", agent, states, anchors)
    samples, starts = whole_number("samples", samples, 1), whole_number("starts", starts, 1)
    threshold, slack = real_number("threshold", threshold, 0.0), real_number("slack", slack, 0.0)
    least_slope, radius = real_number("least_slope", least_slope, 0.0), real_number("radius", radius, above=0.0)
    random = random_source(generator)

    imitation, rows = learned_agent(agent, states, learned, before)
    with torch.no_grad():
        cut = agent.q(states, before, critic=critic).amax(0)
        at_anchors = imitation.q(rows, trained) - torch.maximum(agent.q(states, trained, critic=critic), cut)
    exact, exact_rows = surrogate_agent(agent, states, cut, critic=critic)
    whole = local_optima(agent, states, critic=critic, starts=starts, generator=random)
    search: dict[str, Any] = {"starts": starts, "generator": random, "value_range": whole.value_range}
    numbers = {"anchor_error": at_anchors.mean(0), "anchor_squared": at_anchors.square().mean(0)}
    act = uniform_actions(agent, samples, len(states), random)
    numbers |= _over_the_box(agent, states, critic, imitation, rows, act, cut, whole, slack, least_slope)
    pair = local_optima(imitation, rows, **search), local_optima(exact, exact_rows, **search)
    diagonal = (agent.action_high - agent.action_low) * agent.action_size**0.5
    counting = [counting_optima(found, threshold) for found in pair]
    alone = [unmatched(a, b, diagonal, radius) for a, b in (counting, counting[::-1])]
    numbers |= {
        "optima": torch.tensor([float(len(found)) for found in counting[0]]),
        "spurious": alone[0],
        "missed": alone[1],
        "on_plateau": below_threshold(agent, states, critic, counting[0], cut),
    }
    said: dict[str, Any] = {"episode": episode, "reference": "exact surrogate", "objective": str(agent.objective)}
    estimates = {
        name: state_share(part, **said)
        if name in _SHARES
        else count_mean(part, **said)
        if name in _COUNTS
        else state_mean(part, **said, least=-math.inf if name in _SIGNED else 0)
        for name, part in numbers.items()
    }
    return SurrogateQuality(**estimates, per_state=numbers, slack=slack, least_slope=least_slope, radius=radius)


def _over_the_box(
    agent: Agent,
    states: Tensor,
    critic: int | None,
    imitation: Agent,
    rows: Tensor,
    act: Tensor,
    cut: Tensor,
    whole: LocalOptima,
    slack: float,
    least_slope: float,
) -> dict[str, Tensor]:
    """What uniform actions [K, S, p] tell, state by state."""
    with torch.no_grad():
        q, imitated = agent.q(states, act, critic=critic), imitation.q(rows, act)
    if not bool(torch.isfinite(imitated).all()):
        bad = (~torch.isfinite(imitated)).any(0).nonzero().flatten().tolist()
        raise GradlabError(f"learned surrogate: NaN or infinite values in state(s) {bad[:5]}; has it diverged?")
    width = agent.action_high - agent.action_low
    error = imitated - torch.maximum(q, cut)
    flat, above = q <= cut, q > cut
    scale = (gradients(agent, states, act, critic) * width).square().sum(-1).mean(0).sqrt()
    slope = gradients(imitation, rows, act) * width
    steep = slope.norm(dim=-1) / scale.clamp_min(torch.finfo(scale.dtype).tiny)

    # From every action to the nearest with Q > τ in the same state.
    place = (act / width).transpose(0, 1)
    block = max(1, _DISTANCES // len(act) ** 2)
    nearest = torch.cat(
        [
            torch.cdist(some, some).masked_fill(~higher[:, None], torch.inf).argmin(-1)
            for some, higher in zip(place.split(block), above.T.split(block), strict=True)
        ]
    )
    way = place.gather(1, nearest[..., None].expand_as(place)) - place
    uphill = (way.transpose(0, 1) * slope).sum(-1) > 0
    somewhere = flat & above.any(0)

    starts = zip(rows.repeat(len(act), 1).split(ROWS), act.flatten(0, 1).split(ROWS), strict=True)
    end = torch.cat([ascent_path(imitation, some, start, steps=60)[-1] for some, start in starts]).reshape(act.shape)
    with torch.no_grad():
        reached = agent.q(states, end, critic=critic)
    room = torch.maximum(whole.best_value, q.amax(0)) - cut
    tiny = 1e-3 * whole.value_range
    gain = (reached - cut).clamp_min(0) / torch.where(room > tiny, room, torch.nan)
    span = torch.where(whole.value_range > 0, whole.value_range, torch.nan)
    return {
        "box_error": error.mean(0),
        "box_squared": error.square().mean(0),
        "relative_error": error.square().mean(0).sqrt() / span,
        "below": (imitated < cut - slack * whole.value_range).to(q).mean(0),
        "shortfall": (cut - imitated).clamp_min(0).mean(0),
        "plateau": flat.to(q).mean(0),
        "vanishing": _mean_where(steep < least_slope, flat),
        "slope": _mean_where(steep, flat),
        "towards": _mean_where(uphill, somewhere),
        "escapes": _mean_where(reached > cut + tiny, somewhere),
        "ascent_gain": _mean_where(gain, flat),
    }


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Means [S] of values [K, S] over the rows of each state that count; NaN where none does."""
    return values.double().masked_fill(~where, 0.0).sum(0) / where.sum(0)
