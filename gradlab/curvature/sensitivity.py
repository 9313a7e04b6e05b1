"""Mixed partials, action curvature and their ratio: what governs how fast a greedy action moves with the state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.evaluation_mode import in_evaluation
from gradlab.hessians.at_actions import second_derivatives
from gradlab.hessians.exact import policy_jacobian

_RESAMPLES = 200


@dataclass(frozen=True)
class Sensitivity:
    """Curvature of Q around the actor's actions, per state; everything float64.

    Attributes:
        mixed_partial: M = ‖∇²_as Q‖₂, the largest singular value, [B].
        curvature: μ = −λ_max(∇²_aa Q), [B]; positive where Q has a strict maximum's shape in every action direction.
        ratio: M/μ, [B]; NaN where the action Hessian is not negative definite, for there it bounds nothing.
        policy_jacobian: ‖∂π/∂s‖₂ of the actor, [B]; exact at any scale.
        valid: whether ∇²_aa Q is negative definite, [B], bool.
        interior: whether the action is farther from every face of the box than the scale, so that no evaluation left
            the box; farther than 10⁻³ of the width when exact. [B], bool.
        eigenvalues: of ∇²_aa Q, ascending, [B, p].
        action_hessian: ∇²_aa Q, [B, p, p].
        mixed_hessian: ∇²_as Q, [B, p, n].
        scale: the length δ at which second derivatives were taken, in the critic's action units; None when exact.
    """

    mixed_partial: Tensor
    curvature: Tensor
    ratio: Tensor
    policy_jacobian: Tensor
    valid: Tensor
    interior: Tensor
    eigenvalues: Tensor
    action_hessian: Tensor
    mixed_hessian: Tensor
    scale: float | None

    @property
    def valid_share(self) -> Estimate:
        """Share of states with a negative definite action Hessian."""
        return share(self.valid)

    @property
    def interior_share(self) -> Estimate:
        """Share of states whose action is not saturated."""
        return share(self.interior)

    def summary(self, seed: int = 0) -> dict[str, Estimate]:
        """Medians over states with bootstrap standard errors, and shares of states.

        Args:
            seed: of the bootstrap's own generator.

        Returns:
            ``mixed_partial``, ``curvature`` and ``policy_jacobian`` over all states, ``ratio`` over the valid ones,
            ``valid_share`` and ``interior_share``.
        """
        medians = {
            "mixed_partial": self.mixed_partial,
            "curvature": self.curvature,
            "ratio": self.ratio[self.valid],
            "policy_jacobian": self.policy_jacobian,
        }
        found = {name: median(values, seed) for name, values in medians.items()}
        return {**found, "valid_share": self.valid_share, "interior_share": self.interior_share}


def sensitivity(
    agent: Agent,
    obs: Any,
    scale: float | None = None,
    *,
    act: Tensor | None = None,
    critic: int | None = None,
    obs_scale: Tensor | None = None,
) -> Sensitivity:
    """M, μ and M/μ of the critic at the actor's actions, next to the actor's own Jacobian.

    Where a*(s) is an interior maximum of Q(s, ·), the implicit function theorem gives
    ∂a*/∂s = −(∇²_aa Q)⁻¹ ∇²_as Q, hence ‖∂a*/∂s‖₂ ≤ M/μ (PAVE, arXiv 2601.22970). Observations are in whatever
    coordinates the agent takes (normalised ones, where the training run normalises), actions in the critic's own.

    Args:
        agent: the agent; measured on a float64 snapshot.
        obs: observations [B, n].
        scale: None for exact second derivatives; otherwise the step δ of central differences of ∇_a Q, in the critic's
            action units. A piecewise-linear critic has second derivatives at a scale only.
        act: actions [B, p] to measure at instead of the actor's.
        critic: index of one critic instead of the one the actor follows.
        obs_scale: step in each observation feature relative to ``scale``, [n]; by default the feature's standard
            deviation over ``obs``, but at least a tenth of the median of those; that median for a feature that does not
            vary, and 1 for a single state. It sets where Q is looked at, not the units of the result.

    Raises:
        GradlabError: exact derivatives of a piecewise-linear critic are asked for, actions are discrete, a shape does
            not fit, the scale is not positive, or the critic is not finite.

    Example:
        >>> class Quadratic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return -2 * act.square().sum(-1) + 3 * obs[:, 0] * act[:, 0]
        >>> agent = Agent(torch.nn.Linear(1, 1), [Quadratic()], [-1.0], [1.0])
        >>> found = sensitivity(agent, torch.zeros(1, 1))
        >>> found.mixed_partial.item(), found.curvature.item(), found.ratio.item()
        (3.0, 4.0, 0.75)
    """
    if not agent.policy.continuous:
        raise GradlabError("agent: its actions are discrete; there is no action curvature")
    if critic is not None and not -len(agent.critics) <= critic < len(agent.critics):
        raise GradlabError(f"critic: {critic}, but this agent has critics 0 to {len(agent.critics) - 1}")
    states = agent.observations(obs).double()
    double = in_evaluation(agent).snapshot(double=True)
    with torch.no_grad():
        at = double.action(states) if act is None else torch.as_tensor(act).to(states)
    if at.shape != (len(states), agent.action_size):
        raise GradlabError(f"act: shape {tuple(at.shape)}; expected {(len(states), agent.action_size)}")

    hessian, mixed = second_derivatives(double, states, at, scale, critic=critic, obs_scale=obs_scale)
    eigenvalues = torch.linalg.eigvalsh(hessian)
    largest = eigenvalues[:, -1]
    # Rounding must not make a flat direction a curved one.
    rounding = 64 * torch.finfo(hessian.dtype).eps * eigenvalues.abs().amax(-1)
    valid = largest < -rounding
    strength = torch.linalg.matrix_norm(mixed, ord=2)
    width = double.action_high - double.action_low
    margin = 1e-3 * width if scale is None else torch.full_like(width, scale)
    room = torch.minimum(at - double.action_low, double.action_high - at)
    return Sensitivity(
        mixed_partial=strength,
        curvature=-largest,
        ratio=torch.where(valid, strength / -largest, torch.full_like(strength, math.nan)),
        policy_jacobian=torch.linalg.matrix_norm(policy_jacobian(double, states), ord=2),
        valid=valid,
        interior=(room > margin).all(-1),
        eigenvalues=eigenvalues,
        action_hessian=hessian,
        mixed_hessian=mixed,
        scale=scale,
    )


def median(values: Tensor, seed: int = 0) -> Estimate:
    """The median of independent values [N] with the standard deviation of its bootstrap as standard error.

    Example:
        >>> median(torch.tensor([1.0, 2.0, 30.0])).value
        2.0
    """
    count = len(values)
    if count == 0:
        return Estimate(math.nan, math.nan, 0)
    numbers = values.detach().double().cpu()
    generator = torch.Generator().manual_seed(seed)
    drawn = numbers[torch.randint(count, (_RESAMPLES, count), generator=generator)]
    stderr = float(drawn.quantile(0.5, dim=1).std()) if count > 1 else math.nan
    return Estimate(float(numbers.quantile(0.5)), stderr, count)


def share(mask: Tensor) -> Estimate:
    """A share of independent states [N], bool; its standard error is Agresti and Coull's, which is never zero.

    (Two successes and two failures added: A. Agresti and B. Coull, The American Statistician 52, 1998.)

    Example:
        >>> print(share(torch.tensor([True, True, False, True])))
        0.75 ± 0.17 (n=4)
    """
    count, successes = mask.numel(), int(mask.sum())
    centre = (successes + 2) / (count + 4)
    return Estimate(successes / count, math.sqrt(centre * (1 - centre) / (count + 4)), count, scale="share")
