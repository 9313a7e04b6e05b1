"""The gradients at the far end of the chain: the critic's own and the references', at the last pool's states."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import Estimator
from gradlab.ledger.pools import Pool
from gradlab.objective import Objective
from gradlab.references import CriticReference, ReferenceCotangent


@dataclass(frozen=True)
class Target:
    """A waypoint made of a reference.

    Attributes:
        name: of the waypoint.
        mean: [B, m], float64, zero where the gate is closed.
        stderr: likewise.
        title: what it is, in words.
        objective: it is the gradient of.
        group: targets of one group share their noise.
    """

    name: str
    mean: Tensor
    stderr: Tensor
    title: str
    objective: Objective
    group: int


@dataclass
class Targets:
    """The targets that could be found, and why others could not.

    Attributes:
        found: in the order of the chain.
        absent: waypoint → why it is not there and what to give.
        same: waypoint → why it would be the one before it.
        open: states [B] where all gates are open.
        reasons: why gates are closed.
        notes: for people.
    """

    found: list[Target]
    absent: dict[str, str]
    same: dict[str, str]
    open: Tensor
    reasons: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    #: Of the replicates that stand for a reference's noise at fixed states; far from the seeds people choose.
    seed: int = 7_405_883_162
    replicates: int = 64

    @property
    def closed(self) -> int:
        """States where some gate is closed."""
        return int((~self.open).sum())

    def groups(self) -> list[list[Target]]:
        """Targets that share their noise, together."""
        return [[t for t in self.found if t.group == group] for group in sorted({t.group for t in self.found})]


def targets_at(
    agent: Agent,
    pool: Pool,
    estimator: Estimator,
    references: tuple[Any, Any, Any],
    stated: Objective,
    allow_mismatch: bool,
) -> Targets:
    """Ask the critic and the references ``(reference, long, entropy)`` for their gradients at the pool's states.

    Raises:
        GradlabError: a reference is of another objective, does not fit, or no state is open in all of them.
    """
    trained = agent.objective
    applied = estimator.objective(agent)
    notes: list[str] = []
    _agree(f"estimator {estimator.name}", applied, trained, notes, allow_mismatch, entropy=False)
    _agree("objective", stated, trained, notes, allow_mismatch, entropy=False)
    if applied.entropy not in (0.0, trained.entropy):
        raise GradlabError(
            f"estimator {estimator.name}: has {_entropy(applied)}, the training objective {_entropy(trained)}; "
            "only leaving the bonus out altogether can be told apart"
        )
    absent: dict[str, str] = {}
    same: dict[str, str] = {}
    found: list[tuple[str, ReferenceCotangent]] = []
    if agent.critics:
        found.append(("smoothing", _critic(agent, pool, applied.entropy != 0)))
        if applied.entropy == trained.entropy:
            same["entropy bonus"] = "the estimator's entropy is the training objective's"
        else:
            found.append(("entropy bonus", _critic(agent, pool, True)))
    else:
        absent["smoothing"] = "the agent has no critic; pass critics=[...] to gradlab.Agent"
        if applied.entropy != trained.entropy:
            absent["entropy bonus"] = "the agent has no critic to add the bonus to; pass critics=[...] to gradlab.Agent"
    names = ("critic error", "truncation", "entropy")
    wanted = (trained, trained, stated)
    for name, reference, objective in zip(names, references, wanted, strict=True):
        if reference is not None:
            cotangent = _ask(agent, pool, reference, name, objective, notes, allow_mismatch)
            found.append((name, cotangent))
    _explain(references, dict(found), trained, stated, absent, same)
    return _targets(pool, found, absent, same, notes)


def _explain(
    references: tuple[Any, Any, Any],
    found: dict[str, ReferenceCotangent],
    trained: Objective,
    stated: Objective,
    absent: dict[str, str],
    same: dict[str, str],
) -> None:
    """Why references are not there, and whether the horizons make sense."""
    reference, long, entropy = references
    if reference is None:
        absent["critic error"] = "no reference; pass reference=SimulatorReference(...) or another"
        absent["truncation"] = "no reference; pass reference= and long_reference=, of a longer horizon"
    elif long is None:
        horizon = found["critic error"].objective.horizon
        if horizon is None:
            same["truncation"] = "the reference counts all rewards"
        else:
            absent["truncation"] = f"the reference counts {horizon} rewards; pass long_reference= that counts more"
    else:
        short, further = (found[name].objective.horizon for name in ("critic error", "truncation"))
        if short is None or (further is not None and further <= short):
            raise GradlabError(
                f"long_reference: its horizon is {further}, the reference's is {short}; it must be longer"
            )
    if entropy is not None:
        before = found["truncation" if long is not None else "critic error"].objective.horizon
        if found["entropy"].objective.horizon != before:
            raise GradlabError(
                f"entropy_reference: its horizon is {found['entropy'].objective.horizon}, that of the reference before "
                f"it {before}; give both the same, so that entropy is all that changes"
            )
    else:
        if stated.entropy == trained.entropy:
            same["entropy"] = "the stated objective's entropy is the training objective's"
        else:
            absent["entropy"] = (
                f"the stated objective has entropy α={stated.entropy:.3g}, the training's has {trained.entropy:.3g}; "
                "pass entropy_reference= of the stated one"
            )


def _critic(agent: Agent, pool: Pool, entropy: bool) -> ReferenceCotangent:
    return CriticReference(entropy=entropy).cotangent(agent, pool.obs)


def _ask(
    agent: Agent, pool: Pool, reference: Any, name: str, wanted: Objective, notes: list[str], allow_mismatch: bool
) -> ReferenceCotangent:
    label = f"reference for {name}"
    stated = getattr(reference, "objective", None)
    if not isinstance(reference, ReferenceCotangent):
        if not hasattr(reference, "cotangent"):
            raise GradlabError(
                f"{label}: {type(reference).__name__} has no method cotangent(agent, states); "
                "pass a reference such as SimulatorReference, or its result"
            )
        if callable(stated):
            # Before the work is done, where the reference can tell.
            _agree(label, stated(agent), wanted, [], allow_mismatch)
        reference = reference.cotangent(agent, pool.given)
    found: ReferenceCotangent = reference
    if len(found.mean) != len(pool):
        raise GradlabError(f"{label}: has {len(found.mean)} states, the {pool.name} pool has {len(pool)}")
    _agree(label, found.objective, wanted, notes, allow_mismatch)
    bad = found.valid & ~(torch.isfinite(found.mean) & torch.isfinite(found.stderr)).all(-1)
    if bool(bad.any()):
        states = bad.nonzero().flatten().tolist()
        raise GradlabError(
            f"{label}: NaN or infinite at {len(states)} states it calls valid, first {states[:3]}; close its gate there"
        )
    return found


def _agree(
    label: str, has: Objective, wants: Objective, notes: list[str], allow_mismatch: bool, *, entropy: bool = True
) -> None:
    differences = []
    if not math.isclose(has.discount, wants.discount, rel_tol=1e-9):
        differences.append(f"{_discount(has)} against {_discount(wants)}")
    if entropy and not math.isclose(has.entropy, wants.entropy, rel_tol=1e-6, abs_tol=1e-12):
        differences.append(f"{_entropy(has)} against {_entropy(wants)}")
    if not differences:
        return
    text = f"{label}: another objective, {' and '.join(differences)}"
    if not allow_mismatch:
        raise GradlabError(f"{text}; give one of the same objective, or pass allow_mismatch=True")
    notes.append(f"mismatch allowed: {text}")


def _discount(objective: Objective) -> str:
    return "undiscounted" if objective.discount == 1.0 else f"discounted γ={objective.discount:g}"


def _entropy(objective: Objective) -> str:
    return f"entropy α={objective.entropy:.3g}" if objective.entropy else "no entropy"


def _targets(
    pool: Pool,
    found: list[tuple[str, ReferenceCotangent]],
    absent: dict[str, str],
    same: dict[str, str],
    notes: list[str],
) -> Targets:
    valid = torch.ones(len(pool), dtype=torch.bool, device=pool.obs.device)
    reasons: list[str] = []
    for _, one in found:
        valid &= one.valid.to(valid.device)
        reasons += [str(reason) for reason in one.diagnostics.get("reason", []) if reason]
    if not float(pool.weights[valid].sum()) > 0:
        why = "; ".join(sorted(set(reasons))) or "gate closed"
        raise GradlabError(f"references: no {pool.name} state is open in all of them ({why}); nothing to compare with")
    targets = []
    for position, (name, one) in enumerate(found):
        mean, stderr = (
            torch.where(valid[:, None], part.to(valid.device, torch.float64), 0.0) for part in (one.mean, one.stderr)
        )
        # With and without entropy the critic's sampled gradient is of the same noise.
        group = 0 if name in ("smoothing", "entropy bonus") else position + 1
        targets.append(Target(name, mean, stderr, one.name, one.objective, group))
    return Targets(targets, absent, same, valid, tuple(sorted(set(reasons))), notes)
