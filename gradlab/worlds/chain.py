"""A chain of independent rewards: the smallest problem on which trajectory estimators differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import TrajectoryEstimator
from gradlab.estimators.trajectory import GAE, GPOMDP, ActionValue, LeaveOneOut, Reinforce, TDError
from gradlab.policies import Gaussian
from gradlab.trajectories import Trajectories
from gradlab.worlds.base import Admitted, Hessians, Moments, World
from gradlab.worlds.inputs import check_finite, no_mixed, vectors
from gradlab.worlds.modules import ConstantActor, FixedLogStd
from gradlab.worlds.rollout import Step, gather
from gradlab.worlds.score_moments import ScoreMoments

#: Half-width of the stated action box, in standard deviations; actions are not clipped.
_WIDTH = 20.0
#: Episodes that share a leave-one-out baseline.
_GROUP = 4


class RewardChain(World):
    """T steps, each with reward r_t = a_t ~ N(θ, σ²); nothing else happens. J = E Σ_t γᵗ r_t = θC, ∇J = C.

    With c_t = γᵗ, C = Σ c_t, C₂ = Σ c_t² and V_t = θ Σ_{k≥t} γ^{k−t}, an episode's gradient is a quadratic polynomial
    of the noise, and

    ======================  =======================================================================
    estimator               variance of one episode's gradient
    ======================  =======================================================================
    REINFORCE, constant b   T (Cθ − b)²/σ² + T C₂ + C²
    G(PO)MDP, baseline b_t  Σ_t c_t² (V_t − b_t)²/σ² + 2 C₂ + Σ_{t<k} c_t² γ^{2(k−t)}
    Q − b_t                 Σ_t c_t² (V_t − b_t)²/σ² + 2 C₂
    GAE(λ) with the true V  2 C₂ + Σ_{t<k} c_t² (γλ)^{2(k−t)}
    ======================  =======================================================================

    All are unbiased. The best constant for REINFORCE is Cθ = J, which makes its first term zero; the value function
    V_t does so for the others. Without the weights γᵗ G(PO)MDP has the mean T. Observations are the step t, which the
    policy does not look at.

    Args:
        horizon: T.
        theta: θ, the policy's mean and only parameter.
        std: σ.
        gamma: γ, in [0, 1].

    Raises:
        GradlabError: the horizon is below one, σ is not positive, or γ is out of range.

    Example:
        >>> world = RewardChain(horizon=10, theta=1.0)
        >>> [m.variance for m in (world.reinforce(), world.reinforce(world.value()), world.gpomdp())]
        [1200.0, 200.0, 450.0]
    """

    name = "reward-chain"

    def __init__(self, horizon: int = 10, theta: float = 1.0, std: float = 1.0, gamma: float = 1.0) -> None:
        if horizon < 1 or horizon != int(horizon):
            raise GradlabError(f"reward-chain: horizon is {horizon}; it must be a whole number from 1")
        if not (math.isfinite(std) and std > 0):
            raise GradlabError(f"reward-chain: std is {std}; it must be positive")
        check_finite(self.name, theta=theta)
        if not 0 <= gamma <= 1:
            raise GradlabError(f"reward-chain: gamma is {gamma}; it must lie in [0, 1]")
        self.horizon, self.theta, self.std, self.gamma = int(horizon), float(theta), float(std), float(gamma)

    # In closed form ------------------------------------------------------------------------------------------

    @property
    def weights(self) -> Tensor:
        """c_t = γᵗ, [T]."""
        return self.gamma ** torch.arange(self.horizon, dtype=torch.float64)

    @property
    def state_values(self) -> Tensor:
        """V_t = θ Σ_{k≥t} γ^{k−t}, [T + 1]; nothing after the end."""
        terms = torch.cat([self.weights.cumsum(0).flip(0), torch.zeros(1, dtype=torch.float64)])
        return self.theta * terms

    def state_value(self, obs: Tensor) -> Tensor:
        """V at observations [N, 1], the steps → [N]: zero from the horizon on."""
        step = obs[..., 0].round().long().clamp(0, self.horizon)
        return self.state_values.to(obs)[step]

    def value(self) -> float:
        """J = θC."""
        return self.theta * float(self.weights.sum())

    def true_gradient(self) -> Tensor:
        """∇J = C, shape [1]."""
        return self.weights.sum().reshape(1)

    def reinforce(self, baseline: float | None = 0.0) -> Moments:
        """Moments of (G − b) Σ_t ε_t/σ; None is the best constant, E[G Z²]/E[Z²] = J."""
        left = 0.0 if baseline is None else self.value() - baseline
        total, squares = float(self.weights.sum()), float(self.weights.square().sum())
        return Moments(total, self.horizon * ((left / self.std) ** 2 + squares) + total**2)

    def reinforce_leave_one_out(self, episodes: int) -> Moments:
        """Moments of the mean REINFORCE gradient of K = ``episodes``, each with the others' mean return as baseline.

        (1/K) Σ_i Z_i (G_i − mean of the other G) is the sample covariance of return and score Z = Σ_t ε_t/σ.

        Raises:
            GradlabError: there is no other episode.
        """
        total, squares = self.weights.sum().reshape(1), self.weights.square().sum().reshape(1)
        moments = ScoreMoments(
            value=self.value(),
            spread=self.std**2 * float(squares),
            gradient=total,
            score=torch.full_like(total, self.horizon / self.std**2),
            weighted=torch.zeros_like(total),  # an odd moment
            weighted_square=self.horizon * squares + 2 * total.square(),
        )
        return Moments(float(total), moments.leave_one_out(episodes))

    def gpomdp(self, baseline: Tensor | float = 0.0, *, discounted_states: bool = True) -> Moments:
        """Moments of Σ_t γᵗ (R_t − b_t) ε_t/σ, R_t the reward-to-go; ``baseline`` is a number or [T].

        Without ``discounted_states`` the weights are 1, and the mean is T instead of C: the known bias.
        """
        weights = self.weights if discounted_states else torch.ones_like(self.weights)
        return self._moments(self._left(baseline), self.gamma, weights)

    def action_value(self, baseline: Tensor | float = 0.0) -> Moments:
        """Moments of Σ_t γᵗ (Q_t(a_t) − b_t) ε_t/σ with the exact Q_t(a) = a + γV_{t+1}."""
        return self._moments(self._left(baseline), 0.0, self.weights)

    def gae(self, lam: float) -> Moments:
        """Moments of Σ_t γᵗ Â_t ε_t/σ, Â_t = Σ_k (γλ)^{k−t} δ_k with the exact V, so that δ_k = σε_k; λ = 0 is TD."""
        return self._moments(torch.zeros_like(self.weights), self.gamma * lam, self.weights)

    def _left(self, baseline: Tensor | float) -> Tensor:
        return self.state_values[:-1] - torch.as_tensor(baseline, dtype=torch.float64)

    def _moments(self, left: Tensor, carry: float, weights: Tensor) -> Moments:
        """Of Σ_t w_t (left_t + σ Σ_{k≥t} carry^{k−t} ε_k) ε_t/σ: products of different ε are uncorrelated."""
        step = torch.arange(self.horizon)
        ahead = (step - step.unsqueeze(1)).clamp_min(0).double()  # k − t
        later = (carry ** (2 * ahead)).triu(1).sum(1)
        variance = (weights.square() * ((left / self.std).square() + 2 + later)).sum()
        return Moments(float(weights.sum()), float(variance))

    def action_gradient(self, obs: Any, act: Any) -> Tensor:
        """∂Q/∂a = 1: act [B, 1] → [B, 1]."""
        return torch.ones_like(vectors(self.name, "act", act, 1))

    def hessians(self, obs: Any, act: Any) -> Hessians:
        """Zero: Q is linear in the action and has no term with the step and the action."""
        act = vectors(self.name, "act", act, 1)
        return Hessians(no_mixed(act, act), no_mixed(obs, act))

    # By sampling ---------------------------------------------------------------------------------------------

    def agent(self) -> Agent:
        """A Gaussian policy of mean θ, its only parameter, and the exact critic Q_t(a) = a + γV_{t+1}, float64."""
        return Agent(
            ConstantActor(torch.tensor([self.theta], dtype=torch.float64)),
            [_ChainCritic(self)],
            action_low=self.theta - _WIDTH * self.std,
            action_high=self.theta + _WIDTH * self.std,
            discount=self.gamma,
            policy=Gaussian(),
            head=FixedLogStd(torch.tensor([math.log(self.std)], dtype=torch.float64)),
            obs_size=1,
            algorithm=self.name,
        )

    def observations(self) -> Tensor:
        """Every step once, [T, 1]."""
        return torch.arange(self.horizon, dtype=torch.float64).unsqueeze(-1)

    def trajectories(self, count: int, generator: torch.Generator) -> Trajectories:
        """Independent episodes of T steps each, the last one terminal."""
        noise = torch.randn(self.horizon, count, 1, generator=generator, dtype=torch.float64)
        alive, steps = torch.ones(count, dtype=torch.bool), []
        for t, eps in enumerate(noise):
            act = self.theta + self.std * eps
            now, following = (torch.full_like(eps, float(at)) for at in (t, t + 1))
            steps.append(Step(now, act, act[:, 0], following, alive & (t + 1 == self.horizon), alive, eps))
        return gather(steps, self.gamma)

    def admitted(self) -> Sequence[Admitted]:
        """Every trajectory estimator, without and with baselines."""
        values = self.state_values[:-1]
        cases: list[tuple[TrajectoryEstimator, Moments]] = [
            (Reinforce(), self.reinforce()),
            (Reinforce(self.value()), self.reinforce(None)),
            (Reinforce(LeaveOneOut(_GROUP)), self.reinforce_leave_one_out(_GROUP)),
            (GPOMDP(), self.gpomdp()),
            (GPOMDP(self.state_value), self.gpomdp(values)),
            (ActionValue(), self.action_value()),
            (ActionValue(self.state_value), self.action_value(values)),
            (TDError(self.state_value), self.gae(0.0)),
            (GAE(0.5, self.state_value), self.gae(0.5)),
            (GAE(1.0, self.state_value), self.gae(1.0)),
        ]
        if self.gamma < 1:
            cases.append((GPOMDP(discounted_states=False), self.gpomdp(discounted_states=False)))
        truth = self.true_gradient()
        return [
            Admitted(estimator, torch.full_like(truth, moments.mean), moments.variance, truth)
            for estimator, moments in cases
        ]


class _ChainCritic(nn.Module):
    """Q_t(a) = a + γV_{t+1}."""

    def __init__(self, world: RewardChain) -> None:
        super().__init__()
        self.world = world

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """Observations [N, 1] and actions [N, 1] → [N]."""
        return act[..., 0] + self.world.gamma * self.world.state_value(obs + 1)
