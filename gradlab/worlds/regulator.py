"""What is known exactly of a linear-quadratic regulator: its cost, the cost's gradient and the states' moments."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.worlds.base import Hessians
from gradlab.worlds.inputs import as_numbers, check_horizon, check_step, number


class Regulator:
    """The exact half of ``gradlab.worlds.LinearQuadratic``, which documents the arguments and the formulas."""

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
        given = {"A": A, "B": B, "Q": Q, "R": R, "K": K}
        self.A, self.B, self.Q, self.R, self.K = (_matrix(name, part) for name, part in given.items())
        n, p = self.B.shape
        eye = torch.eye(n, dtype=torch.float64)
        self.sigma0 = eye if sigma0 is None else _matrix("sigma0", sigma0)
        self.noise = torch.zeros_like(eye) if noise is None else _matrix("noise", noise)
        std = as_numbers("linear-quadratic", "policy_std", policy_std)
        if tuple(std.shape) not in ((), (1,), (p,)):
            raise GradlabError(f"linear-quadratic: policy_std is {tuple(std.shape)}; it must be a number or [{p}]")
        self.policy_std = std.expand(p)
        self.gamma, self.horizon = number("linear-quadratic", "gamma", gamma), horizon
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
            if not bool(torch.isfinite(matrix).all()):
                raise GradlabError(f"linear-quadratic: {name} has NaN or infinite entries; give finite ones")
            if name in ("Q", "R", "sigma0", "noise") and not torch.allclose(matrix, matrix.T):
                raise GradlabError(f"linear-quadratic: {name} is not symmetric; pass (M + M.T) / 2")
            if name in ("sigma0", "noise") and not _positive(matrix):
                raise GradlabError(f"linear-quadratic: {name} has a negative eigenvalue; a covariance has none")
        if not bool(torch.isfinite(torch.cat([self.B.flatten(), self.policy_std])).all()):
            raise GradlabError("linear-quadratic: B or policy_std has NaN or infinite entries; give finite ones")
        if bool((self.policy_std < 0).any()):
            raise GradlabError("linear-quadratic: policy_std is negative; pass a standard deviation")
        if not 0 < self.gamma <= 1 or (self.gamma == 1 and self.horizon is None):
            raise GradlabError(
                f"linear-quadratic: gamma is {self.gamma}; it must lie in (0, 1), or be 1 with a horizon"
            )
        check_horizon("linear-quadratic", self.horizon)

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
        check_step("linear-quadratic", step, self.horizon)
        return self._costs_to_go(self.horizon)[step]

    def cost_after(self, step: int = 0) -> Tensor:
        """P_{t+1}, what an action at step t leaves to be paid, [n, n].

        Raises:
            GradlabError: the step lies outside 0 … horizon − 1, where an action is taken.
        """
        check_step("linear-quadratic", step, self.horizon, acting=True)
        return self.cost_to_go(step + 1)

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
        return self._advantage(self.cost_after(step))

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

    def _hessians(self, following: Tensor) -> Hessians:
        """The two matrices for a given P₊."""
        back = self.gamma * self.B.T @ following
        return Hessians(-2 * (self.R + back @ self.B), -2 * back @ self.A)


def _matrix(name: str, value: Any) -> Tensor:
    matrix = as_numbers("linear-quadratic", name, value)
    return matrix.reshape(1, 1) if matrix.ndim == 0 else matrix


def _positive(matrix: Tensor) -> bool:
    """Whether a symmetric matrix has no negative eigenvalue beyond rounding."""
    values = torch.linalg.eigvalsh(matrix.detach())
    return bool(values[0] >= -1e-9 * values.abs().max())


def _discounted_sum(left: Tensor, start: Tensor, gamma: float) -> Tensor:
    """X = start + γ left X leftᵀ, by one linear solve: (I − γ left⊗left) vec X = vec start."""
    n = len(left)
    system = torch.eye(n * n, dtype=left.dtype) - gamma * torch.kron(left, left)
    solution: Tensor = torch.linalg.solve(system, start.reshape(-1))
    return solution.reshape(n, n)
