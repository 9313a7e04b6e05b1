"""What an update did to the policy, seen on the rollout it was made from: how far it went, what clipping took off."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators.trajectory.score import scores_at
from gradlab.ledger.moments import Source, products
from gradlab.ledger.pools import UNITS, flat_gradients, unit_gradients
from gradlab.ledger.result import Vector
from gradlab.ledger.statistics import Statistics
from gradlab.ledger.terms import unflatten
from gradlab.on_policy_terms import entropy_cotangent, shares_parameters, value_pull
from gradlab.rollout import Rollout
from gradlab.statistics.state_means import state_mean, state_share


@dataclass(frozen=True)
class PolicyUpdate:
    """A policy after an update against the one that acted, with ρ_t = π(a_t|s_t)/π_old(a_t|s_t).

    Attributes:
        clipped: share of steps whose gradient clipping takes away: ρ beyond 1 ± ε on the side that Â favours.
        outside: share of steps with |ρ − 1| > ε, whichever side; what libraries call the clip fraction.
        kl: KL(π_old‖π) in nats, the mean of ρ − 1 − log ρ (J. Schulman 2020, *Approximating KL divergence*).
        removed: ‖E b‖² of b, the gradient that clipping takes away, unbiased and hence at times negative.
        unclipped: ‖E g‖² of the gradient g = (1/N) Σ_t ρ_t Â_t ∇log π(a_t|s_t) without clipping, likewise.
        cosine: of the gradients with and without clipping; NaN where one of them is not above its noise.
        removed_gradient: b, like ``agent.named_parameters()``, float64.
        unclipped_gradient: g. The surrogate's own gradient is g − b.
        notes: what a person should know.
    """

    clipped: Estimate
    outside: Estimate
    kl: Estimate
    removed: Estimate
    unclipped: Estimate
    cosine: Estimate
    removed_gradient: Vector
    unclipped_gradient: Vector
    notes: tuple[str, ...] = ()


def policy_update(agent: Agent, rollout: Rollout) -> PolicyUpdate:
    """How far an update has moved the policy, and what clipping keeps out of the gradient where it has come to.

    An algorithm that acts with one policy until the next update is best asked at the end of the next rollout: the
    policy that acted in it is the one that the last step of the update made.

    Trajectories are the independent samples, and the new policy is taken as given, although it was fitted to them:
    the numbers say what the update saw, not what it does elsewhere.

    Args:
        agent: the agent after the update, or in the midst of it; neither changed nor given gradients.
        rollout: the rollout that the update is made from, with ``log_prob`` of the policy that acted, and ``loss``.

    Raises:
        GradlabError: the policy is deterministic, or the rollout lacks these or has fewer than three trajectories.

    Example:
        >>> from gradlab.on_policy_loss import OnPolicyLoss
        >>> from gradlab.policies import Softmax
        >>> agent = Agent(torch.nn.Linear(1, 2, bias=False), [], [0, 0], [1, 1], policy=Softmax())
        >>> _ = torch.nn.init.zeros_(agent.actor.weight)
        >>> act, one = torch.eye(2).repeat(4, 1), torch.ones(8, 1)
        >>> old = torch.tensor([0.25, 0.75]).log().repeat(4)
        >>> loss = OnPolicyLoss(discount=0.9, gae_lambda=0.9, clip=0.2)
        >>> rollout = Rollout(one, act, one[:, 0], one[:, 0], one[:, 0], torch.arange(8), log_prob=old, loss=loss)
        >>> update = policy_update(agent, rollout)
        >>> update.clipped.value, update.outside.value
        (0.5, 1.0)
    """
    if rollout.count < 3:
        raise GradlabError(
            f"rollout: {rollout.count} trajectories; at least three are needed to tell noise from signal"
        )
    double = agent.snapshot(double=True)
    surrogate = _surrogate(double, rollout)
    unit = rollout.trajectory % min(UNITS, rollout.count)
    v = torch.stack([surrogate.removed, surrogate.whole])
    obs = double.observations(rollout.obs)
    sums = unit_gradients(double, obs, v, unit.to(obs.device)).double().cpu()
    sizes = torch.bincount(unit.cpu()).double()[:, None].expand(-1, 2)
    source = Source(sums, sizes, (0, 1), "trajectories")
    means = source.means()
    matrix = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    statistics = Statistics(products(means, [source], matrix), samples=rollout.count)
    episode = rollout.trajectory
    return PolicyUpdate(
        clipped=state_share(surrogate.clipped.double(), episode),
        outside=state_share(surrogate.outside.double(), episode),
        kl=state_mean(surrogate.divergence, episode, least=0.0),
        removed=statistics.squared_norm(0),
        unclipped=statistics.squared_norm(1),
        cosine=statistics.cosine(2, 1),
        removed_gradient=unflatten(double, means[0]),
        unclipped_gradient=unflatten(double, means[1]),
        notes=rollout.notes,
    )


def surrogate_gradient(agent: Agent, rollout: Rollout) -> Vector:
    """The gradient that one step on these rows takes, with clipping, entropy bonus and V's loss as ``loss`` has them.

    It is minus the ``.grad`` that the library's loss leaves on the actor, before that is cut to a largest norm.

    Args:
        agent: the agent at this step; neither changed nor given gradients. A float64 copy is measured.
        rollout: the rows of the minibatch, advantages as they are used, with ``log_prob`` and ``loss``.

    Returns:
        Like ``agent.named_parameters()``, float64: an ascent direction.

    Raises:
        GradlabError: the policy is deterministic, the rollout lacks these, or an entropy bonus has no closed form.
    """
    double = agent.snapshot(double=True)
    surrogate = _surrogate(double, rollout)
    assert rollout.loss is not None
    v = surrogate.whole - surrogate.removed
    if rollout.loss.entropy:
        v = v + rollout.loss.entropy * entropy_cotangent(double, rollout.obs)
    found = flat_gradients(double, double.observations(rollout.obs), v[None])[0]
    if rollout.loss.value and shares_parameters(double, rollout.obs):
        found = found + value_pull(double, rollout)
    return unflatten(double, found)


@dataclass(frozen=True)
class _Surrogate:
    """The clipped objective at each step: cotangents [N, m], masks [N] and ρ − 1 − log ρ [N]."""

    whole: Tensor
    removed: Tensor
    clipped: Tensor
    outside: Tensor
    divergence: Tensor


def _surrogate(agent: Agent, rollout: Rollout) -> _Surrogate:
    if not agent.policy.stochastic:
        raise GradlabError("rollout: the policy is deterministic; its actions have no probability to differentiate")
    lack = ", ".join(name for name in ("log_prob", "loss") if getattr(rollout, name) is None)
    if lack:
        raise GradlabError(f"rollout: a ratio of policies cannot be had without its {lack}; fill these fields")
    assert rollout.log_prob is not None
    assert rollout.loss is not None
    scores, log_prob = scores_at(agent, rollout.obs, rollout.act)
    change = log_prob - rollout.log_prob.to(log_prob)
    advantage, ratio = rollout.advantage.to(log_prob), change.exp()
    clip = rollout.loss.clip
    nothing = torch.zeros_like(ratio, dtype=torch.bool)
    above, below = (nothing, nothing) if clip is None else (ratio > 1 + clip, ratio < 1 - clip)
    # min(ρÂ, clip(ρ)Â) is flat where the clip makes it smaller.
    clipped = (above & (advantage > 0)) | (below & (advantage < 0))
    whole = scores * (ratio * advantage)[:, None]
    return _Surrogate(whole, whole * clipped[:, None], clipped, above | below, ratio - 1 - change)
