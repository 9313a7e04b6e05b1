"""The chain from the gradient the optimizer applied to the gradient of the stated objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import default_estimators
from gradlab.estimators.base import Estimator
from gradlab.ledger.assemble import assemble
from gradlab.ledger.moments import Source
from gradlab.ledger.pools import Pool, flat_gradients, make_pool, minibatch_of
from gradlab.ledger.result import ErrorLedger
from gradlab.ledger.targets import Targets, targets_at
from gradlab.objective import Objective
from gradlab.products import all_same, check_draws


def error_ledger(
    agent: Agent,
    minibatch: Any,
    *,
    applied: Mapping[str, Tensor] | None = None,
    estimator: Estimator | None = None,
    replay: Any = None,
    on_policy: Any = None,
    on_policy_weights: Any = None,
    reference: Any = None,
    long_reference: Any = None,
    entropy_reference: Any = None,
    objective: Objective | None = None,
    draws: int = 64,
    generator: torch.Generator | None = None,
    allow_mismatch: bool = False,
) -> ErrorLedger:
    r"""Where the error of the applied gradient comes from: telescoping terms that add up to it exactly.

    ====================  ==============================================================================================
    waypoint              gradient; the term that ends in it is the one before minus this one
    ====================  ==============================================================================================
    applied               what the optimizer had
    estimator noise       the estimator's expectation at the minibatch
    minibatch noise       the same over the replay buffer
    state distribution    the same over the (discounted) on-policy states
    closed gates          the same over those of them where every reference's gate is open; only if some is closed
    smoothing             the critic's own gradient, with the estimator's entropy: whatever the estimator's expectation
                          misses of it, which for a zeroth-order estimator is its smoothing
    critic error          the reference: the critic replaced by true returns (of finitely many rewards)
    truncation            the long reference: with more rewards
    entropy               the stated objective's entropy; also holds the bonus that the estimator leaves out, if it does
    ====================  ==============================================================================================

    With g₀ … g_n these vectors in parameter space, g_k = Σ_i w_i J_iᵀ v_i / Σ_i w_i, the terms g_{k−1} − g_k telescope
    to g₀ − g_n. **Gradients are normalised**: weights w_i are divided by their sum, so that the truth is ∇J / Σ_t γᵗ of
    the policy-gradient theorem (R. Sutton et al. 2000, theorem 1), which is the scale of a minibatch's mean.

    A gradient that a caller did not give the means for is left out. In the middle of the chain its term is then part
    of the next; at the end it is not part of the total. Either way the term says so by name and what to give.
    Without ``on_policy`` the rest of the chain is at the replay states, without these at the minibatch.

    **Uncertainty.** What is estimated is the squared norm of the *expected* vector: expected over the estimator's draws
    at the minibatch given (which, like ``applied``, is what it is), over the buffer that the replay states were drawn
    from, and over the episodes that the on-policy states were visited in. The independent units are whole draws, replay
    states (episodes for a ``States``), on-policy episodes; a reference's own noise and the draws at those states are
    part of their scatter. ‖b‖² is a U-statistic over units, with the interval of ``gradlab.inference.intervals``;
    cosines and shares have a jackknife over the units of all sources, wider where these have tails
    (``gradlab.ledger.statistics``).

    **Cost.** One backward pass for each unit of a pool, at most 64, and for each draw at the minibatch; memory of as
    many parameter vectors as there are units, times the waypoints made from them.

    Args:
        agent: the agent; a snapshot of it is measured.
        minibatch: observations [B, n] of the step in question, or positions [B] (integers) in ``replay``.
        applied: the gradient the optimizer had, like ``agent.named_parameters()``, an *ascent* direction: minus the
            ``.grad`` of an actor loss. One draw of the estimator at the minibatch when None.
        estimator: what the training run applies; by default the usual one for the agent's kind of policy.
        replay: observations [N, n] of the buffer, or better a sample of some thousands that is independent of the
            minibatch, or holds it where that is given by positions; a ``States`` where later references need one.
        on_policy: ``simulator.visit(agent, …)``, weighed by γᵗ, t the step in the episode; or observations [N, n],
            taken to be from the discounted distribution already.
        on_policy_weights: [N], instead; ones give the undiscounted distribution.
        reference: with a method ``cotangent(agent, states)``, such as ``SimulatorReference``, or its result at the last
            pool's states. Of the objective that the critic was trained for.
        long_reference: the same with a longer horizon, or none.
        entropy_reference: of the stated objective, where its entropy is not the training's; of the same horizon as
            the reference before it.
        objective: the stated objective; ``agent.objective`` when None. Only its entropy may differ.
        draws: independent draws of the estimator at each state.
        generator: source of their randomness; a fresh one when None.
        allow_mismatch: take references of another discount or entropy all the same, and say so in the notes.

    Raises:
        GradlabError: something does not fit: shapes, names of parameters, objectives, or a draw is not finite.

    Example:
        >>> from gradlab.estimators import ZerothOrder
        >>> from gradlab.worlds import LinearQuadratic
        >>> world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4)
        >>> g = torch.Generator().manual_seed(0)
        >>> ledger = error_ledger(
        ...     world.agent(), world.states(32, g), estimator=ZerothOrder(0.1), replay=2 * world.states(256, g),
        ...     on_policy=world.states(256, g), generator=g)
        >>> [term.name for term in ledger.terms if not term.missing]
        ['estimator noise', 'minibatch noise', 'state distribution', 'smoothing', 'entropy']
        >>> ledger["critic error"].note
        'no reference; pass reference=SimulatorReference(...) or another; it is not part of the total'
        >>> ledger["state distribution"].norm.resolved, ledger.residual < 1e-12
        (True, True)
    """
    agent = agent.snapshot()
    estimator = estimator or default_estimators(agent)[0]
    _check_arguments(draws, reference, long_reference, entropy_reference)
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    batch, replay, overlap = minibatch_of(agent, minibatch, replay)
    pools = {"minibatch": batch}
    if replay is not None:
        pools["replay"] = make_pool(agent, "replay", replay)
    if on_policy is not None:
        pools["on_policy"] = make_pool(agent, "on_policy", on_policy, on_policy_weights)
    last = list(pools)[-1]
    targets = targets_at(
        agent,
        pools[last],
        estimator,
        (reference, long_reference, entropy_reference),
        objective or agent.objective,
        allow_mismatch,
    )
    chain = _Chain(agent)
    chain.begin(batch, estimator, applied, draws, generator, targets if last == "minibatch" else None)
    for name in list(pools)[1:]:
        v = _drawn(agent, estimator, pools[name], draws, generator).double().mean(0)
        chain.pool(name, pools[name], v, targets if name == last else None)
    if draws == 1 and chain.noisy:
        targets.notes.append("one draw: the estimator's noise cannot be told from its mean; ask for more draws")
    if overlap:
        targets.notes.append(overlap)
    return assemble(agent, chain.names, torch.stack(chain.vectors), chain.sources, pools, targets, draws)


@dataclass
class _Chain:
    """The waypoints so far, and the sources of their noise."""

    agent: Agent
    names: list[str] = field(default_factory=list)
    vectors: list[Tensor] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    noisy: bool = True

    def _add(self, names: Sequence[str], vectors: Tensor) -> tuple[int, ...]:
        first = len(self.names)
        self.names += names
        self.vectors += list(vectors.double())
        return tuple(range(first, len(self.names)))

    def begin(
        self,
        batch: Pool,
        estimator: Estimator,
        applied: Mapping[str, Tensor] | None,
        draws: int,
        generator: torch.Generator,
        targets: Targets | None,
    ) -> None:
        """The applied gradient, the estimator's expectation at the minibatch, and, at fixed states, the rest."""
        v = _drawn(self.agent, estimator, batch, draws, generator)
        own = _drawn(self.agent, estimator, batch, 1, generator)
        self.noisy = not (all_same(v) or (draws == 1 and torch.equal(own, v)))
        v = v if self.noisy else v[:1]
        weights = torch.ones(1, len(batch), dtype=torch.float64, device=v.device)
        names = ["minibatch"]
        if targets is not None and targets.closed:
            weights, names = torch.cat([weights, targets.open.double()[None]]), ["minibatch", "open"]
        first = flat_gradients(self.agent, batch.obs, own) if applied is None else _flat(self.agent, applied)
        self._add(["applied"], first)
        rows = torch.stack([batch.mean(self.agent, v, row) for row in weights], dim=1)
        at = self._add(names, rows.double().mean(0))
        if self.noisy:
            self.sources.append(Source(rows, torch.ones(rows.shape[:2], dtype=torch.float64), at, "draws"))
        if targets is not None:
            self._fixed(batch, targets)

    def _fixed(self, pool: Pool, targets: Targets) -> None:
        """The targets at states that are no sample of anything: only their own standard errors are noise."""
        generator = torch.Generator().manual_seed(targets.seed)
        weights = targets.open.double()
        for group in targets.groups():
            at = self._add(
                [target.name for target in group],
                pool.mean(self.agent, torch.stack([target.mean for target in group]), weights),
            )
            stderr = torch.stack([target.stderr for target in group])
            if bool(stderr.any()):
                # Parameter-space replicates of N(0, Ω), Ω = (1/B²) Σ_i J_iᵀ diag(stderr²) J_i, as units √n as large.
                noise = torch.randn(targets.replicates, 1, *stderr.shape[1:], generator=generator, dtype=torch.float64)
                scaled = targets.replicates**0.5 * noise.to(stderr) * stderr
                rows = torch.stack([pool.mean(self.agent, replicate, weights) for replicate in scaled])
                ones = torch.ones(rows.shape[:2], dtype=torch.float64)
                self.sources.append(Source(rows, ones, at, "replicates of the reference's error"))

    def pool(self, name: str, pool: Pool, v: Tensor, targets: Targets | None) -> None:
        """The estimator's expectation over a pool of states, and the targets where it is the last."""
        names, cotangents, weights = [name], [v], [pool.weights]
        if targets is not None:
            at_open = pool.weights * targets.open
            if targets.closed:
                names, cotangents, weights = [name, "open"], [v, v], [pool.weights, at_open]
            names += [target.name for target in targets.found]
            cotangents += [target.mean for target in targets.found]
            weights += [at_open] * len(targets.found)
        source = pool.source(self.agent, torch.stack(cotangents), torch.stack(weights), ())
        at = self._add(names, source.means())
        self.sources.append(Source(source.sums, source.weights, at, source.name))


def _drawn(agent: Agent, estimator: Estimator, pool: Pool, draws: int, generator: torch.Generator) -> Tensor:
    v = estimator.draw(agent, pool.obs, draws, generator)
    try:
        check_draws(v, len(pool), v.shape[-1])
    except GradlabError as error:
        raise GradlabError(f"{pool.name} states: {error}") from error
    return v


def _flat(agent: Agent, vector: Mapping[str, Tensor]) -> Tensor:
    """A dict like ``named_parameters`` as one row [1, P], float64."""
    named = agent.named_parameters()
    if set(vector) != set(named):
        missing, extra = sorted(set(named) - set(vector)), sorted(set(vector) - set(named))
        raise GradlabError(
            f"applied: lacks {missing[:3]} and has {extra[:3]} besides; give one tensor for each of the agent's "
            "named_parameters()"
        )
    rows = []
    for name, parameter in named.items():
        part = torch.as_tensor(vector[name]).detach().to(parameter.device, torch.float64)
        if part.shape != parameter.shape:
            raise GradlabError(
                f"applied: {name} has shape {tuple(part.shape)}, the parameter {tuple(parameter.shape)}; mend it"
            )
        if not bool(torch.isfinite(part).all()):
            count = int((~torch.isfinite(part)).sum())
            raise GradlabError(f"applied: {count} NaN or infinite numbers in {name}; there is no ledger of such a step")
        rows.append(part.flatten())
    return torch.cat(rows)[None]


def _check_arguments(draws: int, reference: Any, long_reference: Any, entropy_reference: Any) -> None:
    if draws < 1:
        raise GradlabError(f"draws: {draws}; ask for at least one")
    for name, given in (("long_reference", long_reference), ("entropy_reference", entropy_reference)):
        if given is not None and reference is None:
            raise GradlabError(f"{name}: is compared with reference=, which is not given; pass that as well")
