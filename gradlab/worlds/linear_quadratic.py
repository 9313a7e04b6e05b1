"""The linear-quadratic regulator: exact gradients in any dimension, discounted, noisy, finite or infinite horizon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian
from gradlab.trajectories import Trajectories
from gradlab.worlds.base import Admitted, Hessians, World
from gradlab.worlds.inputs import vectors
from gradlab.worlds.linear_paths import root
from gradlab.worlds.linear_quadratic_admitted import admitted, sigma_points
from gradlab.worlds.linear_quadratic_episodes import sample_episodes, steps_until
from gradlab.worlds.modules import FixedLogStd, QuadraticCritic, quadratic_form
from gradlab.worlds.regulator import Regulator


class LinearQuadratic(Regulator, World):
    """s' = As + Ba + w, cost sᵀQs + aᵀRa, policy a = −Ks + σ∘ε.

    **Signs.** ``value`` is the expected discounted *cost* J. Everything an actor sees is of the *reward* −cost: the
    critic, ``action_gradient``, ``hessians`` and the ``agent``, whose gradients are therefore ascent directions. The
    actor's weight is −K, so ∂(−J)/∂weight = ∂J/∂K: ``true_gradient`` is both.

    With L = A − BK, W' = W + B diag(σ²) Bᵀ and, for the infinite horizon, P₊ = P::

        P  = Q + KᵀRK + γ Lᵀ P₊ L                    cost-to-go sᵀPs + constant
        E  = (R + γ Bᵀ P₊ B) K − γ Bᵀ P₊ A
        Σ  = Σ₀ + γ L Σ Lᵀ + γ/(1−γ) W'              discounted second moments of the states, summed
        J  = tr PΣ₀ + γ/(1−γ) tr PW' + tr(R diag σ²)/(1−γ)
        ∇J = 2EΣ
        ∂Q/∂a = −2 [Ra + γ BᵀP₊(As + Ba)];  H_aa = −2 (R + γ BᵀP₊B);  H_as = −2γ BᵀP₊A

    A finite horizon of T costs takes P_T = 0 backward and ∇J = Σ_t γᵗ 2 E_t Σ_t with Σ_{t+1} = L Σ_t Lᵀ + W'.
    Sources: Fazel et al. 2018, lemma 1 (deterministic, undiscounted); the rest follows the same way. Everything
    is differentiable in the matrices given.

    Args:
        A: dynamics, [n, n].
        B: dynamics, [n, p].
        Q: cost of the state, [n, n], symmetric.
        R: cost of the action, [p, p], symmetric.
        gamma: γ, in (0, 1), or up to 1 for a finite horizon.
        K: gain, [p, n].
        sigma0: second moment Σ₀ of the first state, [n, n]; the identity when None.
        noise: covariance W of w, [n, n]; zero when None.
        policy_std: standard deviation σ of the Gaussian policy, a number or [p]; zero is deterministic.
        horizon: number T of costs; None is infinite.

    Numbers stand for 1×1 matrices.

    Raises:
        GradlabError: shapes do not fit, γ is out of range, or the discounted cost is infinite.

    Example:
        >>> world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4)
        >>> round(world.value(), 6), round(world.true_gradient().item(), 6)
        (1.900842, -2.215266)
        >>> round(world.sensitivity_ratio(), 6)
        1.473588
    """

    name = "linear-quadratic"

    # The critic, of the reward -------------------------------------------------------------------------------

    def q(self, obs: Any, act: Any, step: int = 0) -> Tensor:
        """Reward-to-go Q(s, a) = −cost-to-go: obs [..., n], act [..., p] → [...]."""
        obs, act = self._pair(obs, act)
        P = self.cost_after(step)
        following = obs @ self.A.T + act @ self.B.T
        constant = torch.trace(P @ self.noise) + self._constant(step + 1)
        return -(
            quadratic_form(obs, self.Q)
            + quadratic_form(act, self.R)
            + self.gamma * (quadratic_form(following, P) + constant)
        )

    def _pair(self, obs: Any, act: Any) -> tuple[Tensor, Tensor]:
        """States and actions as float64 vectors, in whichever form they were given."""
        p, n = self.K.shape
        obs, act = vectors(self.name, "obs", obs, n), vectors(self.name, "act", act, p)
        try:
            torch.broadcast_shapes(obs.shape[:-1], act.shape[:-1])
        except RuntimeError:
            raise GradlabError(
                f"{self.name}: obs is {tuple(obs.shape)}, act {tuple(act.shape)}; give as many actions as states"
            ) from None
        return obs, act

    def state_value(self, obs: Any, step: int = 0) -> Tensor:
        """Expected reward-to-go V(s) = −sᵀP_t s − constant of the policy: obs [N, n] → [N]."""
        obs = vectors(self.name, "obs", obs, len(self.A))
        return -(quadratic_form(obs, self.cost_to_go(step)) + self._constant(step))

    def action_gradient(self, obs: Any, act: Any, step: int = 0) -> Tensor:
        """∂Q/∂a of the reward-to-go: obs [B, n], act [B, p] → [B, p]; for one state and action too.

        Example:
            >>> LinearQuadratic(0.9, 0.5, 1.0, 0.1, 0.95, 0.4).action_gradient(1.0, -0.4)
            tensor([-1.1841], dtype=torch.float64)
        """
        states, actions = self._pair(obs, act)
        hessians = self._hessians(self.cost_after(step))
        return actions @ hessians.action.T + states @ hessians.mixed.T

    def hessians(self, obs: Any, act: Any, step: int = 0) -> Hessians:
        """H_aa and H_as of the reward-to-go, the same in every state and action."""
        batch = torch.broadcast_shapes(*(part.shape[:-1] for part in self._pair(obs, act)))
        hessians = self._hessians(self.cost_after(step))
        return Hessians(*(part.expand(*batch, -1, -1) for part in hessians))

    def sensitivity_ratio(self, step: int = 0) -> float:
        """M/μ, M = ‖H_as‖₂ and μ = −λ_max(H_aa): a bound on ‖∂a*/∂s‖ of the greedy action."""
        action, mixed = self._hessians(self.cost_after(step))
        return float(torch.linalg.matrix_norm(mixed, 2) / -torch.linalg.eigvalsh(action)[-1])

    def improved_gain(self, step: int = 0) -> Tensor:
        """The gain K of the policy that is greedy for this critic (one step of policy iteration), [p, n]."""
        action, mixed = self._hessians(self.cost_after(step))
        solution: Tensor = torch.linalg.solve(action, mixed)
        return solution

    # As an agent ---------------------------------------------------------------------------------------------

    def states(self, count: int, generator: torch.Generator) -> Tensor:
        """States [count, n] from the normalised discounted distribution (1/m) Σ_t γᵗ p_t, m = ``mass``.

        The first state is drawn from N(0, Σ₀). The steps of an infinite horizon are cut where what is left
        weighs less than 1e-12.
        """
        steps = self.horizon or steps_until(self.gamma)
        weights = self.gamma ** torch.arange(steps, dtype=torch.float64)
        step = torch.multinomial(weights, count, replacement=True, generator=generator)
        roots = root(torch.stack(self._moments(steps)))
        normal = torch.randn(count, len(self.A), generator=generator, dtype=torch.float64)
        return torch.einsum("bij,bj->bi", roots[step], normal)

    def trajectories(self, count: int, generator: torch.Generator, steps: int | None = None) -> Trajectories:
        """Independent episodes of the policy, rewards being minus costs, discounted by γ.

        A finite horizon is exact: T steps, the last one terminal. An infinite one is cut, not ended, after ``steps``
        steps; by default where γᵗ ≤ 1e-12, so that what is missing is a share of that size. The first state is drawn
        from N(0, Σ₀); the policy's noise ε is kept unless the policy is deterministic.

        Raises:
            GradlabError: ``steps`` is given although the horizon is finite, or below 1.
        """
        return sample_episodes(self, count, generator, steps)

    def observations(self) -> Tensor:
        """States [2n, n] whose mean square is Σ = Σ_t γᵗ E[s sᵀ] exactly, so that gradients at them are ∇J itself.

        Over a finite horizon, where Q changes with the step, it is Σ₀, that of the first step's states.
        """
        return sigma_points(self._observed().detach())

    def _observed(self) -> Tensor:
        return self.state_moments() if self.horizon is None else self.sigma0

    def gradient_at_observations(self) -> Tensor:
        """The mean gradient over ``observations`` with the critic of ``agent()``, [p, n].

        It is ∇J, or the first of its terms Σ_t γᵗ 2 E_t Σ_t over a finite horizon.
        """
        return 2 * self.advantage_matrix() @ self._observed()

    def admitted(self) -> Sequence[Admitted]:
        """Zeroth-order, score-function and pathwise estimators at the states; episodes of a short finite horizon."""
        return admitted(self)

    @property
    def mass(self) -> float:
        """Σ_t γᵗ: ∇J is this times the mean gradient over ``states``."""
        if self.horizon is None:
            return 1 / (1 - self.gamma)
        return math.fsum(self.gamma**t for t in range(self.horizon))

    def agent(self, step: int = 0, action_bound: float = 10.0) -> Agent:
        """A linear actor of weight −K with the exact critic of the reward-to-go at ``step``, float64.

        Its policy is Gaussian with fixed log-std where every σ is positive, deterministic where all are zero.

        Args:
            step: which step's critic; immaterial for an infinite horizon.
            action_bound: half-width of the action box that is stated; actions are not clipped.

        Raises:
            GradlabError: some σ are zero and some are not.
        """
        p, n = self.K.shape
        positive = self.policy_std > 0
        if bool(positive.any()) and not bool(positive.all()):
            raise GradlabError(
                "linear-quadratic: policy_std is zero in some coordinates only; an agent needs all or none"
            )
        actor = nn.Linear(n, p, bias=False, dtype=torch.float64)
        actor.weight = nn.Parameter(-self.K.detach().clone())
        gaussian: dict[str, Any] = {}
        if bool(positive.all()):
            gaussian = {"policy": Gaussian(), "head": FixedLogStd(self.policy_std.log())}
        return Agent(
            actor,
            [self._critic(step)],
            action_low=[-action_bound] * p,
            action_high=[action_bound] * p,
            discount=self.gamma,
            **gaussian,
            obs_size=n,
            algorithm=self.name,
        )

    def _critic(self, step: int) -> QuadraticCritic:
        """Q with its matrices worked out once."""
        P = self.cost_after(step)
        constant = self.q(torch.zeros_like(self.A[0]), torch.zeros_like(self.R[0]), step)
        return QuadraticCritic(*self._hessians(P), -2 * (self.Q + self.gamma * self.A.T @ P @ self.A), constant)
