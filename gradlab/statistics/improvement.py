"""What a step along a gradient does to the return, against what was predicted to first order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.episode_error import ParameterReference
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators.trajectory.score import scores_along
from gradlab.inference.confidence import skewed_interval
from gradlab.inference.quotient import quotient_interval
from gradlab.objective import Objective, compare_objectives
from gradlab.references.gradient_samples import PolicyGradient, flatten
from gradlab.simulation.simulator import Simulator
from gradlab.trajectories import Trajectories

#: Ratios at which trust regions shrink and grow (J. Nocedal, S. Wright 2006, *Numerical optimization*, algorithm 4.1).
_POOR, _GOOD = 0.25, 0.75
#: Share of noise in ‖g‖² from which on a word is said.
_NOISY = 0.05


@dataclass(frozen=True)
class ImprovementStep:
    """One step θ + ηd.

    Attributes:
        step_size: η.
        actual: J(θ + ηd) − J(θ), over pairs of episodes with common random numbers.
        predicted: η d·∇J with the reference's ∇J and its interval; None without a reference.
        claimed: η d·g, what the gradient g itself promises.
        ratio: ρ, actual over predicted, with Fieller's interval; None without a reference.
        claimed_ratio: actual over claimed.
    """

    step_size: float
    actual: Estimate
    predicted: Estimate | None
    claimed: float
    ratio: Estimate | None
    claimed_ratio: Estimate

    @property
    def reading(self) -> str:
        """What a trust region would make of ρ (of ``claimed_ratio`` without a reference), as far as it is resolved."""
        low, high = (self.ratio or self.claimed_ratio).interval()
        if high < 0:
            return "the opposite of what was predicted: shrink"
        if high < _POOR:
            return "less than a quarter of what was predicted: shrink"
        if low > _GOOD:
            return "more than three quarters of what was predicted: this far the first order holds"
        if low > _POOR:
            return "more than a quarter of what was predicted: keep"
        return "unresolved: more episodes would tell"


@dataclass(frozen=True)
class Improvement:
    """Steps of several sizes along one direction. They share their episodes, so their errors go together.

    Attributes:
        steps: by step size.
        direction: d, flat over the agent's parameters, [P].
        objective: J.
        episodes: pairs of episodes behind every ``actual``.
        notes: what a person should know, a line each.
    """

    steps: tuple[ImprovementStep, ...]
    direction: Tensor
    objective: Objective
    episodes: int
    notes: tuple[str, ...] = ()

    @property
    def trusted(self) -> float:
        """The largest step size up to which every ratio is surely above a quarter; 0 where none is."""
        best = 0.0
        for step in self.steps:
            if not (step.ratio or step.claimed_ratio).interval()[0] > _POOR:
                break
            best = step.step_size
        return best


def realised_improvement(
    agent: Agent,
    gradient: Tensor | Mapping[str, Tensor] | PolicyGradient | ParameterReference,
    simulator: Simulator,
    step_sizes: Sequence[float],
    *,
    reference: PolicyGradient | None = None,
    normalise: bool = True,
    episodes: int = 64,
    seed: int = 0,
    stochastic: bool = True,
    entropy: bool = True,
    max_steps: int | None = None,
    allow_mismatch: bool = False,
) -> Improvement:
    """Step along a gradient and measure what the return really does.

    J(θ) = E Σ_{t<T} γᵗ (r_t − α log π) of whole episodes. The agents at θ and at θ + ηd are run from the same resets
    with the same policy noise; J(θ + ηd) − J(θ) is the mean of the paired differences. To first order it is η d·∇J,
    with ∇J from an independent reference, or η d·g in the gradient's own opinion. The trust-region ratio

        ρ(η) = (J(θ + ηd) − J(θ)) / (η d·∇J)

    tends to 1 as η → 0 where ∇J is right; that is so for any direction, and says nothing of d. How good d is shows in
    ``actual``, next to what as long a step along ∇J itself would gain. The interval of ρ is that of a ratio of two
    independent means (E. Fieller 1954, *Some problems in interval estimation*), put together from theirs, which know of
    skewness and tails (``quotient_interval``).

    Args:
        agent: the agent; float64 copies are moved and run.
        gradient: g, an ascent direction, flat over ``agent.named_parameters()`` or by parameter.
        simulator: the task.
        step_sizes: η > 0, increasing.
        reference: ∇J of the same objective, from other episodes; ``policy_gradient`` at discounted states, or
            ``MonteCarloReference.gradient``.
        normalise: whether d = g/‖g‖, so that η is the Euclidean length of the step in parameter space; otherwise
            d = g, and η is a learning rate of plain gradient ascent.
        episodes: pairs of episodes.
        seed: of resets and policy noise.
        stochastic: whether a stochastic policy acts by its draws or by its mode.
        entropy: whether J counts the agent's entropy bonus, where it has one.
        max_steps: T, where the environment has no sooner time limit.
        allow_mismatch: compare with a reference of another objective all the same; every number then says so.

    Raises:
        GradlabError: the gradient does not fit or is zero, the step sizes are not positive and increasing, the
            reference is of another objective or per unit of weight, or the agent does not fit the environment.

    Example:
        >>> from torch import nn
        >>> actor = nn.Sequential(nn.Linear(3, 1), nn.Tanh())
        >>> _ = nn.init.constant_(actor[0].weight, 0.1), nn.init.zeros_(actor[0].bias)
        >>> agent = Agent(actor, [], action_low=[-2], action_high=[2], discount=0.9)
        >>> found = realised_improvement(
        ...     agent, torch.tensor([0.0, 0.0, -1.0, 0.0]), Simulator("Pendulum-v1"), [0.01], episodes=8, max_steps=10
        ... )
        >>> found.steps[0].step_size, found.steps[0].actual.samples, found.objective.horizon
        (0.01, 8, 10)
    """
    sizes = [float(size) for size in step_sizes]
    if not sizes or not sizes[0] > 0 or not all(a < b for a, b in pairwise(sizes)) or not math.isfinite(sizes[-1]):
        raise GradlabError(f"step sizes: {sizes}; give at least one, positive, increasing and finite")
    if episodes < 2:
        raise GradlabError(f"episodes: {episodes}; a standard error needs at least two pairs")
    base = agent.snapshot(double=True)
    g = _vector(base, gradient)
    norm = float(g.norm())
    if not (math.isfinite(norm) and norm > 0):
        raise GradlabError(f"gradient: its norm is {norm}; there is no direction to step in")
    d = g / norm if normalise else g
    limits = [limit for limit in (simulator.time_limit, max_steps) if limit is not None]
    soft = agent.entropy if entropy and stochastic and agent.policy.stochastic else 0.0
    objective = Objective(agent.discount, soft, horizon=min(limits, default=1000))
    caveat, notes = "", _noise_of(gradient)
    slope = None
    if reference is not None:
        if reference.per_weight:
            raise GradlabError(
                f"reference {reference.name}: is divided by the weight of its states, and no prediction of the return; "
                "take policy_gradient at discounted states"
            )
        caveat, mismatches = compare_objectives(
            objective, reference.objective, reference.name, allow_mismatch=allow_mismatch
        )
        notes += [note.replace("the bias includes", "the prediction lacks") for note in mismatches]
        slope = reference.along(d)

    def returns(moved: Agent) -> dict[int, float]:
        runs = simulator.episodes(moved, episodes, seed=seed, stochastic=stochastic, max_steps=max_steps)
        numbers = [number for number in range(episodes) if number not in set(simulator.left_out)]
        return dict(zip(numbers, _soft_returns(simulator, moved, runs, soft).tolist(), strict=True))

    before, steps, fewest = returns(base), list[ImprovementStep](), episodes
    for size in sizes:
        after = returns(_moved(base, size * d))
        both = sorted(before.keys() & after.keys())
        fewest = min(fewest, len(both))
        if len(both) < 2:
            raise GradlabError(f"step size {size:g}: only {len(both)} of {episodes} pairs of episodes stayed finite")
        change = torch.tensor([after[number] - before[number] for number in both], dtype=torch.float64)
        steps.append(_step(size, change, slope, size * float(d @ g), str(objective), caveat))
    if fewest < episodes:
        notes.append(f"up to {episodes - fewest} of {episodes} pairs left out: their simulation was not finite")
    return Improvement(tuple(steps), d, objective, fewest, tuple(notes))


def _vector(agent: Agent, gradient: Any) -> Tensor:
    """A gradient in any form, flat and float64 in the order of the agent's parameters."""
    if isinstance(gradient, PolicyGradient):
        gradient = gradient.gradient
    if not isinstance(gradient, ParameterReference):
        gradient = ParameterReference(gradient, "gradient", agent.objective)
    return flatten(gradient.flat(agent)[0]).cpu()


def _noise_of(gradient: Any) -> list[str]:
    """What the gradient's own noise does to its claim."""
    if not isinstance(gradient, PolicyGradient):
        return []
    share = gradient.noise().trace / float(gradient.gradient.square().sum())
    if not share > _NOISY:
        return []
    return [f"{min(share, 1.0):.0%} of the gradient's squared norm is its own noise, so that it claims too much"]


def _moved(agent: Agent, by: Tensor) -> Agent:
    moved = agent.snapshot()
    parameters = list(moved.named_parameters().values())
    with torch.no_grad():
        for parameter, part in zip(parameters, by.split([p.numel() for p in parameters]), strict=True):
            parameter.add_(part.reshape(parameter.shape).to(parameter))
    return moved


def _soft_returns(simulator: Simulator, agent: Agent, runs: Trajectories, alpha: float) -> Tensor:
    if not alpha:
        return runs.returns()
    _, log_prob = scores_along(simulator.pilot(agent), runs)
    return runs.total(runs.weights * (runs.reward - alpha * log_prob.to(runs.reward)))


def _step(
    size: float, change: Tensor, slope: Estimate | None, claimed: float, objective: str, caveat: str
) -> ImprovementStep:
    count, value = len(change), float(change.mean())
    stderr = float(change.std()) / math.sqrt(count)
    ends = skewed_interval(value, stderr, change)
    actual = Estimate(value, stderr, count, objective=objective, ends=ends, caveat=caveat)
    low, high = sorted(end / claimed for end in ends)
    claim = Estimate(value / claimed, stderr / abs(claimed), count, "its own claim", objective, ends=(low, high))
    if slope is None:
        return ImprovementStep(size, actual, None, claimed, None, claim)
    below = slope.interval()
    predicted = replace(
        slope,
        value=size * slope.value,
        stderr=size * slope.stderr,
        objective=objective,
        ends=(size * below[0], size * below[1]),
        caveat=caveat,
    )
    spread = math.hypot(stderr / predicted.value, value * predicted.stderr / predicted.value**2)
    ratio = Estimate(
        value / predicted.value,
        spread,
        min(count, slope.samples),
        slope.reference,
        objective,
        ends=quotient_interval(value, ends, predicted.value, predicted.interval()),
        caveat=caveat,
    )
    return ImprovementStep(size, actual, predicted, claimed, ratio, claim)
