"""Reparameterised policy gradients for discrete actions, through a relaxation of the choice: biased."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import Estimator
from gradlab.estimators.heads import in_chunks
from gradlab.estimators.reparameterized import pathwise
from gradlab.objective import Objective
from gradlab.policies import Softmax

Relaxation = Literal["gumbel-softmax", "straight-through-gumbel", "straight-through"]
RELAXATIONS: tuple[Relaxation, ...] = ("gumbel-softmax", "straight-through-gumbel", "straight-through")


class GumbelSoftmax(Estimator):
    """Pathwise gradients of Σ_a π(a) Q(s, a) + α H(π) for a ``Softmax`` policy, by relaxing the choice to the simplex.

    With Gumbel noise g, y = softmax((h + g)/τ) and a the one-hot vector of its largest coordinate:

    =========================  ====================================  ==========================================
    ``relaxation``             estimate                              source
    =========================  ====================================  ==========================================
    "gumbel-softmax"           (∂y/∂h)ᵀ ∇Q(s, y)                     Jang, Gu & Poole 2017, arXiv 1611.01144
    "straight-through-gumbel"  (∂y/∂h)ᵀ ∇Q(s, a)                     the same, section 2.2
    "straight-through"         (∂softmax(h)/∂h)ᵀ ∇Q(s, a)            Bengio, Léonard & Courville 2013, 1308.3432
    =========================  ====================================  ==========================================

    All are biased for the discrete objective: the critic is asked between its actions, where it must accept points of
    the simplex and means nothing, or differentiated where it is not followed. "gumbel-softmax" tends to the right
    gradient as τ → 0, while its variance grows; "straight-through" is exact for a critic that is linear in the
    one-hot action, and then has no variance. The entropy's gradient is worked out exactly. The bias is measured
    against the exact sum: ``CriticReference``.

    Args:
        temperature: τ; unused by "straight-through".
        relaxation: one of the above.
        entropy: include αH(π) when the agent's objective has it; without, another objective is estimated.

    Raises:
        GradlabError: an argument is none of these; on drawing, the policy is not ``Softmax``.

    Example:
        >>> from torch import nn
        >>> from gradlab.policies import Softmax
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return act[:, 0]
        >>> actor = nn.Linear(1, 2)
        >>> _ = nn.init.zeros_(actor.weight), nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [Critic()], action_low=[0, 0], action_high=[1, 1], policy=Softmax())
        >>> GumbelSoftmax(relaxation="straight-through").draw(agent, torch.zeros(1, 1))
        tensor([[[ 0.2500, -0.2500]]])
    """

    continuous_only = False

    def __init__(
        self, temperature: float = 0.5, relaxation: Relaxation = "gumbel-softmax", *, entropy: bool = True
    ) -> None:
        if not (math.isfinite(temperature) and temperature > 0):
            raise GradlabError(f"gumbel-softmax: temperature is {temperature}; it must be a positive number")
        if relaxation not in RELAXATIONS:
            raise GradlabError(f"gumbel-softmax: relaxation is {relaxation!r}; choose one of {', '.join(RELAXATIONS)}")
        self.temperature, self.relaxation, self.entropy = float(temperature), relaxation, entropy
        self.name = relaxation + ("" if entropy else "-without-entropy")

    def at_noise(self, agent: Agent, obs: Tensor, noise: Tensor) -> Tensor:
        """The draws [D, B, m] for given Gumbel noise [D, B, p].

        Raises:
            GradlabError: the agent's policy is not ``Softmax``.
        """
        policy = agent.policy
        if not isinstance(policy, Softmax):
            raise GradlabError(
                f"estimator {self.name}: needs a Softmax policy over discrete actions, not {type(policy).__name__}; "
                "use Reparameterized for continuous actions"
            )
        alpha = self._alpha(agent)
        with torch.enable_grad():
            head = agent.head(obs).detach()
            at = head.expand(*noise.shape[:-1], head.shape[-1]).clone().requires_grad_()
            relaxed = policy.relaxed(at, noise, self.temperature)
            if self.relaxation == "straight-through":
                relaxed = at.softmax(-1)
            asked = relaxed
            if self.relaxation != "gumbel-softmax":
                # The critic sees the choice, the derivative the relaxation.
                asked = policy.sample(head, noise)[0] + (relaxed - relaxed.detach())
            value = agent.q(obs, asked)
            if alpha:
                value = value + alpha * policy.entropy(at)
            return pathwise(value, at)

    def objective(self, agent: Agent) -> Objective:
        """The agent's, with the discrete choice; what the relaxation does to it is bias."""
        return replace(agent.objective, entropy=self._alpha(agent))

    def _alpha(self, agent: Agent) -> float:
        return agent.entropy if self.entropy else 0.0

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        noise = agent.policy.noise((draws, len(obs), agent.action_size), generator, obs)
        return in_chunks(lambda part: self.at_noise(agent, obs, part), noise)
