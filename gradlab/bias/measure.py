"""How far an agent's gradient estimators are from a reference: one checkpoint's rows of the table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradlab.agent import Agent
from gradlab.bias.by_state import StateError, state_error
from gradlab.bias.ratios import RelativeError, RelativeErrors
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators import Deterministic, Estimator, ScoreFunction, ZerothOrder, default_estimators
from gradlab.objective import Objective, compare_objectives
from gradlab.references import CriticReference, SimulatorReference
from gradlab.references.base import ReferenceCotangent
from gradlab.simulation.states import States
from gradlab.statistics.critic import CriticError, critic_error

#: Episodes that the states with an open gate must come from for an interval over episodes to mean something.
FEWEST_EPISODES = 3


@dataclass(frozen=True)
class BiasReport:
    """Every estimator's error against one reference at one checkpoint.

    Attributes:
        at_states: estimator's name → its error at the head, state by state; empty where too few gates are open.
        update: estimator's name → the error of its expected update over the states, in parameter space (over the
            policy's own steps, every one alike: not ∇J, which ``policy_gradient`` gives); empty too where the true
            one's norm is not resolved from zero, since errors are relative to it.
        own: estimator's name → E‖E v − c‖²/E‖c‖² against the critic's own gradient c, state by state: what the
            estimator adds to the critic's error, at all states.
        reference: the reference's name.
        objective: the objective it is the gradient of.
        true_squared: ‖E J_sᵀ r_s‖², which errors of updates are relative to; None where too few gates are open.
        critic: the critic's error in value and in gradient; None where no gate is open.
        states: states asked about.
        open: states where the reference's gate is open.
        episodes: episodes that all states come from.
        reasons: why gates are closed: reason → states, the most frequent first.
        notes: what a person should know, a line each.
    """

    at_states: dict[str, StateError]
    update: dict[str, RelativeError]
    own: dict[str, Estimate]
    reference: str
    objective: Objective
    true_squared: Estimate | None
    critic: CriticError | None
    states: int
    open: int
    episodes: int
    reasons: dict[str, int]
    notes: tuple[str, ...] = ()


def usual_estimators(agent: Agent, radius: float = 0.1) -> tuple[Estimator, ...]:
    """The gradients that algorithms in use follow, for an agent of this kind.

    For a deterministic actor: DPG; two-point zeroth order of Gaussian directions, and of those that the public code of
    CPG draws (``ClippedGaussian``); the score function of ``Around(radius)``, without and with leave-one-out baseline.

    Args:
        agent: the agent.
        radius: of zeroth-order perturbations and of the score function's policy, in the critic's action units.

    Example:
        >>> agent = Agent(torch.nn.Linear(2, 1), [torch.nn.Bilinear(2, 1, 1)], action_low=-1, action_high=1)
        >>> [estimator.name for estimator in usual_estimators(agent)][:3]
        ['deterministic', 'zeroth-order-2', 'zeroth-order-2-clipped']
    """
    if agent.policy.stochastic:
        return default_estimators(agent)
    return (
        Deterministic(),
        ZerothOrder(radius, points=2),
        ZerothOrder(radius, points=2, directions="clipped"),
        ScoreFunction(radius),
        ScoreFunction(radius, "leave-one-out"),
    )


def measure_bias(
    agent: Agent,
    reference: Any,
    states: States,
    *,
    estimators: Sequence[Estimator] | None = None,
    draws: int = 512,
    batch: int = 256,
    values: Any = None,
    generator: torch.Generator | None = None,
) -> BiasReport:
    """Bias, variance and direction of estimators that trust the agent's critic, against a reference that does not.

    Twice: state by state at the actor's head (``state_error``), where no state's error makes up for another's; and of
    the expected update over the distribution that the states come from, in parameter space (``RelativeErrors``), where
    they may. An estimator's bias has three parts: the critic's error, the estimator's own
    (smoothing, scale; reported apart in ``own``), and what the reference's horizon cuts off.

    Args:
        agent: the agent; a copy is measured.
        reference: what has ``cotangent(agent, states)`` and ``simulator``, such as ``SimulatorReference``, or the
            cotangent that it gave, where it was asked before (then ``values`` must be given).
        states: states visited by the reference's simulator, of at least three episodes.
        estimators: which ones; ``usual_estimators(agent)`` when None.
        draws: independent draws of each.
        batch: states of the minibatch that variances are stated for.
        values: a reference of a longer horizon for the critic's values alone; ``reference`` when None, or where that
            tells no values a ``SimulatorReference`` of ``long_horizon``.
        generator: source of the draws; one seeded with 0 when None.

    Raises:
        GradlabError: the agent or the states do not fit, the reference is for another objective (discount, entropy),
            or the states are of fewer than three episodes.

    Example:
        >>> from gradlab.references import SimulatorReference
        >>> actor = torch.nn.Sequential(torch.nn.Linear(10, 2), torch.nn.Tanh())
        >>> _ = [torch.nn.init.constant_(parameter, 0.05) for parameter in actor.parameters()]
        >>> class Critic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return -act.square().sum(-1)
        >>> agent = Agent(actor, [Critic()], action_low=[-1, -1], action_high=[1, 1])
        >>> reference = SimulatorReference("Reacher-v5", horizon=2)
        >>> states = reference.simulator.visit(agent, 8, episodes=4)
        >>> report = measure_bias(agent, reference, states, estimators=[Deterministic()], draws=2)
        >>> report.open, str(report.objective), round(report.own["deterministic"].value, 6)
        (8, 'γ=0.99, H=2', 0.0)
    """
    episodes = len(states.episode.unique())
    if episodes < FEWEST_EPISODES:
        raise GradlabError(
            f"bias: the states are of {episodes} episodes; intervals over episodes need at least {FEWEST_EPISODES}"
        )
    generator = generator or torch.Generator().manual_seed(0)
    chosen = tuple(usual_estimators(agent) if estimators is None else estimators)
    given = isinstance(reference, ReferenceCotangent)
    truth: ReferenceCotangent = reference if given else reference.cotangent(agent, states)
    for estimator in chosen:
        # Refused before anything is drawn.
        compare_objectives(estimator.objective(agent), truth.objective, truth.name)
    obs = agent.observations(states.obs)
    keep, episode = truth.valid.cpu(), states.episode.cpu()
    enough = len(episode[keep].unique()) >= FEWEST_EPISODES
    found = _relative(agent, obs, truth, episode) if enough else None
    critic = CriticReference().cotangent(agent, obs)
    at_states, update, own = {}, {}, {}
    notes: list[str] = []
    for estimator in chosen:
        v = estimator.draw(agent, obs, max(draws, 2), generator).cpu()
        own[estimator.name] = state_error(v, critic, episode).bias_squared
        if found is not None:
            at_states[estimator.name] = state_error(v, truth, episode)
            if found.true_squared.resolved:
                update[estimator.name] = found.of(v[:, keep], batch)
        notes += estimator.notes(agent, obs)
    reasons = Counter(str(reason) for reason in truth.diagnostics.get("reason", []) if reason)
    judged = None
    if enough:
        if values is None and not given and not hasattr(reference, "values"):
            values = SimulatorReference(reference.simulator, long_horizon(agent.discount))
        judged = critic_error(agent, truth, states, values=reference if values is None else values)
    return BiasReport(
        at_states=at_states,
        update=update,
        own=own,
        reference=truth.name,
        objective=truth.objective,
        true_squared=None if found is None else found.true_squared,
        critic=judged,
        states=len(states),
        open=int(keep.sum()),
        episodes=episodes,
        reasons=dict(reasons.most_common()),
        notes=tuple(dict.fromkeys([*_notes(truth, enough), *notes])),
    )


def long_horizon(discount: float, left: float = 0.01, most: int = 1000) -> int:
    """The horizon beyond which at most ``left`` of the weight of a discounted return lies, but no longer than ``most``.

    Example:
        >>> long_horizon(0.99), long_horizon(1.0)
        (459, 1000)
    """
    if discount >= 1:
        return most
    return min(most, max(1, math.ceil(math.log(left) / math.log(discount)))) if discount > 0 else 1


def _notes(truth: ReferenceCotangent, enough: bool) -> list[str]:
    """What a person should know of the reference."""
    notes = []
    if not enough and bool(truth.valid.any()):
        notes.append("the states with an open gate are of fewer than three episodes: no interval, hence no numbers")
    if note := truth.diagnostics.get("note"):
        notes.append(str(note))
    if (horizon := truth.objective.horizon) is not None:
        lost = f"{truth.objective.discount**horizon:.0%} of the weight of a task that goes on lies beyond the horizon"
        notes.append(f"{lost}; what it cuts off is in the bias")
    return notes


def _relative(agent: Agent, obs: torch.Tensor, truth: ReferenceCotangent, episode: torch.Tensor) -> RelativeErrors:
    """Errors of updates at the states where the gate is open."""
    keep = truth.valid.cpu()
    return RelativeErrors(
        agent, obs[keep], truth.mean.cpu()[keep], episode[keep], reference=truth.name, objective=str(truth.objective)
    )
