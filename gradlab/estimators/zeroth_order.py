"""Zeroth-order policy gradients: from values of the critic at perturbed actions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import Estimator
from gradlab.estimators.heads import in_chunks, to_head
from gradlab.objective import Objective

Points = Literal[1, 2, "antithetic"]
Directions = Literal["gaussian", "sphere"]


def check_radius(owner: str, name: str, radius: float) -> float:
    """``radius`` as a float.

    Raises:
        GradlabError: it is not a positive, finite number.
    """
    if not (math.isfinite(radius) and radius > 0):
        raise GradlabError(f"{owner}: {name} is {radius}; it must be a positive number, in the critic's action units")
    return float(radius)


class ZerothOrder(Estimator):
    """Finite differences of Q along random directions u around a = f(h), carried to the head by (∂f/∂h)ᵀ.

    ====================  ==========================================  ==============================
    ``points``            estimate of ∇_a Q                           source
    ====================  ==========================================  ==============================
    1                     Q(a + μu) / μ · u                           Flaxman et al. 2005, section 2
    2 (forward)           (Q(a + μu) − Q(a)) / μ · u                  Nesterov & Spokoiny 2017, section 3;
                                                                      CPG, arXiv 2409.01477
    "antithetic"          (Q(a + μu) − Q(a − μu)) / (2μ) · u          Nesterov & Spokoiny 2017, section 3
    ====================  ==========================================  ==============================

    Directions are u ~ N(0, I), or uniform on the sphere of radius √p; both have E uuᵀ = I, so both are unbiased for a
    linear Q. With Gaussian directions all three are unbiased for the gradient of the smoothed critic
    E_u[Q(a + μu)], hence biased by O(μ²) for ∇_a Q. Perturbed actions are not clipped to the action box.

    Args:
        mu: radius μ, in the critic's action units.
        points: 1, 2 or "antithetic".
        directions: "gaussian" or "sphere".

    Raises:
        GradlabError: an argument is none of these, or, on drawing, the agent's actions are discrete.

    Example:
        >>> from torch import nn
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return 3.0 * act.sum(-1)
        >>> agent = Agent(nn.Linear(1, 1), [Critic()], action_low=-1, action_high=1)
        >>> estimator = ZerothOrder(mu=0.1, points="antithetic", directions="sphere")
        >>> estimator.draw(agent, torch.zeros(2, 1), draws=4).round(decimals=3).unique()
        tensor([3.])
        >>> ZerothOrder(mu=0.1, points=2).name
        'zeroth-order-2'
    """

    def __init__(self, mu: float = 0.1, points: Points = 2, directions: Directions = "gaussian") -> None:
        if points not in (1, 2, "antithetic"):
            raise GradlabError(f"zeroth-order: points is {points!r}; choose 1, 2 or 'antithetic'")
        if directions not in ("gaussian", "sphere"):
            raise GradlabError(f"zeroth-order: directions is {directions!r}; choose 'gaussian' or 'sphere'")
        self.mu = check_radius("zeroth-order", "mu", mu)
        self.points: Points = points
        self.directions: Directions = directions
        self.name = f"zeroth-order-{points}" + ("-sphere" if directions == "sphere" else "")

    def at_noise(self, agent: Agent, obs: Tensor, noise: Tensor) -> Tensor:
        """The draws [D, B, m] for given directions u [D, B, p]."""
        with torch.no_grad():
            head = agent.head(obs)
            act = agent.policy.mode(head)
            change = agent.q(obs, act + self.mu * noise)
            if self.points == 2:
                change = change - agent.q(obs, act)
            elif self.points == "antithetic":
                change = (change - agent.q(obs, act - self.mu * noise)) / 2
        return to_head(agent.policy, head, (change / self.mu).unsqueeze(-1) * noise)

    def objective(self, agent: Agent) -> Objective:
        """The agent's without entropy, smoothed with radius μ."""
        return replace(agent.objective, entropy=0.0, smoothing=self.mu)

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        shape = (draws, len(obs), agent.action_size)
        noise = torch.randn(shape, generator=generator, dtype=obs.dtype, device=generator.device).to(obs.device)
        if self.directions == "sphere":
            noise = noise * (math.sqrt(agent.action_size) / torch.linalg.vector_norm(noise, dim=-1, keepdim=True))
        return in_chunks(lambda part: self.at_noise(agent, obs, part), noise)
