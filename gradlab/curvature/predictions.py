"""What curvature predicts of the policy's sensitivity to the state, next to what the actor does and what was seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor
from gradlab.curvature.sensitivity import sensitivity
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.evaluation_mode import in_evaluation
from gradlab.hessians.exact import policy_jacobian
from gradlab.hessians.state_gradients import blocked_actor
from gradlab.inference.rank_correlation import rank_correlation
from gradlab.statistics.state_means import bounded_state_mean, episode_numbers, state_share
from gradlab.statistics.state_quantiles import state_quantile


@dataclass(frozen=True)
class Predictions:
    """The sensitivity that the critic's curvature predicts, and the actor's own, per state; float64.

    Where an action coordinate is saturated, a greedy action stays there as the state changes; it is held fixed, and M,
    μ and the prediction are those of the *free* coordinates f alone. NaN where ``valid`` is false.

    Attributes:
        predicted: −(∇²_ff Q)⁻¹ ∇²_fs Q, the Jacobian ∂a*/∂s of a greedy action by the implicit function theorem, with
            rows of zeros for saturated coordinates, [B, p, n].
        predicted_norm: its spectral norm, [B]; at most ``ratio``.
        actor: ∂π/∂s of the actor without exploration, [B, p, n], of all coordinates.
        actor_norm: its spectral norm, [B].
        cosine: ⟨predicted, actor⟩_F/(‖predicted‖_F ‖actor‖_F), [B]: whether the actor turns as the critic tells it to.
            NaN where one is zero.
        ratio: M/μ of the free coordinates, [B].
        slack: ``ratio`` over ``actor_norm``, [B]: at least 1 where the bound holds for the actor, too. It is proved for
            the greedy action; an actor that is not at the maximum may violate it. NaN where the actor does not move.
        valid: whether some coordinate is free and ∇²_ff Q is negative definite, [B], bool.
        free: whether an action coordinate is away from both faces of the box, by more than the scale, or a thousandth
            of the box's width when exact, [B, p], bool.
        moved: the length of the action's change that is predicted for the change of state that followed, over that of
            the state, ‖predicted·Δs‖/‖Δs‖, [B]; None where no next states were given.
        observed: ‖Δa‖/‖Δs‖ seen on the steps that start in these states, [B]; None where it was not given.
        episode: which episode each state was visited in, [B]; None where each is its own sample.
        objective: what Q is a value of, in words.
    """

    predicted: Tensor
    predicted_norm: Tensor
    actor: Tensor
    actor_norm: Tensor
    cosine: Tensor
    ratio: Tensor
    slack: Tensor
    valid: Tensor
    free: Tensor
    moved: Tensor | None
    observed: Tensor | None
    episode: Tensor | None
    objective: str

    def summary(self) -> dict[str, Estimate]:
        """Medians over states, shares of states and the mean cosine, with intervals over episodes.

        Returns:
            Medians of ``ratio``, ``predicted_norm``, ``actor_norm``, ``slack`` and, where there is one, ``observed``;
            ``valid_share`` and ``free_share`` (of coordinates); ``violated_share``, the share of the valid states where
            the slack is below 1; and the mean ``cosine``.
        """
        medians = {
            "ratio": self.ratio,
            "predicted_norm": self.predicted_norm,
            "actor_norm": self.actor_norm,
            "slack": self.slack,
        }
        if self.observed is not None:
            medians["observed"] = self.observed
        found = {
            name: state_quantile(values, 0.5, self.episode, objective=self.objective)
            for name, values in medians.items()
        }
        # Rounding must not make an equality a violation.
        violated = torch.where(self.slack.isnan(), torch.nan, (self.slack < 1 - 1e-9).double())
        shares = {
            "valid_share": self.valid,
            "free_share": self.free.double().mean(-1),
            "violated_share": violated,
        }
        for name, holds in shares.items():
            found[name] = state_share(holds, self.episode, objective=self.objective)
        cosine = self.cosine.clamp(-1.0, 1.0)
        found["cosine"] = bounded_state_mean(cosine, self.episode, objective=self.objective, least=-1.0, most=1.0)
        return found

    def correlations(self, seed: int = 0) -> dict[str, Estimate]:
        """Spearman's rank correlations over the valid states, with intervals from resampling whole episodes.

        Returns:
            By what is correlated, "ratio ~ actor", "predicted ~ actor" and, where it was seen, "ratio ~ observed",
            "predicted ~ observed", "actor ~ observed" and "predicted along the step ~ observed". Without an interval
            where one does not vary, as M/μ of a quadratic critic.
        """
        pairs = {
            "ratio ~ actor": (self.ratio, self.actor_norm),
            "predicted ~ actor": (self.predicted_norm, self.actor_norm),
        }
        if self.observed is not None:
            pairs["ratio ~ observed"] = self.ratio, self.observed
            pairs["predicted ~ observed"] = self.predicted_norm, self.observed
            pairs["actor ~ observed"] = self.actor_norm.masked_fill(~self.valid, math.nan), self.observed
            if self.moved is not None:
                pairs["predicted along the step ~ observed"] = self.moved, self.observed
        return {name: rank_correlation(x, y, self.episode, seed=seed) for name, (x, y) in pairs.items()}


def sensitivity_predictions(
    agent: Agent,
    obs: Any,
    scale: float | None = None,
    *,
    act: Any = None,
    critic: int | None = None,
    next_obs: Any = None,
    observed: Any = None,
    episode: Any = None,
    **options: Any,
) -> Predictions:
    """The implicit-function sensitivity of a greedy action against the actor's Jacobian and what was observed.

    Where a*(s) is an interior maximum of Q(s, ·), ∂a*/∂s = −(∇²_aa Q)⁻¹ ∇²_as Q, hence ‖∂a*/∂s‖₂ ≤ M/μ (PAVE, arXiv
    2601.22970). It is taken at the actor's action, which need not be that maximum: the prediction is then of a Newton
    step's target, and comparing it with ∂π/∂s is the question that is asked.

    Args:
        agent: the agent; measured on a float64 snapshot.
        obs: observations [B, n].
        scale: None for exact second derivatives, or the step of differences; see ``sensitivity``.
        act: actions [B, p] to take second derivatives at; the actor's when None.
        critic: index of one critic instead of the one the actor follows.
        next_obs: observations that followed, [B, n]; rows of NaN where none did.
        observed: ‖Δa‖/‖Δs‖ seen from each state to the next, [B], such as rows of ``observed_smoothness(...).rate``;
            NaN where there is none. For coordinates of the observation other than the agent's, M/μ does not bound it.
        episode: which episode each state was visited in, [B]: the independent samples.
        **options: more of ``sensitivity``'s.

    Raises:
        GradlabError: as ``sensitivity`` raises, there is no ∂/∂s of the critic or of the actor, or a shape does not
            fit.

    Example:
        >>> from gradlab.worlds import LinearQuadratic
        >>> world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4)
        >>> found = sensitivity_predictions(world.agent(), torch.ones(3, 1))
        >>> round(found.predicted[0].item(), 6), round(found.slack[0].item(), 3)
        (-1.473588, 3.684)
    """
    states = agent.observations(obs).double()
    member = episode_numbers(episode, len(states))
    after = None if next_obs is None else _shaped("next_obs", next_obs, states.shape).to(states)
    seen = None if observed is None else _shaped("observed", observed, (len(states),)).cpu().double()
    double = in_evaluation(agent).snapshot(double=True)
    at = double.action(states).detach() if act is None else real_tensor("act", act).detach().to(states)
    hessian, mixed = sensitivity(agent, states, scale, act=at, critic=critic, matrices=True, **options).matrices()
    width = double.action_high - double.action_low
    margin = 1e-3 * width if scale is None else torch.full_like(width, float(scale))
    free = torch.minimum(at - double.action_low, double.action_high - at) > margin

    strength, curvature, valid, predicted = _reduced(hessian, mixed, free)
    why = blocked_actor(double, states)
    if why:
        raise GradlabError(why)
    actor = policy_jacobian(double, states)
    actor_norm = torch.linalg.matrix_norm(actor, ord=2)
    lengths = torch.linalg.matrix_norm(predicted) * torch.linalg.matrix_norm(actor)
    ratio = torch.where(valid, strength / curvature, torch.nan)
    moved = None
    if after is not None:
        # Of the numbers given: rounding to the agent's dtype could be as long as a short step.
        step = after - torch.as_tensor(obs).detach().to(after)
        moved = ((predicted @ step[..., None]).squeeze(-1).norm(dim=-1) / _positive(step.norm(dim=-1))).cpu()
    parts = {
        "predicted": predicted,
        "predicted_norm": torch.linalg.matrix_norm(predicted.nan_to_num(), ord=2).masked_fill(~valid, math.nan),
        "actor": actor,
        "actor_norm": actor_norm,
        "cosine": (predicted * actor).sum((-1, -2)) / _positive(lengths),
        "ratio": ratio,
        "slack": ratio / _positive(actor_norm),
        "valid": valid,
        "free": free,
    }
    return Predictions(
        **{name: part.cpu() for name, part in parts.items()},
        moved=moved,
        observed=seen,
        episode=member,
        objective=str(agent.objective),
    )


def _reduced(hessian: Tensor, mixed: Tensor, free: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """M, μ, validity and −H_ff⁻¹ H_fs of the free block of each state, which its mask [B, p] says."""
    both = free[:, :, None] & free[:, None, :]
    mixed = mixed * free[:, :, None]
    # A saturated coordinate becomes a direction of its own that couples with none, less curved than no free one.
    apart = torch.diag_embed((~free).to(hessian))
    size = torch.where(both, hessian, 0.0).abs().sum(-1).amax(-1)
    block = torch.where(both, hessian, 0.0) - apart * torch.where(size > 0, size, 1.0)[:, None, None]
    eigenvalues = torch.linalg.eigvalsh(block)
    largest = eigenvalues[:, -1]
    rounding = 64 * torch.finfo(hessian.dtype).eps * eigenvalues.abs().amax(-1)
    valid = (largest < -rounding) & free.any(-1)
    # Where it is not valid the solution is not looked at, but must not fail.
    safe = torch.where(valid[:, None, None], block, -torch.eye(block.shape[-1], dtype=block.dtype, device=block.device))
    predicted = -torch.linalg.solve(safe, mixed) * free[:, :, None]
    predicted = torch.where(valid[:, None, None], predicted, torch.nan)
    return torch.linalg.matrix_norm(mixed, ord=2), -largest, valid, predicted


def _positive(lengths: Tensor) -> Tensor:
    return torch.where(lengths > 0, lengths, torch.nan)


def _shaped(name: str, given: Any, shape: Any) -> Tensor:
    found = real_tensor(name, given).detach()
    if found.shape != tuple(shape):
        raise GradlabError(f"{name}: shape {tuple(found.shape)}; expected {tuple(shape)}")
    return found
