"""A quadratic critic in one state: every zeroth-order variance in closed form."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.zeroth_order import Directions, Points
from gradlab.worlds.base import Hessians, Moments, World
from gradlab.worlds.modules import ConstantActor


class QuadraticBandit(World):
    """Q(a) = q₀ + gᵀδ + ½ δᵀHδ with δ = a − a₀, where a₀ is the deterministic actor's action.

    Smoothing does not move the gradient of a quadratic, so every zeroth-order estimator is unbiased for g here, and
    they differ in variance alone.

    Args:
        g: gradient at the actor's action, [p].
        H: Hessian, [p, p], symmetric.
        q0: value at the actor's action.
        action: a₀, [p]; zero when None.

    Raises:
        GradlabError: shapes do not fit or H is not symmetric.

    Example:
        >>> world = QuadraticBandit(g=[1.0, -2.0], H=[[-1.0, 0.0], [0.0, -2.0]], q0=3.0)
        >>> world.zeroth_order(mu=0.1, points="antithetic").variance  # (p + 1) ‖g‖²
        15.0
    """

    name = "quadratic-bandit"

    def __init__(self, g: Any, H: Any, q0: float = 0.0, action: Any = None) -> None:
        self.g = torch.as_tensor(g, dtype=torch.float64)
        self.H = torch.as_tensor(H, dtype=torch.float64)
        self.q0 = float(q0)
        size = self.g.numel()
        self.a0 = torch.zeros(size).double() if action is None else torch.as_tensor(action, dtype=torch.float64)
        if self.g.shape != (size,) or self.H.shape != (size, size) or self.a0.shape != (size,):
            raise GradlabError(
                f"quadratic bandit: g {tuple(self.g.shape)}, H {tuple(self.H.shape)}, action {tuple(self.a0.shape)}; "
                "they must be [p], [p, p] and [p]"
            )
        if not torch.allclose(self.H, self.H.T):
            raise GradlabError("quadratic bandit: H is not symmetric; pass (H + H.T) / 2")

    def q(self, act: Tensor) -> Tensor:
        """Q(a): [..., p] → [...]."""
        offset = act - self.a0
        return self.q0 + offset @ self.g + 0.5 * torch.einsum("...i,ij,...j->...", offset, self.H, offset)

    def value(self) -> float:
        """Q at the actor's action."""
        return self.q0

    def true_gradient(self) -> Tensor:
        """∇_a Q at the actor's action, which is the actor's parameter: g."""
        return self.g.clone()

    def action_gradient(self, obs: Tensor, act: Tensor) -> Tensor:
        """The linear g + Hδ: act [B, p] → [B, p]; the state is immaterial."""
        return self.g + (act - self.a0) @ self.H

    def hessians(self, obs: Tensor, act: Tensor) -> Hessians:
        """H everywhere, and zero for the state."""
        batch = len(act)
        return Hessians(self.H.expand(batch, -1, -1), self.H.new_zeros(batch, len(self.g), obs.shape[-1]))

    def zeroth_order(self, mu: float = 0.1, points: Points = 2, directions: Directions = "gaussian") -> Moments:
        """Norm of the mean, ‖g‖, and trace of the covariance of one draw of ``ZerothOrder`` with these arguments.

        With S = (tr H)² + 2 tr H², and from the fourth and sixth moments of the direction u,

        ============  ==============================  ============================  =================
        directions    E[(gᵀu)² ‖u‖²]                  E[(uᵀHu)² ‖u‖²]               E[uᵀHu ‖u‖²]
        ============  ==============================  ============================  =================
        gaussian      (p + 2) ‖g‖²                    (p + 4) S                     (p + 2) tr H
        sphere        p ‖g‖²                          p²/(p + 2) S                  p tr H
        ============  ==============================  ============================  =================

        antithetic = first − ‖g‖²;  two-point = antithetic + μ²/4 · second;
        one-point = two-point + q₀² p/μ² + q₀ · third. Odd moments vanish. ``ScoreFunction`` of standard deviation μ has
        the one-point variance, with the value baseline the two-point one.
        """
        p, trace = len(self.g), float(self.H.trace())
        square, spread = float(self.g @ self.g), trace**2 + 2 * float((self.H @ self.H).trace())
        if directions == "gaussian":
            slope, bend, mixed = (p + 2) * square, (p + 4) * spread, (p + 2) * trace
        else:
            slope, bend, mixed = p * square, p**2 / (p + 2) * spread, p * trace
        variance = slope - square
        if points != "antithetic":
            variance += mu**2 / 4 * bend
        if points == 1:
            variance += self.q0**2 * p / mu**2 + self.q0 * mixed
        return Moments(math.sqrt(square), variance)

    def agent(self) -> Agent:
        """A deterministic actor that gives a₀ in every state (a₀ is its only parameter), and Q as its critic."""
        return Agent(
            ConstantActor(self.a0),
            [_Quadratic(self)],
            action_low=self.a0 - 10.0,
            action_high=self.a0 + 10.0,
            discount=0.0,
            algorithm=self.name,
        )


def expected_absolute_cosine(size: int) -> float:
    """E|cos(u, g)| = Γ(p/2) / (√π Γ((p+1)/2)) for a random direction u in p dimensions.

    One antithetic draw on a quadratic is (gᵀu) u, so this is its expected cosine with the gradient.

    Example:
        >>> round(expected_absolute_cosine(6), 6)
        0.339531
    """
    return math.exp(math.lgamma(size / 2) - math.lgamma((size + 1) / 2)) / math.sqrt(math.pi)


class _Quadratic(nn.Module):
    def __init__(self, world: QuadraticBandit) -> None:
        super().__init__()
        self.world = world

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return self.world.q(act)
