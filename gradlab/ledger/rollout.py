"""The ledger of a rollout: from the gradient an on-policy algorithm takes of it to the gradient of the return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.episode_gradients import parameter_count
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.confidence import variance_interval
from gradlab.ledger.moments import Source, products
from gradlab.ledger.result import ErrorLedger, Term
from gradlab.ledger.rollout_waypoints import Waypoints
from gradlab.ledger.statistics import Statistics
from gradlab.ledger.terms import make_term, unflatten
from gradlab.references.gradient_samples import PolicyGradient, flatten
from gradlab.rollout import Rollout

#: Terms in the order of the chain; a waypoint has the name of the term that ends in it.
_TERMS = (
    "sampling noise",
    "entropy bonus",
    "value loss",
    "advantage shift",
    "GAE bias",
    "bootstrap",
    "state distribution",
    "remaining",
)


@dataclass(frozen=True)
class RolloutLedger(ErrorLedger):
    """The terms between what an on-policy algorithm takes of a rollout and the gradient of the return.

    It is in units of the reward: ``applied`` is the gradient of the first pass over the rollout, at the policy that
    acted, times ``scale``. So a normalised advantage's scale, which says nothing of the direction, is in no term; what
    does not depend on the advantages weighs ``scale`` times its coefficient here.

    Attributes:
        scale: s of the normalised advantage Â = (A − m)/s; 1 where advantages are used as they are.
        shift: m.
        noise: tr Var of ``applied``, the rollout's sampling noise, for E‖applied − truth‖² = noise + ‖E total‖².
    """

    scale: float = 1.0
    shift: float = 0.0
    noise: Estimate = field(default_factory=lambda: Estimate(float("nan"), float("nan"), 0))


def rollout_ledger(
    agent: Agent,
    rollout: Rollout,
    *,
    again: Rollout | None = None,
    true_bootstrap: Tensor | None = None,
    truth: PolicyGradient | Mapping[str, Tensor] | Tensor | None = None,
) -> RolloutLedger:
    r"""Where the gradient of a rollout differs from that of the return: telescoping terms that add up exactly.

    ====================  ==============================================================================================
    waypoint              gradient, a mean over steps; the term that ends in it is the one before minus this one
    ====================  ==============================================================================================
    applied               (1/N) Σ_t (A_t − m) ∇log π(a_t|s_t), A = GAE(λ), with the entropy bonus and V's loss
    sampling noise        the same of the second rollout ``again``; all that follows is of that rollout
    entropy bonus         without the bonus
    value loss            without the pull of V's loss on parameters that V and the actor share
    advantage shift       without m, the mean that normalisation takes off
    GAE bias              λ = 1: the rewards themselves, V only as a baseline and where a trajectory is cut off
    bootstrap             ``true_bootstrap`` in the place of V where a trajectory is cut off
    state distribution    Σ_t γᵗ A_t ∇log π / Σ_t γᵗ, t the step in the episode
    remaining             the truth: in expectation what V at cut-offs and steps beyond the rollout leave
    ====================  ==============================================================================================

    The terms are made on the same trajectories, so that their differences are paired. A waypoint that there are no
    means for is left out; its term says so by name, and is part of *remaining* where there is a truth.

    * *advantage shift* has an expectation of the order of 1/R alone, R the number of trajectories, since
      E ∇log π = 0; it is noise, which a baseline takes off or adds.
    * *GAE bias* has expectation zero where V is V^π or λ = 1 (Schulman et al. 2016, arXiv 1506.02438, section 3).
    * Without *state distribution* the gradient is that of no objective (C. Nota, P. Thomas 2020, arXiv 1906.07073). The
      rollout is taken to cut into episodes anywhere, so that it has steps of each age as often as episodes live to see
      it; where a fifth of the discounted weight is at ages that it has none of, the term is left out.

    **Uncertainty.** Whole trajectories are the independent samples, given V, which was fitted to earlier ones, and the
    scale s; more than 64 are put together in so many groups. Squared norms are of the expected vectors, without
    noise (U-statistics), hence at times negative; ``gradlab.ledger.statistics`` has how, and cosines and shares.
    With ``again``, ``applied`` is what it is, as a minibatch is in ``gradlab.error_ledger``.

    Of PPO it is the first step on a rollout, where no clip acts; ``gradlab.policy_update`` has what clipping does.

    Args:
        agent: the agent that acted; neither changed nor given gradients. A float64 copy is measured.
        rollout: its rollout.
        again: another one of the same policy and V, independent and better larger.
        true_bootstrap: γV^π(s_T) of each trajectory of the last rollout given, 0 where the task ended, [R]; unbiased
            estimates will do.
        truth: ∇J/Σ_t γᵗ: flat [P] or by parameter where it is exact, or ``gradlab.policy_gradient`` at ``States``.

    Raises:
        GradlabError: the policy is deterministic, fewer than three trajectories, or shapes do not fit.

    Example:
        >>> from gradlab.on_policy_loss import OnPolicyLoss
        >>> from gradlab.policies import Softmax
        >>> agent = Agent(torch.nn.Linear(1, 2, bias=False), [], [0, 0], [1, 1], policy=Softmax())
        >>> act = torch.eye(2).repeat(20, 1)
        >>> one, reward, number = torch.ones(40, 1), act[:, 0] - 0.5, torch.arange(40)
        >>> rollout = Rollout(one, act, reward, reward, 0 * reward, number, reward=reward, bootstrap=torch.zeros(40),
        ...                   age=0 * number, loss=OnPolicyLoss(discount=0.9, gae_lambda=0.5))
        >>> ledger = rollout_ledger(agent, rollout)
        >>> ledger["GAE bias"].norm.value, ledger["state distribution"].norm.value, ledger.residual
        (0.0, 0.0, 0.0)
    """
    if not agent.policy.stochastic:
        raise GradlabError("rollout: the policy is deterministic; its actions have no probability to differentiate")
    for one in (rollout, again):
        if one is not None and one.count < 3:
            raise GradlabError(
                f"rollout: {one.count} trajectories; at least three are needed to tell noise from signal"
            )
    double = agent.snapshot(double=True)
    at = rollout if again is None else again
    if true_bootstrap is not None and true_bootstrap.shape != (at.count,):
        raise GradlabError(
            f"true_bootstrap: shape {tuple(true_bootstrap.shape)}; expected [{at.count}], one a trajectory"
        )
    waypoints = Waypoints(double, at, true_bootstrap)
    source = waypoints.source()
    names, vectors, sources = list(waypoints.cotangents), source.means(), [source]
    first = waypoints
    if again is None:
        waypoints.absent["sampling noise"] = "no second rollout of the same policy; pass again="
    else:
        first = Waypoints(double, rollout)
        own = first.source()
        names = ["applied", "sampling noise", *names[1:]]
        vectors = torch.cat([own.means()[:1], vectors])
        sources = [replace(source, waypoints=tuple(i + 1 for i in source.waypoints))]
        source = own
    if truth is None:
        waypoints.absent["remaining"] = "no reference; pass truth="
    else:
        names.append("remaining")
        true, noise = _true(truth, parameter_count(double), len(names) - 1)
        vectors, sources = torch.cat([vectors, true[None]]), [*sources, *noise]
    title = _title(names, truth)
    ledger = _assemble(double, at, names, vectors, sources, waypoints, title)
    return replace(ledger, scale=first.scale, shift=first.shift, noise=_noise(source))


def term_norms(agent: Agent, rollout: Rollout) -> tuple[dict[str, Estimate], tuple[str, ...]]:
    """Squared norms of the terms that a rollout has the means for, and notes: the ledger at a part of its price.

    They are in units of the gradient as applied, ``scale`` of the ledger taken off; terms that are zero because nothing
    is done are left out.

    Args:
        agent: the agent that acted; a float64 copy is measured.
        rollout: its rollout, of three trajectories or more.

    Raises:
        GradlabError: as ``rollout_ledger``.
    """
    if not agent.policy.stochastic or rollout.count < 3:
        raise GradlabError("rollout: a stochastic policy and three trajectories are needed for a ledger")
    waypoints = Waypoints(agent.snapshot(double=True), rollout)
    names, source = list(waypoints.cotangents), waypoints.source()
    ends = torch.eye(len(names), dtype=torch.float64)
    matrix = (ends[:-1] - ends[1:]) / waypoints.scale
    statistics = Statistics(products(source.means(), [source], matrix), samples=rollout.count)
    return {name: statistics.squared_norm(c) for c, name in enumerate(names[1:])}, tuple(waypoints.notes)


def _true(truth: PolicyGradient | Mapping[str, Tensor] | Tensor, size: int, place: int) -> tuple[Tensor, list[Source]]:
    """The reference [P] and the source of its noise."""
    if isinstance(truth, PolicyGradient):
        if not truth.per_weight:
            raise GradlabError(
                "truth: this policy gradient is ∇J itself, the ledger's gradients are means over steps; take "
                "gradlab.policy_gradient at States (simulator.visit), which is ∇J/Σ_t γᵗ"
            )
        samples = truth.samples[:, None].cpu()
        weights = torch.ones(truth.count, 1, dtype=torch.float64)
        found, noise = truth.gradient.cpu(), [Source(samples, weights, (place,), "episodes of the reference")]
    else:
        found, noise = flatten(truth).detach().double().cpu(), []
    if found.shape != (size,) or not bool(torch.isfinite(found).all()):
        raise GradlabError(f"truth: shape {tuple(found.shape)}; expected {size} finite numbers, one a parameter")
    return found, noise


def _title(names: list[str], truth: object) -> str:
    if isinstance(truth, PolicyGradient):
        return truth.name
    ends = {
        "remaining": "the truth given",
        "state distribution": "the rollout's own gradient with λ = 1 and states weighed by γᵗ",
        "bootstrap": "the rollout's own gradient with λ = 1 and true tails",
        "GAE bias": "the rollout's own gradient with λ = 1",
    }
    return ends.get(names[-1], "the rollout's own gradient")


def _assemble(
    agent: Agent,
    rollout: Rollout,
    names: list[str],
    vectors: Tensor,
    sources: list[Source],
    waypoints: Waypoints,
    title: str,
) -> RolloutLedger:
    ends = torch.eye(len(names), dtype=torch.float64)
    matrix = torch.cat([ends[:-1] - ends[1:], (ends[0] - ends[-1])[None], ends[:1], ends[-1:]])
    rows, found = matrix @ vectors, products(vectors, sources, matrix)
    total, applied, last = len(matrix) - 3, len(matrix) - 2, len(matrix) - 1
    objective = "" if rollout.loss is None else f"γ={rollout.loss.discount:g}"
    statistics = Statistics(found, title, objective, rollout.count)
    terms = []
    for name in _TERMS:
        if name in names[1:]:
            c = names.index(name) - 1
            terms.append(make_term(name, unflatten(agent, rows[c]), statistics, c, total, last, ""))
        elif name in waypoints.same:
            zero, none = unflatten(agent, torch.zeros_like(rows[0])), statistics.nothing()
            terms.append(
                Term(name, zero, none, none, share=none, contribution=none, note=f"none: {waypoints.same[name]}")
            )
        else:
            # What is left in the gradients to the end of the chain is in the last difference.
            rest = "remaining" in names and _TERMS.index(name) >= _TERMS.index("GAE bias")
            where = "it is part of remaining" if rest else "it is in no term"
            terms.append(Term(name, note=f"{waypoints.absent[name]}; {where}"))
    return RolloutLedger(
        terms=tuple(terms),
        total=make_term("total", unflatten(agent, rows[total]), statistics, total, total, last, ""),
        applied=unflatten(agent, vectors[0]),
        truth=unflatten(agent, vectors[-1]),
        truth_name=title,
        truth_norm_squared=statistics.squared_norm(last),
        cosine=statistics.cosine(applied, last),
        norm_ratio=statistics.norm_ratio(applied, last),
        objective=objective,
        states={"rollout": len(rollout)},
        notes=(*rollout.notes, *waypoints.notes),
    )


def _noise(source: Source) -> Estimate:
    """The trace of the covariance of the source's first waypoint."""
    first = Source(source.sums[:, :1], source.weights[:, :1], (0,), source.name)
    own = first.pseudo_values(slice(None))[:, 0].square().sum(-1)
    n = len(own)
    value, stderr = float(own.sum()) / (n * (n - 1)), float(own.std()) / (n - 1) / n**0.5
    return Estimate(value, stderr, n, ends=variance_interval(value, stderr, own))
