"""The deterministic policy gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import Estimator
from gradlab.estimators.heads import to_head


class Deterministic(Estimator):
    """∂f/∂h · ∇_a Q(s, a) at a = f(h), the action without exploration (DPG, DDPG, TD3).

    There is no randomness: all draws are equal. For a stochastic policy it differentiates through the mode,
    which is biased there: it misses E_{a~π}[Q] − Q(mode), the entropy bonus, and everything about the standard
    deviation. Source: Silver et al. 2014, "Deterministic policy gradient algorithms", theorem 1.

    Args:
        critic: index of one critic to differentiate; what the actor follows when None.

    Raises:
        GradlabError: on drawing, when the agent has no such critic or its actions are discrete.

    Example:
        >>> from torch import nn
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return -(act - obs).square().sum(-1)
        >>> actor = nn.Linear(1, 1)
        >>> _ = nn.init.zeros_(actor.weight), nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [Critic()], action_low=-1, action_high=1)
        >>> Deterministic().draw(agent, torch.tensor([[0.5], [0.25]]), draws=3)[0]
        tensor([[1.0000],
                [0.5000]])
    """

    def __init__(self, critic: int | None = None) -> None:
        self.critic = critic
        self.name = "deterministic" if critic is None else f"deterministic-critic-{critic}"

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        if self.critic is not None and not 0 <= self.critic < len(agent.critics):
            raise GradlabError(
                f"estimator {self.name}: this agent has {len(agent.critics)} critics, numbered from 0; "
                "choose one of them"
            )
        with torch.no_grad():
            head = agent.head(obs)
        gradient = agent.action_gradient(obs, agent.policy.mode(head), critic=self.critic)
        cotangent = to_head(agent.policy, head, gradient)
        return cotangent.expand(draws, *cotangent.shape)
