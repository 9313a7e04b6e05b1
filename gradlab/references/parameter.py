"""∇_θ J itself: reference cotangents at states of a distribution, carried to the parameters."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, real_tensor, shown
from gradlab.episode_gradients import EpisodePart, trajectory_gradients
from gradlab.errors import GradlabError
from gradlab.objective import Objective
from gradlab.references.base import ReferenceCotangent
from gradlab.references.gradient_samples import PolicyGradient, grouped
from gradlab.simulation.discounted import DiscountedStates
from gradlab.simulation.given import check_agent
from gradlab.simulation.states import States
from gradlab.tangent import tangent_kernel

#: Share of the variance from which on the reference's noise is what to reduce.
_NOISY = 0.5


def policy_gradient(
    agent: Agent,
    reference: Any,
    states: DiscountedStates | States | Tensor,
    *,
    weights: Tensor | None = None,
    closed: float = 0.05,
) -> PolicyGradient:
    """The gradient of the return out of reference cotangents: Σ_i w_i J_iᵀ ∇_h F_{s_i}.

    * At ``DiscountedStates`` it is ∇J itself, M/(E·k) Σ_i w_i J_iᵀ∇_h F_{s_i}, J being the sum Σ_t γᵗ r_t and not
      its mean a step; each of the E episodes is an independent sample of it. Where the reference keeps to the
      environment's time limit and its horizon reaches it, J is exactly the return of whole episodes; otherwise the
      rewards beyond the horizon and the states beyond the last step are missing, and the notes say what they weigh.
    * At ``States`` it is per unit of weight, Σ_i w_i J_iᵀ∇_h F_{s_i}/Σ_i w_i, with w_i = γᵗ unless ``weights`` says
      otherwise (ones for a replay pool): ∇J divided by Σ_t γᵗ. Episodes are the independent samples.
    * At observations [B, n] likewise, every state an independent sample of weight one.

    The standard error holds everything that differs from one episode to the next: the states, and the reference's
    noise at them. States whose gate is closed are left out, the others being taken to stand for them.

    Args:
        agent: the agent; a float64 copy is differentiated.
        reference: a reference with ``cotangent(agent, states)``, or what that gave.
        states: where.
        weights: w_i [B], not negative; not with ``DiscountedStates``, which have their own.
        closed: largest share of the weight that may lie at closed states. With more of it lost this is no ∇J.

    Raises:
        GradlabError: too many gates are closed, shapes do not fit, or there are fewer than two episodes.

    Example:
        >>> from torch import nn
        >>> from gradlab.references import SimulatorReference
        >>> from gradlab.simulation.discounted import visit_discounted
        >>> actor = nn.Sequential(nn.Linear(10, 2), nn.Tanh())
        >>> _ = nn.init.constant_(actor[0].weight, 0.1), nn.init.zeros_(actor[0].bias)
        >>> agent = Agent(actor, [], action_low=[-1, -1], action_high=[1, 1], discount=0.8)
        >>> reference = SimulatorReference("Reacher-v5", horizon=5)
        >>> found = policy_gradient(agent, reference, visit_discounted(reference.simulator, agent, 4))
        >>> found.gradient.shape, found.count, found.per_weight
        (torch.Size([22]), 4, False)
    """
    check_agent(agent)
    closed = real_number("closed", closed, 0.0, "a share of the weight")
    if not isinstance(states, (DiscountedStates, States)):
        states = real_tensor("states", states)
    if not (isinstance(reference, ReferenceCotangent) or hasattr(reference, "cotangent")):
        raise GradlabError(
            f"reference: {shown(reference)}; give one with cotangent(agent, states), such as SimulatorReference, or "
            "what that gave"
        )
    held = states.states if isinstance(states, DiscountedStates) else states
    given = isinstance(reference, ReferenceCotangent)
    found: ReferenceCotangent = reference if given else reference.cotangent(agent, held)
    obs = held.obs if isinstance(held, States) else held
    if len(found.mean) != len(obs):
        raise GradlabError(f"policy gradient: the reference has {len(found.mean)} states, {len(obs)} were given")
    weights, member, units = _weighed(agent, states, weights)
    keep = found.valid.cpu()
    lost = float(weights[~keep].sum() / weights.sum())
    if lost > closed:
        reasons = sorted({str(reason) for reason in found.diagnostics.get("reason", []) if reason})
        raise GradlabError(
            f"policy gradient: {lost:.0%} of the weight lies at states where the gate of {found.name} is closed"
            f"{' (' + '; '.join(reasons) + ')' if reasons else ''}; what is left is not the gradient of the return: "
            f"use another reference, or pass closed={min(math.ceil(lost * 100) / 100, 1.0)}"
        )
    double = agent.snapshot(double=True)
    double.actor.eval()
    at, rows = double.observations(obs[keep]), member[keep]
    scaled = weights[keep].to(at)[:, None]
    order = rows.argsort(stable=True)
    present, renumbered = rows[order].unique(return_inverse=True)
    v = scaled * found.mean.to(at)[keep]
    sums = torch.zeros(units, sum(p.numel() for p in double.named_parameters().values()), dtype=torch.float64)
    sums[present] = trajectory_gradients(double, EpisodePart(at[order], renumbered), v[order]).double().cpu()
    if isinstance(states, DiscountedStates):
        mean, scale = torch.zeros(()), states.mass / states.draws / (1 - lost)
    else:
        masses = torch.zeros(units, dtype=torch.float64).index_add_(0, rows, weights[keep])
        mean, scale = sums.sum(0) / masses.sum(), units / float(masses.sum())
        # A ratio of means is linear in what an episode adds to the first and to the second.
        sums -= masses[:, None] * mean
    share = _share(double, at, scaled * found.stderr.to(at)[keep], sums)
    return PolicyGradient(
        grouped(mean + scale * sums),
        found.name,
        _objective(reference, found, states),
        per_weight=not isinstance(states, DiscountedStates),
        closed=lost,
        reference_share=share,
        notes=_notes(reference, found, states, lost, agent, share),
    )


def _weighed(
    agent: Agent, states: DiscountedStates | States | Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor, int]:
    """Weights [B], which unit a state belongs to [B], and how many units there are."""
    if isinstance(states, DiscountedStates):
        if weights is not None:
            raise GradlabError("weights: discounted states have weights of their own; leave them out")
        if states.discount != agent.discount:
            raise GradlabError(
                f"policy gradient: states drawn for γ={states.discount:g}, the agent has γ={agent.discount:g}; visit "
                "again"
            )
        # Episodes that were left out are none of the units; nor are their numbers.
        episode = states.states.episode.unique(return_inverse=True)[1]
        return states.weights.double(), episode, states.episodes
    if isinstance(states, States):
        weights = agent.discount ** states.step.double() if weights is None else weights
        member = states.episode.unique(return_inverse=True)[1]
    else:
        weights = torch.ones(len(states), dtype=torch.float64) if weights is None else weights
        member = torch.arange(len(states))
    weights = real_tensor("weights", weights).cpu().double()
    sound = weights.shape == member.shape and bool((torch.isfinite(weights) & (weights >= 0)).all())
    if not sound or not float(weights.sum()) > 0:
        raise GradlabError(
            f"weights: shape {tuple(weights.shape)} for {len(member)} states; give one number a state, none negative "
            "and not all zero"
        )
    return weights, member, int(member.max()) + 1


def _objective(reference: Any, found: ReferenceCotangent, states: DiscountedStates | States | Tensor) -> Objective:
    """That of the cotangents; of whole episodes where every reward until their end is counted."""
    objective = found.objective
    if _whole(reference, objective, states):
        assert isinstance(states, DiscountedStates)
        return replace(objective, horizon=states.steps)
    return objective


def _whole(reference: Any, objective: Objective, states: Any) -> bool:
    return (
        isinstance(states, DiscountedStates)
        and bool(getattr(reference, "respect_time_limit", False))
        and reference.simulator.time_limit == states.steps
        and (objective.horizon is None or objective.horizon >= states.steps)
    )


def _share(agent: Agent, obs: Tensor, spread: Tensor, sums: Tensor) -> float:
    """How much of the variance of Σ_i w_i J_iᵀ v_i over episodes is what the reference's noise makes."""
    if len(sums) < 2:
        return math.nan
    total = float(sums.var(0).sum()) * len(sums)
    blocks = tangent_kernel(agent, obs, full=False).blocks.diagonal(dim1=1, dim2=2)
    own = float((blocks * spread.double().square()).sum())
    return min(own / total, 1.0) if total > 0 else math.nan


def _notes(
    reference: Any,
    found: ReferenceCotangent,
    states: DiscountedStates | States | Tensor,
    lost: float,
    agent: Agent,
    share: float,
) -> tuple[str, ...]:
    notes = []
    if lost > 0:
        notes.append(f"{lost:.1%} of the weight is at states where the gate is closed; the others stand for them")
    if share > _NOISY:
        notes.append(
            f"{share:.0%} of the variance is the reference's own noise; more of its draws tell more than states"
        )
    if isinstance(states, DiscountedStates):
        if states.left_out:
            notes.append(f"{states.left_out} episodes left out: their simulation was not finite")
        if not _whole(reference, found.objective, states):
            beyond = agent.discount**states.steps
            notes.append(
                f"states after step {states.steps} weigh {beyond:.2g} of a task that goes on, and are not represented"
            )
            if found.objective.horizon is not None:
                rewards = agent.discount**found.objective.horizon
                notes.append(f"each state counts {found.objective.horizon} rewards; later ones weigh {rewards:.2g}")
    else:
        notes.append("per unit of weight: the gradient of the return divided by the weight of its states")
    return tuple(notes)
