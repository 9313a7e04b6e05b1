"""How far an agent's gradient estimators are from a reference: one checkpoint's rows of the table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradlab.agent import Agent
from gradlab.bias.ratios import RelativeError, RelativeErrors
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators import Deterministic, Estimator, ScoreFunction, ZerothOrder, default_estimators
from gradlab.objective import Objective, compare_objectives
from gradlab.references import CriticReference
from gradlab.simulation.states import States
from gradlab.statistics.critic import CriticError, critic_error
from gradlab.tangent import TangentKernel, tangent_kernel

#: Episodes that the states with an open gate must come from for an interval over episodes to mean something.
FEWEST_EPISODES = 3


@dataclass(frozen=True)
class BiasReport:
    """Every estimator's error against one reference at one checkpoint.

    Attributes:
        errors: estimator's name → its error relative to the true gradient; empty where too few gates are open.
        own: estimator's name → ‖E g − c‖²/‖c‖² against the critic's own gradient c: what the estimator adds to the
            critic's error, at all states.
        reference: the reference's name.
        objective: the objective it is the gradient of.
        true_squared: ‖∇J‖² at the head's parameters, which all errors are relative to; None without ``errors``.
        critic: the critic's error in value and in gradient; None where no gate is open.
        states: states asked about.
        open: states where the reference's gate is open.
        episodes: episodes that all states come from.
        reasons: why gates are closed: reason → states, the most frequent first.
        notes: what a person should know, a line each.
    """

    errors: dict[str, RelativeError]
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

    What is measured is the expected update over the distribution that the states come from, in parameter space; see
    ``RelativeErrors`` for the formulas. An estimator's bias has three parts: the critic's error, the estimator's own
    (smoothing, scale; reported apart in ``own``), and what the reference's horizon cuts off.

    Args:
        agent: the agent; a copy is measured.
        reference: what has ``cotangent(agent, states)`` and ``name``, such as ``SimulatorReference``.
        states: states visited by the reference's simulator, of at least three episodes.
        estimators: which ones; ``usual_estimators(agent)`` when None.
        draws: independent draws of each.
        batch: states of the minibatch that variances are stated for.
        values: a reference of a longer horizon for the critic's values alone; ``reference`` when None.
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
    truth = reference.cotangent(agent, states)
    for estimator in chosen:
        # Refused before anything is drawn.
        compare_objectives(estimator.objective(agent), truth.objective, truth.name)
    obs = agent.observations(states.obs)
    kernel = tangent_kernel(agent, obs)
    keep = truth.valid.cpu()
    found = _errors_of(agent, obs, truth.mean, keep, states, kernel, (truth.name, str(truth.objective)))
    critic = CriticReference().cotangent(agent, obs)
    trusting = _errors_of(
        agent, obs, critic.mean, critic.valid.cpu(), states, kernel, (critic.name, str(critic.objective))
    )
    errors, own, notes = {}, {}, []
    for estimator in chosen:
        v = estimator.draw(agent, obs, max(draws, 2), generator).cpu()
        if found is not None:
            errors[estimator.name] = found.of(v[:, keep], batch)
        if trusting is not None:
            own[estimator.name] = trusting.of(v[:, critic.valid.cpu()], batch).bias_squared
        notes += estimator.notes(agent, obs)
    if (horizon := truth.objective.horizon) is not None:
        beyond = truth.objective.discount**horizon
        lost = f"{beyond:.0%} of the weight of a task that goes on lies beyond the horizon"
        notes.insert(0, f"{lost}; what it cuts off is in the bias")
    if found is None and bool(keep.any()):
        notes.insert(0, "the states with an open gate are of fewer than three episodes: no interval, hence no numbers")
    reasons = Counter(str(reason) for reason in truth.diagnostics.get("reason", []) if reason)
    judged = critic_error(agent, truth, states, values=values) if bool(keep.any()) else None
    return BiasReport(
        errors=errors,
        own=own,
        reference=truth.name,
        objective=truth.objective,
        true_squared=None if found is None else found.true_squared,
        critic=judged,
        states=len(states),
        open=int(keep.sum()),
        episodes=episodes,
        reasons=dict(reasons.most_common()),
        notes=tuple(dict.fromkeys(notes)),
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


def _errors_of(
    agent: Agent,
    obs: torch.Tensor,
    truth: torch.Tensor,
    keep: torch.Tensor,
    states: States,
    kernel: TangentKernel,
    words: tuple[str, str],
) -> RelativeErrors | None:
    """Errors against one truth where it is known, or None where that is at too few episodes."""
    episode = states.episode.cpu()[keep]
    if len(episode.unique()) < FEWEST_EPISODES:
        return None
    part = kernel if bool(keep.all()) else kernel.select(keep)
    return RelativeErrors(
        agent, obs[keep], truth.cpu()[keep], episode, kernel=part, reference=words[0], objective=words[1]
    )
