"""The naive gradient: differentiate a sample mean and forget that the samples depend on the parameters."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimators.base import Estimator
from gradlab.estimators.heads import in_chunks
from gradlab.objective import Objective


class Naive(Estimator):
    """∇_h of the sample mean of Q(s, a) − α log π_h(a) with the actions held fixed: −α ∇_h log π_h(a), a ~ π_h.

    The negative control: Q of a fixed action does not depend on the head, so that all of ∇_h E_{a ~ π_h}[Q] is missed.
    The mean is zero in every state, since E ∇_h log π_h(a) = 0: it even misses the entropy's gradient. Without an
    entropy bonus, and for a deterministic policy, each draw is zero. What an objective depends on directly, as in
    E_{x ~ N(θ, 1)}[x²θ], is all that it can find.

    Args:
        entropy: differentiate the agent's entropy bonus too, where its objective has one.

    Example:
        >>> from gradlab.policies import Gaussian
        >>> agent = Agent(torch.nn.Linear(1, 2), [], action_low=-1, action_high=1, policy=Gaussian())
        >>> Naive().draw(agent, torch.zeros(2, 1), draws=3).any()
        tensor(False)
    """

    continuous_only = False

    def __init__(self, *, entropy: bool = True) -> None:
        self.entropy = entropy
        self.name = "naive" if entropy else "naive-without-entropy"

    def at_noise(self, agent: Agent, obs: Tensor, noise: Tensor) -> Tensor:
        """The draws [D, B, m] for given noise [D, B, p], as ``agent.policy.noise`` makes it."""
        with torch.no_grad():
            head = agent.head(obs)
        if not (self.entropy and agent.entropy and agent.policy.stochastic):
            return head.new_zeros(*noise.shape[:-1], head.shape[-1])
        return -agent.entropy * agent.policy.score(head, noise)

    def objective(self, agent: Agent) -> Objective:
        """What it is taken for: the agent's, without entropy where it is left out or there is none."""
        kept = self.entropy and agent.policy.stochastic
        return agent.objective if kept else replace(agent.objective, entropy=0.0)

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        noise = agent.policy.noise((draws, len(obs), agent.action_size), generator, obs)
        return in_chunks(lambda part: self.at_noise(agent, obs, part), noise)
