"""Paths of the linear-quadratic regulator as linear functions of their noise, and gradients along them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gradlab.worlds.base import GradientMoments
from gradlab.worlds.gaussian_forms import Form, expectation

if TYPE_CHECKING:
    from gradlab.worlds.linear_quadratic import LinearQuadratic


def root(covariance: Tensor) -> Tensor:
    """A matrix whose product with its transpose is a covariance, singular or not, [..., n, n].

    Example:
        >>> half = root(torch.tensor([[4.0, 0.0], [0.0, 0.0]]))
        >>> half @ half.T
        tensor([[4., 0.],
                [0., 0.]])
    """
    values, vectors = torch.linalg.eigh(covariance.detach())
    out: Tensor = vectors * values.clamp_min(0).sqrt().unsqueeze(-2)
    return out


class LinearPath(NamedTuple):
    """s_t, a_t and ε_t for t = 0 … T−1 as matrices to apply to ξ = (ζ, ε_0, w_0, ε_1, w_1, …), of ζ the start.

    Attributes:
        states: S_t with s_t = S_t ξ, each [n, d].
        actions: U_t with a_t = U_t ξ, each [p, d].
        noise: which of ξ is ε_t, each [p, d].
    """

    states: list[Tensor]
    actions: list[Tensor]
    noise: list[Tensor]

    @classmethod
    def of(cls, world: LinearQuadratic, start: Tensor, steps: int) -> LinearPath:
        """The path of T = ``steps`` decisions from s_0 = ``start`` ζ, start [n, n]."""
        A, B, K, std = (part.detach() for part in (world.A, world.B, world.K, world.policy_std))
        n, p = B.shape
        eye = torch.eye(n + steps * (n + p), dtype=torch.float64)
        state, path = start @ eye[:n], cls([], [], [])
        for t in range(steps):
            at = n + t * (n + p)
            eps = eye[at : at + p]
            action = torch.diag(std) @ eps - K @ state
            path.states.append(state)
            path.actions.append(action)
            path.noise.append(eps)
            state = A @ state + B @ action + root(world.noise) @ eye[at + p : at + p + n]
        return path


def _before(world: LinearQuadratic, path: LinearPath, step: int, after: Tensor) -> tuple[Tensor, Tensor]:
    """∂G/∂a_t and ∂G/∂s_t of a return G from ∂G/∂s_{t+1}, as matrices of the noise; total, through later actions."""
    Q, R, K = (part.detach() for part in (world.Q, world.R, world.K))
    by_action = -2 * world.gamma**step * R @ path.actions[step] + world.B.detach().T @ after
    by_state = -2 * world.gamma**step * Q @ path.states[step] + world.A.detach().T @ after
    return by_action, by_state - K.T @ by_action


def backpropagated_gradient(world: LinearQuadratic) -> GradientMoments:
    """Moments of dG/dweight along one episode of a finite horizon, through every step (SVG(∞)): [p, n], weight −K.

    With the costate λ_t = dG/ds_t, λ_T = 0, the gradient is Σ_t (∂G/∂a_t) s_tᵀ, and each entry one quadratic form of
    the noise. Source: the adjoint equations; Heess et al. 2015, section 4.1.
    """
    steps = world.horizon or 0
    path = LinearPath.of(world, root(world.sigma0), steps)
    p, n = world.K.shape
    after = torch.zeros_like(path.states[0])
    forms: dict[tuple[int, int], Form] = {}
    for t in range(steps - 1, -1, -1):
        by_action, after = _before(world, path, t, after)
        for i in range(p):
            for j in range(n):
                form = Form.product(by_action[i], path.states[t][j])
                forms[i, j] = forms[i, j] + form if (i, j) in forms else form
    mean = torch.tensor([expectation([form]) for _, form in sorted(forms.items())], dtype=torch.float64)
    second = sum(expectation([form, form]) for form in forms.values())
    return GradientMoments(mean.reshape(p, n), second - float(mean.square().sum()))


def value_gradient(world: LinearQuadratic, obs: Tensor, steps: int) -> tuple[Tensor, float]:
    """Moments of ∂/∂a_0 of Σ_{t<n} γᵗ r_t + γⁿ Q(s_n, a_n) from given states: means [B, p] and one covariance's trace.

    The derivative is total, through later states and actions, and linear in the state and the noise, so that its
    variance is the same in every state. The horizon is infinite. Source: Heess et al. 2015, section 4.

    Args:
        world: with an infinite horizon.
        obs: states [B, n].
        steps: n; 0 differentiates the critic alone.
    """
    n = len(world.A)
    path = LinearPath.of(world, torch.eye(n, dtype=torch.float64), steps + 1)
    P = world.cost_to_go().detach()
    second = world.hessians(obs[:1], obs.new_zeros(1, len(world.K)))
    action, mixed = second.action[0].detach(), second.mixed[0].detach()
    state = -2 * (world.Q + world.gamma * world.A.T @ P @ world.A).detach()
    last, final = path.states[steps], path.actions[steps]
    by_action = world.gamma**steps * (action @ final + mixed @ last)
    after = world.gamma**steps * (state @ last + mixed.T @ final) - world.K.detach().T @ by_action
    for t in range(steps - 1, -1, -1):
        by_action, after = _before(world, path, t, after)
    return obs @ by_action[:, :n].T, float(by_action[:, n:].square().sum())
