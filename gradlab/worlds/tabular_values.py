"""What is known exactly of a tabular decision process with a softmax policy: values, visitation, gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.worlds.inputs import as_numbers, check_horizon, check_step, number

#: How far from 1 rounding leaves a distribution's sum, in single and in double precision.
_SINGLE, _DOUBLE = 1e-5, 1e-9


class TabularValues:
    """The exact half of ``gradlab.worlds.TabularMDP``, which documents the arguments and the formulas."""

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
        given = {"P": P, "r": r, "alpha": alpha}
        self.P, reward, self.alpha = (as_numbers("tabular", name, part) for name, part in given.items())
        if self.P.ndim != 3 or self.P.shape[0] != self.P.shape[2]:
            raise GradlabError(f"tabular: P is {tuple(self.P.shape)}; it must be [states, actions, states]")
        shape = tuple(self.P.shape)
        self.theta = torch.zeros(shape[:2]).double() if theta is None else as_numbers("tabular", "theta", theta)
        if tuple(reward.shape) not in (shape, shape[:2]):
            raise GradlabError(f"tabular: r is {tuple(reward.shape)}; with P {shape} it must be {shape[:2]} or {shape}")
        #: r(s, a, s'), [S, A, S].
        self.reward = reward if reward.ndim == 3 else reward.unsqueeze(-1).expand(shape)
        self.gamma, self.entropy = number("tabular", "gamma", gamma), number("tabular", "entropy", entropy)
        self.horizon = horizon
        self._check(shape)

    def _check(self, shape: tuple[int, ...]) -> None:
        if tuple(self.theta.shape) != shape[:2] or tuple(self.alpha.shape) != shape[:1]:
            raise GradlabError(
                f"tabular: theta is {tuple(self.theta.shape)}, alpha {tuple(self.alpha.shape)}; with P {shape} they "
                f"must be {shape[:2]} and {shape[:1]}"
            )
        self.P, self.alpha = _distribution("P", self.P), _distribution("alpha", self.alpha)
        if not (torch.isfinite(self.reward).all() and torch.isfinite(self.theta).all()):
            raise GradlabError("tabular: r or theta has NaN or infinite numbers; give finite ones")
        check_horizon("tabular", self.horizon)
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
            check_step("tabular", step, self.horizon)
            return self._finite_values()[step]
        own = (self.policy * (self.expected_reward + self.bonus)).sum(-1)
        system = torch.eye(len(self.P), dtype=torch.float64) - self.gamma * self.transition
        solution: Tensor = torch.linalg.solve(system, own)
        return solution

    def _finite_values(self) -> list[Tensor]:
        """v_0 … v_T."""
        own = (self.policy * (self.expected_reward + self.bonus)).sum(-1)
        values = [torch.zeros_like(own)]
        for _ in range(self.horizon or 0):
            values.append(own + self.gamma * self.transition @ values[-1])
        return values[::-1]

    def q_values(self, step: int = 0) -> Tensor:
        """Q(s, a) = r + γ E v(s'), without the entropy bonus of its own step, [S, A].

        Raises:
            GradlabError: the step lies outside 0 … horizon − 1.
        """
        check_step("tabular", step, self.horizon, acting=True)
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
            >>> from gradlab.worlds import TabularMDP
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
        no objective. Source: Nota & Thomas 2020, arXiv 1906.07073.

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


def _distribution(name: str, weights: Tensor) -> Tensor:
    """The weights themselves, or made to add up to 1 where they did so in single precision only."""
    total = weights.sum(-1, keepdim=True)
    if bool((weights < 0).any()) or not bool(((total - 1).abs() < _SINGLE).all()):
        raise GradlabError(f"tabular: {name} is not a distribution; its last axis must be ≥ 0 and add up to 1")
    return weights if bool(((total - 1).abs() < _DOUBLE).all()) else weights / total
