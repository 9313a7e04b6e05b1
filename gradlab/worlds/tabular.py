"""Tabular decision processes with a softmax policy: everything by linear solves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Softmax
from gradlab.trajectories import Trajectories
from gradlab.worlds.base import Admitted, GradientMoments, Hessians, World
from gradlab.worlds.modules import TableCritic
from gradlab.worlds.tabular_admitted import admitted
from gradlab.worlds.tabular_episodes import episode_process, sample_episodes
from gradlab.worlds.tabular_moments import Process


class TabularMDP(World):
    """States 0 … S−1, actions 0 … A−1, policy π(a | s) ∝ exp θ_sa; the objective is J = E Σ_t γᵗ r_t.

    With P_π, r_π the policy's averages, τ the entropy coefficient and H(s) the entropy of π(· | s)::

        v  = (I − γP_π)⁻¹ (r_π + τH)                 Q = r + γ P v (without the entropy of its own step)
        d  = (I − γP_πᵀ)⁻¹ α                         discounted visitation, of mass 1/(1 − γ)
        J  = αᵀv
        ∂J/∂θ_sa = d(s) π(a | s) [Q(s, a) − τ log π(a | s) − v(s)]

    A finite horizon of T rewards takes v_T = 0 backward and d_{t+1} = P_πᵀ d_t forward instead. Sources: Sutton et al.
    2000, theorem 1 (policy gradient); Mei et al. 2020, arXiv 2005.06392, lemmas 1 and 10 (softmax, entropy).

    **As an agent**: observations are one-hot states, the actor is linear without bias, its weight [A, S] is θᵀ, so that
    flat gradients are ``true_gradient().T.flatten()``; the critic is the exact table of Q.

    Args:
        P: P(s' | s, a), [S, A, S].
        r: reward r(s, a), [S, A], or r(s, a, s'), [S, A, S].
        gamma: γ in [0, 1), or up to 1 with a horizon.
        alpha: distribution of the first state, [S].
        theta: logits, [S, A]; zeros when None.
        entropy: coefficient τ of the entropy bonus.
        horizon: number T of rewards; None is infinite.

    Raises:
        GradlabError: shapes do not fit, something is not a distribution, or γ is out of range.

    Example:
        >>> P = [[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.1, 0.9]]]
        >>> world = TabularMDP(P, [[1.0, 0.0], [0.0, 2.0]], gamma=0.9, alpha=[1.0, 0.0])
        >>> round(world.value(), 9)
        7.341040462
        >>> world.true_gradient()
        tensor([[ 0.8453, -0.8453],
                [-2.7064,  2.7064]], dtype=torch.float64)
    """

    name = "tabular"

    def __init__(
        self,
        P: Any,
        r: Any,
        gamma: float,
        alpha: Any,
        theta: Any = None,
        *,
        entropy: float = 0.0,
        horizon: int | None = None,
    ) -> None:
        self.P, reward, self.alpha = (torch.as_tensor(part, dtype=torch.float64) for part in (P, r, alpha))
        if self.P.ndim != 3 or self.P.shape[0] != self.P.shape[2]:
            raise GradlabError(f"tabular: P is {tuple(self.P.shape)}; it must be [states, actions, states]")
        shape = tuple(self.P.shape)
        self.theta = torch.zeros(shape[:2]).double() if theta is None else torch.as_tensor(theta, dtype=torch.float64)
        if tuple(reward.shape) not in (shape, shape[:2]):
            raise GradlabError(f"tabular: r is {tuple(reward.shape)}; with P {shape} it must be {shape[:2]} or {shape}")
        #: r(s, a, s'), [S, A, S].
        self.reward = reward if reward.ndim == 3 else reward.unsqueeze(-1).expand(shape)
        self.gamma, self.entropy, self.horizon = float(gamma), float(entropy), horizon
        self._check(shape)

    def _check(self, shape: tuple[int, ...]) -> None:
        if tuple(self.theta.shape) != shape[:2] or tuple(self.alpha.shape) != shape[:1]:
            raise GradlabError(
                f"tabular: theta is {tuple(self.theta.shape)}, alpha {tuple(self.alpha.shape)}; with P {shape} they "
                f"must be {shape[:2]} and {shape[:1]}"
            )
        for name, part in {"P": self.P, "alpha": self.alpha}.items():
            if bool((part < 0).any()) or not bool(((part.sum(-1) - 1).abs() < 1e-9).all()):
                raise GradlabError(f"tabular: {name} is not a distribution; its last axis must be ≥ 0 and add up to 1")
        if not (torch.isfinite(self.reward).all() and torch.isfinite(self.theta).all()):
            raise GradlabError("tabular: r or theta has NaN or infinite numbers; give finite ones")
        if self.horizon is not None and self.horizon < 1:
            raise GradlabError(f"tabular: horizon is {self.horizon}; it must be at least 1, or None")
        if not 0 <= self.gamma <= 1 or (self.gamma == 1 and self.horizon is None):
            raise GradlabError(f"tabular: gamma is {self.gamma}; it must lie in [0, 1), or be 1 with a horizon")

    # The policy and its averages -----------------------------------------------------------------------------

    @property
    def policy(self) -> Tensor:
        """π(a | s), [S, A]."""
        return self.theta.softmax(-1)

    @property
    def transition(self) -> Tensor:
        """P_π(s' | s), [S, S]."""
        return torch.einsum("sa,sat->st", self.policy, self.P)

    @property
    def expected_reward(self) -> Tensor:
        """r(s, a) = E r(s, a, s'), without entropy, [S, A]."""
        return (self.P * self.reward).sum(-1)

    @property
    def bonus(self) -> Tensor:
        """The entropy bonus −τ log π(a | s) of a step, [S, A]."""
        return -self.entropy * self.theta.log_softmax(-1)

    # Values --------------------------------------------------------------------------------------------------

    def state_values(self, step: int = 0) -> Tensor:
        """v(s), [S], with the entropy bonus; at ``step`` of a finite horizon, zero at its end."""
        if self.horizon is not None:
            return self._finite_values()[self._at(step)]
        own = (self.policy * (self.expected_reward + self.bonus)).sum(-1)
        system = torch.eye(len(self.P), dtype=torch.float64) - self.gamma * self.transition
        solution: Tensor = torch.linalg.solve(system, own)
        return solution

    def _at(self, step: int) -> int:
        last = self.horizon or step
        if not 0 <= step <= last:
            raise GradlabError(f"tabular: step {step} is outside 0 … {last}, the horizon")
        return step

    def _finite_values(self) -> list[Tensor]:
        """v_0 … v_T."""
        own = (self.policy * (self.expected_reward + self.bonus)).sum(-1)
        values = [torch.zeros_like(own)]
        for _ in range(self.horizon or 0):
            values.append(own + self.gamma * self.transition @ values[-1])
        return values[::-1]

    def q_values(self, step: int = 0) -> Tensor:
        """Q(s, a) = r + γ E v(s'), without the entropy bonus of its own step, [S, A]."""
        return self.expected_reward + self.gamma * self.P @ self.state_values(step + 1)

    def advantages(self, step: int = 0) -> Tensor:
        """Q − τ log π − v, [S, A]; its mean over the policy is zero."""
        return self.q_values(step) + self.bonus - self.state_values(step).unsqueeze(-1)

    def state_value(self, obs: Tensor, step: int = 0) -> Tensor:
        """The value v at one-hot observations [N, S] → [N]: a baseline for estimators."""
        return obs @ self.state_values(step).to(obs)

    def objective(self) -> Tensor:
        """J as a tensor, differentiable in P, r, α and θ, of no dimension."""
        return self.alpha @ self.state_values()

    def value(self) -> float:
        """J = αᵀv."""
        return float(self.objective())

    # Visitation and gradients --------------------------------------------------------------------------------

    def visitation(self, *, normalized: bool = False) -> Tensor:
        """d(s) = Σ_t γᵗ P(s_t = s), [S]: a mass of Σ_t γᵗ, or a distribution when ``normalized``.

        Example:
            >>> same = [[[0.9, 0.1], [0.9, 0.1]]] * 2
            >>> TabularMDP(same, [[0.0, 0.0]] * 2, 0.9, [0.7, 0.3]).visitation(normalized=True)
            tensor([0.8800, 0.1200], dtype=torch.float64)
        """
        if self.horizon is None:
            system = torch.eye(len(self.P), dtype=torch.float64) - self.gamma * self.transition.T
            visits: Tensor = torch.linalg.solve(system, self.alpha)
        else:
            visits = torch.stack([self.gamma**t * p for t, p in enumerate(self._occupancies())]).sum(0)
        return visits / visits.sum() if normalized else visits

    def _occupancies(self) -> list[Tensor]:
        """P(s_t = s) for t = 0 … T−1."""
        out = [self.alpha]
        for _ in range((self.horizon or 1) - 1):
            out.append(self.transition.T @ out[-1])
        return out

    def true_gradient(self) -> Tensor:
        """∂J/∂θ, [S, A], by the policy-gradient theorem."""
        if self.horizon is None:
            return self.visitation().unsqueeze(-1) * self.policy * self.advantages()
        return self._weighted(self.gamma)

    def undiscounted_gradient(self) -> Tensor:
        """What follows when the states' weights γᵗ are left out while Q stays discounted, [S, A]: biased.

        Over a finite horizon Σ_t E[∇log π · A_t] with every weight one; without one, the on-policy stationary
        distribution takes the place of the discounted visitation, with the same mass 1/(1 − γ). It is the gradient of
        no objective. Source: Nota & Thomas 2020, arXiv 1906.07073, theorem 4.2.

        Raises:
            GradlabError: the horizon is infinite and the stationary distribution is not unique.
        """
        if self.horizon is not None:
            return self._weighted(1.0)
        states = len(self.P)
        system = torch.cat([torch.eye(states).double() - self.transition.T, torch.ones(1, states).double()])
        if int(torch.linalg.matrix_rank(system)) < states or int(torch.linalg.matrix_rank(system[:-1])) < states - 1:
            raise GradlabError("tabular: the policy has more than one stationary distribution; give a horizon")
        target = torch.zeros(states + 1, 1, dtype=torch.float64)
        target[-1] = 1
        stationary = torch.linalg.lstsq(system, target).solution.squeeze(-1)
        visits: Tensor = stationary.unsqueeze(-1) / (1 - self.gamma)
        return visits * self.policy * self.advantages()

    def _weighted(self, weight: float) -> Tensor:
        """Σ_t weightᵗ P(s_t = s) π(a | s) A_t(s, a) over the horizon."""
        terms = [
            weight**t * visits.unsqueeze(-1) * self.policy * self.advantages(t)
            for t, visits in enumerate(self._occupancies())
        ]
        return torch.stack(terms).sum(0)

    def action_gradient(self, obs: Tensor, act: Tensor) -> Tensor:
        """Refused: actions are discrete."""
        raise GradlabError("tabular: actions are discrete, Q has no derivative in them; use q_values()")

    def hessians(self, obs: Tensor, act: Tensor) -> Hessians:
        """Refused: actions are discrete."""
        raise GradlabError("tabular: actions are discrete, Q has no derivative in them; use q_values()")

    # By sampling ---------------------------------------------------------------------------------------------

    def agent(self, step: int = 0, *, geometric: bool = False) -> Agent:
        """Softmax policy of a linear actor on one-hot states, weight θᵀ, and the table of Q as its critic, float64.

        Args:
            step: which step's Q; immaterial for an infinite horizon.
            geometric: for episodes that end at random instead of being discounted: its discount is then 1.
        """
        states, actions = self.theta.shape
        actor = nn.Linear(states, actions, bias=False, dtype=torch.float64)
        actor.weight = nn.Parameter(self.theta.detach().T.contiguous().clone())
        return Agent(
            actor,
            [TableCritic(self.q_values(step))],
            action_low=[0.0] * actions,
            action_high=[1.0] * actions,
            discount=1.0 if geometric else self.gamma,
            policy=Softmax(),
            entropy=self.entropy,
            obs_size=states,
            algorithm=self.name,
        )

    def observations(self) -> Tensor:
        """Every state once, one-hot, [S, S]."""
        return torch.eye(len(self.P), dtype=torch.float64)

    def states(self, count: int, generator: torch.Generator) -> Tensor:
        """One-hot states [count, S] from the normalised discounted visitation: ∇J is its mass times their mean."""
        visits = self.visitation(normalized=True).detach()
        return self.observations()[torch.multinomial(visits, count, replacement=True, generator=generator)]

    def process(self, steps: int | None = None, *, geometric: bool = False) -> Process:
        """What one episode of ``trajectories`` with these arguments is, for ``gradlab.worlds.tabular_moments``."""
        return episode_process(self, steps, geometric=geometric)

    def trajectories(
        self, count: int, generator: torch.Generator, steps: int | None = None, *, geometric: bool = False
    ) -> Trajectories:
        """Independent episodes of the policy; observations and actions one-hot, rewards without the entropy bonus.

        * Finite horizon: exactly T steps, discounted by γ, the last one terminal.
        * Infinite horizon: cut, not ended, after ``steps`` steps, discounted by γ. Without bootstrapping they lack
          their tail, a share γ^steps of the discounted mass; by default that is 1e-12, and a bias of that size.
        * Infinite horizon, ``geometric``: after every step the episode ends with probability 1 − γ, terminally, and
          nothing is discounted: E Σ_t r_t is then J, and Q, v and ∇J are the same, so that an estimator that is
          unbiased without discount is unbiased here, exactly. They go with ``agent(geometric=True)``.

        The policy's Gumbel noise is kept with the steps.

        Raises:
            GradlabError: ``steps`` or ``geometric`` is given although the horizon is finite, or they contradict.
        """
        return sample_episodes(self, count, generator, steps, geometric=geometric)

    # Estimators ----------------------------------------------------------------------------------------------

    def score_function(self, baseline: Tensor | float = 0.0) -> GradientMoments:
        """Moments of one draw of the score function at ``observations``, mean over the states, one action a state.

        g = (1/S) Σ_s e_s ⊗ (e_a − π(· | s)) (Q(s, a) − τ log π(a | s) − b(s)), sums over the actions.

        Args:
            baseline: b(s), [S] or a number.

        Returns:
            Mean [S, A] and trace of the covariance.
        """
        weight = self.q_values() + self.bonus - torch.as_tensor(baseline).double().expand(len(self.P)).unsqueeze(-1)
        score = torch.eye(weight.shape[1], dtype=torch.float64) - self.policy.unsqueeze(1)
        draws = weight.unsqueeze(-1) * score
        mean = torch.einsum("sa,sab->sb", self.policy, draws)
        # Centred before it is squared: with two actions the optimal baseline leaves no variance at all.
        spread = torch.einsum("sa,sab->", self.policy, (draws - mean.unsqueeze(1)).square())
        states = len(weight)
        return GradientMoments(mean / states, float(spread / states**2))

    def optimal_baseline(self) -> Tensor:
        """Per state, the b(s) of least variance: E[‖∇log π‖² (Q − τ log π)] / E‖∇log π‖², [S]."""
        square = (torch.eye(self.theta.shape[1]).double() - self.policy.unsqueeze(1)).square().sum(-1)
        weight = self.policy * square
        return (weight * (self.q_values() + self.bonus)).sum(-1) / weight.sum(-1)

    def admitted(self) -> Sequence[Admitted]:
        """Score functions at the states, and trajectory estimators on whole episodes."""
        return admitted(self)

    def flat(self, gradient: Tensor) -> Tensor:
        """A gradient [S, A] as a flat vector over the agent's parameters."""
        return gradient.T.flatten()
