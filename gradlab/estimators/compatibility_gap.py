"""How far a learned critic is from a compatible one, in what it says of the policy gradient."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.special import stdtrit
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators.base import fresh_generator
from gradlab.estimators.compatible import Compatible, Regression
from gradlab.products import parameter_gradient

#: Ridges that fits to unseen states choose from, as shares of the largest squared singular value; the last is no fit.
_RIDGES = (0.0, *(10.0**power for power in range(-12, 1)), math.inf)


@dataclass(frozen=True)
class Compatibility:
    """A compatible critic fitted to an agent's, and what it leaves over.

    Attributes:
        cotangent: the fitted critic's, [B, m], in the agent's dtype.
        gradient: (1/B) Σ_i J_iᵀ cotangent_i, a dict like ``named_parameters()``.
        residual: what the fit leaves, at the states it was made from: mean over states of ‖∇_a Q − J w‖², or of the
            variance over actions of Q − w·∇_θ log π; in units of Q² (per unit of action², if deterministic).
        gap_of_fit: share of the mean square of ∇_a Q (of the advantage) that is left over at the states of the fit; on
            average below the class's own gap, and 0 where there are as many parameters as numbers to fit.
        gap: the same share at states that the fit has not seen; on average above the class's own gap, and never far
            above one.
        gradient_error: ‖g_w − g‖²/‖g‖² at states that the fit has not seen, g the gradient of the agent's critic there,
            by U-statistics over states; may be negative. At the states of the fit it is zero, which is the theorem.
        rank: dimension of the tangent kernel's range, the parameters that matter.
        notes: what a person should know.
    """

    cotangent: Tensor
    gradient: dict[str, Tensor]
    residual: Estimate
    gap_of_fit: Estimate
    gap: Estimate
    gradient_error: Estimate
    rank: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        numbers = {
            "gap": self.gap,
            "gap of fit": self.gap_of_fit,
            "residual": self.residual,
            "gradient error": self.gradient_error,
            "rank": self.rank,
        }
        return "\n".join([*(f"{name:14}  {number}" for name, number in numbers.items()), *self.notes])


def compatibility(
    agent: Agent, obs: Any, *, actions: int = 16, folds: int = 4, generator: torch.Generator | None = None
) -> Compatibility:
    """Fit a compatible critic to the agent's (see ``Compatible``) and say what it cannot express.

    The compatible class is {w·∇_θ log π(a|s) + b(s)}, or {J_s w} for ∇_a Q of a deterministic policy. Held-out numbers:
    the states are split in ``folds``, each predicted by a fit to the others, with the ridge that serves these others
    best among themselves (the best of the class at unseen states is what is looked for, and a fit by smallest norm to
    few states can be far from it). Standard errors are over states with the fits held fixed, those at the states of the
    fit a jackknife over folds.
    Sources: Sutton et al. 2000, theorem 2; Silver et al. 2014, section 4.3.

    Args:
        agent: the agent; neither changed nor given gradients. Pass a snapshot.
        obs: observations [B, n], independent states, two or more in each fold.
        actions: actions a state, of a stochastic policy.
        folds: parts the states are split in, at random, three or more.
        generator: source of the randomness.

    Raises:
        GradlabError: there are too few states, the kernel does not fit into memory, or Q is not finite.

    Example:
        >>> class Critic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return (2 * obs * act).sum(-1)
        >>> agent = Agent(torch.nn.Linear(1, 1), [Critic()], action_low=-1, action_high=1)
        >>> found = compatibility(agent, torch.linspace(-1, 1, 16)[:, None])
        >>> found.gap.value < 1e-9  # ∇_a Q = 2s is linear in the actor's features
        True
    """
    generator = generator or fresh_generator()
    obs = agent.observations(obs)
    if folds < 3 or len(obs) < 2 * folds:
        raise GradlabError(
            f"compatibility: {len(obs)} states in {folds} folds; give three folds or more, of two states"
        )
    (problem,) = Compatible(actions).regressions(agent, obs, 1, generator)
    order = torch.randperm(len(obs), generator=generator, device=generator.device).to(obs.device)
    fold = torch.empty_like(order)
    fold[order] = torch.arange(len(obs), device=obs.device) % folds
    fits = torch.stack([problem.fit(fold != part, _RIDGES) for part in range(folds)])
    chosen = fits[torch.arange(folds, device=obs.device), _best_ridges(problem, fold, folds)]
    unseen = problem.predict(chosen)[fold, torch.arange(len(obs), device=obs.device)]
    fitted = problem.predict(problem.fit()[0])
    cotangent = problem.cotangent(fitted).to(obs)
    objective = str(Compatible(actions).objective(agent))
    residual, gap_of_fit = _at_the_fit(problem, fitted, fits[:, 0], fold, objective)
    rank, notes = problem.span.shape[-1], []
    if rank >= problem.target.numel() - (0 if problem.weight == 1.0 else len(obs)):
        notes.append(
            f"{rank} parameters that matter for {problem.target.numel()} numbers: any critic fits at these states, and "
            "only unseen states tell; give more states or actions"
        )
    gradient_error = _gradient_error(problem, unseen, fold, objective)
    if math.isnan(gradient_error.value):
        notes.append("unresolved: the squared norm of the critic's gradient is not above its noise over these states")
    return Compatibility(
        cotangent,
        parameter_gradient(agent, obs, cotangent),
        residual,
        gap_of_fit,
        _gap(problem, unseen, objective),
        gradient_error,
        rank,
        tuple(notes),
    )


def _best_ridges(problem: Regression, fold: Tensor, folds: int) -> Tensor:
    """For each fold the ridge [folds] whose fits, with one more fold left out, predict that one best."""
    left = torch.zeros(folds, len(_RIDGES), dtype=torch.float64, device=fold.device)
    for one, other in itertools.combinations(range(folds), 2):
        predicted = problem.predict(problem.fit((fold != one) & (fold != other), _RIDGES))
        squares = (predicted - problem.target).square().sum(-1)
        # A fit that has seen neither fold serves the choice for both.
        left[one] += squares[:, fold == other].sum(1)
        left[other] += squares[:, fold == one].sum(1)
    return left.argmin(1)


def _squares(problem: Regression, values: Tensor) -> Tensor:
    """Each state's sum of squares, [B]."""
    return problem.weight * values.square().sum(-1)


def _left_over(problem: Regression, values: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of squares of what ``values`` leave of the target, and of the target, at some states (mask [B]).

    The first are zero where they are rounding alone.
    """
    left, total = _squares(problem, problem.target - values)[states], _squares(problem, problem.target)[states]
    rounding = (values.numel() * torch.finfo(values.dtype).eps) ** 2
    return torch.where(left.mean() > rounding * total.mean(), left, 0.0), total


def _at_the_fit(
    problem: Regression, fitted: Tensor, fits: Tensor, fold: Tensor, objective: str
) -> tuple[Estimate, Estimate]:
    """Residual and its share where the fit was made, by a jackknife that leaves out one fold at a time."""

    def both(values: Tensor, states: Tensor) -> Tensor:
        left, total = (part.mean() for part in _left_over(problem, values, states))
        return torch.stack([left, left / total])

    whole = both(fitted, torch.ones_like(fold, dtype=torch.bool))
    parts = torch.stack([both(problem.predict(w), fold != part) for part, w in enumerate(fits)])
    count = len(fits)
    stderr = ((count - 1) / count * (parts - parts.mean(0)).square().sum(0)).sqrt()
    residual, share = (
        Estimate(float(value), float(error), count, "a compatible critic", objective)
        for value, error in zip(whole, stderr, strict=True)
    )
    return residual, share


def _gap(problem: Regression, unseen: Tensor, objective: str) -> Estimate:
    """Σ left over / Σ all, with the standard error of a ratio of means over states.

    The interval is symmetric in the share's logarithm, with Student's quantile of the degrees of freedom 2B/(κ − 1)
    that the standard error has for deviations of kurtosis κ: squares have heavy tails.
    """
    left, total = _left_over(problem, unseen, torch.ones(len(unseen), dtype=torch.bool, device=unseen.device))
    share = float(left.sum() / total.sum())
    states = len(left)
    deviation = (left - share * total) / total.mean()
    square = float(deviation.square().sum())
    stderr = math.sqrt(square / (states * (states - 1)))
    ends = None
    if share > 0 and stderr > 0:
        excess = states * float(deviation.pow(4).sum()) / square**2 - 1
        freedom = min(states - 1.0, max(2 * states / excess, 2.0)) if excess > 0 else states - 1.0
        factor = math.exp(min(float(stdtrit(freedom, 0.975)) * stderr / share, 700.0))
        ends = share / factor, share * factor
    return Estimate(share, stderr, states, "a compatible critic", objective, ends=ends)


def _gradient_error(problem: Regression, unseen: Tensor, fold: Tensor, objective: str) -> Estimate:
    """‖g_w − g‖²/‖g‖² by U-statistics over pairs of states of one fold, and its jackknife over states."""
    # In the coordinates of the kernel's range a state's parameter gradient is L_iᵀ v_i.
    error, truth = (
        torch.einsum("bmr,bm->br", problem.span, problem.cotangent(values))
        for values in (unseen - problem.target, problem.target)
    )
    above, above_left = _squared_mean(error, fold)
    below, below_left = _squared_mean(truth, torch.zeros_like(fold))
    states = len(fold)
    value, stderr = math.nan, math.nan
    if float(below) > 0:
        value = float(above / below)
        left = above_left / below_left
        stderr = math.sqrt((states - 1) / states * float((left - left.mean()).square().sum()))
    return Estimate(value, stderr, states, "the critic's own gradient", objective)


def _squared_mean(vectors: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of x_i·x_j over pairs i ≠ j of one group, and the same with each of the B states left out, [B]."""
    count = int(group.max()) + 1
    sums = vectors.new_zeros(count, vectors.shape[1]).index_add_(0, group, vectors)
    sizes = torch.bincount(group, minlength=count).to(vectors)
    squares = vectors.square().sum(1)
    products = sums.square().sum() - squares.sum()
    pairs = (sizes * (sizes - 1)).sum()
    # Leaving out x_i takes its products with the others of its group off.
    with_others = (vectors * sums[group]).sum(1) - squares
    left = (products - 2 * with_others) / (pairs - 2 * (sizes[group] - 1))
    return products / pairs, left
