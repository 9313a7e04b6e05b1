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
from gradlab.worlds.linear_paths import root
from gradlab.worlds.linear_quadratic_admitted import admitted, sigma_points
from gradlab.worlds.linear_quadratic_episodes import sample_episodes, steps_until
from gradlab.worlds.modules import FixedLogStd, QuadraticCritic, quadratic_form


class LinearQuadratic(World):
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

    def __init__(
        self,
        A: Any,
        B: Any,
        Q: Any,
        R: Any,
        gamma: float,
        K: Any,
        sigma0: Any = None,
        noise: Any = None,
        policy_std: Any = 0.0,
        horizon: int | None = None,
    ) -> None:
        self.A, self.B, self.Q, self.R, self.K = (_matrix(part) for part in (A, B, Q, R, K))
        n, p = self.B.shape
        eye = torch.eye(n, dtype=torch.float64)
        self.sigma0 = eye if sigma0 is None else _matrix(sigma0)
        self.noise = torch.zeros_like(eye) if noise is None else _matrix(noise)
        self.policy_std = torch.as_tensor(policy_std, dtype=torch.float64).expand(p)
        self.gamma, self.horizon = float(gamma), horizon
        self._check(n, p)
        self.L = self.A - self.B @ self.K
        self._stable()

    def _check(self, n: int, p: int) -> None:
        shapes = {"A": (n, n), "Q": (n, n), "R": (p, p), "K": (p, n), "sigma0": (n, n), "noise": (n, n)}
        for name, shape in shapes.items():
            matrix: Tensor = getattr(self, name)
            if tuple(matrix.shape) != shape:
                raise GradlabError(
                    f"linear-quadratic: {name} is {tuple(matrix.shape)}; with B {(n, p)} it must be {shape}"
                )
            if name in ("Q", "R", "sigma0", "noise") and not torch.allclose(matrix, matrix.T):
                raise GradlabError(f"linear-quadratic: {name} is not symmetric; pass (M + M.T) / 2")
        if bool((self.policy_std < 0).any()):
            raise GradlabError("linear-quadratic: policy_std is negative; pass a standard deviation")
        if not 0 < self.gamma <= 1 or (self.gamma == 1 and self.horizon is None):
            raise GradlabError(
                f"linear-quadratic: gamma is {self.gamma}; it must lie in (0, 1), or be 1 with a horizon"
            )
        if self.horizon is not None and self.horizon < 1:
            raise GradlabError(f"linear-quadratic: horizon is {self.horizon}; it must be at least 1, or None")

    def _stable(self) -> None:
        radius = float(torch.linalg.eigvals(self.L.detach()).abs().max())
        if self.horizon is None and math.sqrt(self.gamma) * radius >= 1:
            raise GradlabError(
                f"linear-quadratic: A − BK has spectral radius {radius:.4g}, so with gamma {self.gamma:g} the cost is "
                "infinite; choose a stabilising K or a finite horizon"
            )

    # The Riccati and Lyapunov recursions ---------------------------------------------------------------------

    @property
    def driving(self) -> Tensor:
        """W' = W + B diag(σ²) Bᵀ, what noise and exploration add to a state, [n, n]."""
        return self.noise + self.B @ torch.diag(self.policy_std.square()) @ self.B.T

    def cost_to_go(self, step: int = 0) -> Tensor:
        """P_t of the cost-to-go sᵀP_t s + constant from ``step``, [n, n]; zero at the horizon.

        Raises:
            GradlabError: the step lies outside 0 … horizon.
        """
        if self.horizon is None:
            return _discounted_sum(self.L.T, self._stage(), self.gamma)
        if not 0 <= step <= self.horizon:
            raise GradlabError(f"linear-quadratic: step {step} is outside 0 … {self.horizon}, the horizon")
        return self._costs_to_go(self.horizon)[step]

    def _stage(self) -> Tensor:
        """Cost of a step as a form of its state."""
        return self.Q + self.K.T @ self.R @ self.K

    def _costs_to_go(self, horizon: int) -> list[Tensor]:
        """P_0 … P_T of a finite horizon T."""
        backward = [torch.zeros_like(self.Q)]
        for _ in range(horizon):
            backward.append(self._stage() + self.gamma * self.L.T @ backward[-1] @ self.L)
        return backward[::-1]

    def state_moments(self) -> Tensor:
        """Σ = Σ_t γᵗ E[s_t s_tᵀ], [n, n]."""
        if self.horizon is None:
            start = self.sigma0 + self.gamma / (1 - self.gamma) * self.driving
            return _discounted_sum(self.L, start, self.gamma)
        terms = (self.gamma**t * moment for t, moment in enumerate(self._moments(self.horizon)))
        return sum(terms, start=torch.zeros_like(self.Q))

    def _moments(self, steps: int) -> list[Tensor]:
        """E[s_t s_tᵀ] for t = 0 … steps − 1."""
        moments = [self.sigma0]
        for _ in range(steps - 1):
            moments.append(self.L @ moments[-1] @ self.L.T + self.driving)
        return moments

    def advantage_matrix(self, step: int = 0) -> Tensor:
        """E_t = (R + γBᵀP₊B)K − γBᵀP₊A, [p, n]: zero when no other action is better."""
        return self._advantage(self.cost_to_go(step + 1))

    def _advantage(self, following: Tensor) -> Tensor:
        hessians = self._hessians(following)
        return (hessians.mixed - hessians.action @ self.K) / 2

    def value(self) -> float:
        """The expected discounted cost J."""
        return float(self.cost())

    def cost(self) -> Tensor:
        """J as a differentiable tensor, of no dimension."""
        return torch.trace(self.cost_to_go() @ self.sigma0) + self._constant(0)

    def _constant(self, step: int) -> Tensor:
        """What noise and exploration add to the cost-to-go from ``step``, whatever the state."""
        explore = torch.trace(self.R @ torch.diag(self.policy_std.square()))
        if self.horizon is None:
            spread = torch.trace(self.cost_to_go() @ self.driving)
            return (explore + self.gamma * spread) / (1 - self.gamma)
        total = torch.zeros_like(explore)
        for following in reversed(self._costs_to_go(self.horizon)[step + 1 :]):
            total = explore + self.gamma * (torch.trace(following @ self.driving) + total)
        return total

    def true_gradient(self) -> Tensor:
        """∂J/∂K of the cost = ∂(−J)/∂weight of the reward, weight = −K: [p, n]."""
        if self.horizon is None:
            return 2 * self.advantage_matrix() @ self.state_moments()
        following = self._costs_to_go(self.horizon)[1:]
        terms = (
            self.gamma**t * 2 * self._advantage(P) @ moment
            for t, (P, moment) in enumerate(zip(following, self._moments(self.horizon), strict=True))
        )
        return sum(terms, start=torch.zeros_like(self.K))

    # The critic, of the reward -------------------------------------------------------------------------------

    def q(self, obs: Tensor, act: Tensor, step: int = 0) -> Tensor:
        """Reward-to-go Q(s, a) = −cost-to-go: obs [..., n], act [..., p] → [...]."""
        P = self.cost_to_go(step + 1)
        following = obs @ self.A.T + act @ self.B.T
        constant = torch.trace(P @ self.noise) + self._constant(step + 1)
        return -(
            quadratic_form(obs, self.Q)
            + quadratic_form(act, self.R)
            + self.gamma * (quadratic_form(following, P) + constant)
        )

    def state_value(self, obs: Tensor, step: int = 0) -> Tensor:
        """Expected reward-to-go V(s) = −sᵀP_t s − constant of the policy: obs [N, n] → [N]."""
        return -(quadratic_form(obs, self.cost_to_go(step)) + self._constant(step))

    def action_gradient(self, obs: Tensor, act: Tensor, step: int = 0) -> Tensor:
        """∂Q/∂a of the reward-to-go: obs [B, n], act [B, p] → [B, p]."""
        hessians = self._hessians(self.cost_to_go(step + 1))
        return act @ hessians.action.T + obs @ hessians.mixed.T

    def hessians(self, obs: Tensor, act: Tensor, step: int = 0) -> Hessians:
        """H_aa and H_as of the reward-to-go, the same in every state and action."""
        hessians = self._hessians(self.cost_to_go(step + 1))
        return Hessians(*(part.expand(len(act), -1, -1) for part in hessians))

    def _hessians(self, following: Tensor) -> Hessians:
        """The two matrices for a given P₊."""
        back = self.gamma * self.B.T @ following
        return Hessians(-2 * (self.R + back @ self.B), -2 * back @ self.A)

    def sensitivity_ratio(self, step: int = 0) -> float:
        """M/μ, M = ‖H_as‖₂ and μ = −λ_max(H_aa): a bound on ‖∂a*/∂s‖ of the greedy action."""
        action, mixed = self._hessians(self.cost_to_go(step + 1))
        return float(torch.linalg.matrix_norm(mixed, 2) / -torch.linalg.eigvalsh(action)[-1])

    def improved_gain(self, step: int = 0) -> Tensor:
        """The gain K of the policy that is greedy for this critic (one step of policy iteration), [p, n]."""
        action, mixed = self._hessians(self.cost_to_go(step + 1))
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
        P = self.cost_to_go(step + 1)
        constant = self.q(torch.zeros_like(self.A[0]), torch.zeros_like(self.R[0]), step)
        return QuadraticCritic(*self._hessians(P), -2 * (self.Q + self.gamma * self.A.T @ P @ self.A), constant)


def _matrix(value: Any) -> Tensor:
    matrix = torch.as_tensor(value, dtype=torch.float64)
    return matrix.reshape(1, 1) if matrix.ndim == 0 else matrix


def _discounted_sum(left: Tensor, start: Tensor, gamma: float) -> Tensor:
    """X = start + γ left X leftᵀ, by one linear solve: (I − γ left⊗left) vec X = vec start."""
    n = len(left)
    system = torch.eye(n * n, dtype=left.dtype) - gamma * torch.kron(left, left)
    solution: Tensor = torch.linalg.solve(system, start.reshape(-1))
    return solution.reshape(n, n)
