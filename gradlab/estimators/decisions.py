"""A policy's random decisions at some states, with what score-function estimators need to know of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.policies import Around, Policy


@dataclass(frozen=True)
class Decisions:
    """Actions drawn at B states, K to a draw; leading dimensions [D, K].

    Attributes:
        noise: ε they were drawn with, [D, K, B, p].
        act: a = f(h, ε), in the critic's coordinates, [D, K, B, p].
        weight: what the score is weighted with before a baseline, Q(s, a) − α log π_h(a), [D, K, B].
        score: ∇_h log π_h(a), [D, K, B, m].
    """

    noise: Tensor
    act: Tensor
    weight: Tensor
    score: Tensor


@dataclass(frozen=True)
class DecisionProblem:
    """The states at which decisions are taken, and the policy that takes them.

    Attributes:
        agent: whose critic judges the actions.
        policy: the agent's own; around a deterministic one, ``policies.Around`` it.
        obs: [B, n].
        head: h_θ(s), [B, m], detached.
        entropy: α of the entropy bonus that the weight counts; 0 leaves it out.
    """

    agent: Agent
    policy: Policy
    obs: Tensor
    head: Tensor
    entropy: float

    def decide(self, noise: Tensor) -> Decisions:
        """The decisions for given noise [D, K, B, p]."""
        with torch.no_grad():
            act, log_prob = self.policy.sample(self.head, noise)
            weight = self.agent.q(self.obs, act)
            if self.entropy:
                weight = weight - self.entropy * log_prob
        return Decisions(noise, act, weight, self.policy.score(self.head, noise))

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """The policy's noise [*shape, B, p]."""
        return self.policy.noise((*shape, len(self.obs), self.agent.action_size), generator, self.obs)


def decision_problem(agent: Agent, obs: Tensor, sigma: float, *, entropy: bool) -> DecisionProblem:
    """The agent's decisions at ``obs``; with Gaussian exploration of width ``sigma`` where its policy has none.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 1), [torch.nn.Bilinear(1, 1, 1)], action_low=-1, action_high=1)
        >>> problem = decision_problem(agent, torch.zeros(4, 1), 0.1, entropy=True)
        >>> problem.decide(torch.zeros(3, 2, 4, 1)).weight.shape
        torch.Size([3, 2, 4])
    """
    with torch.no_grad():
        head = agent.head(obs)
    if agent.policy.stochastic:
        return DecisionProblem(agent, agent.policy, obs, head, agent.entropy if entropy else 0.0)
    # The entropy of a Gaussian of fixed width is constant.
    return DecisionProblem(agent, Around(sigma, agent.policy), obs, head, 0.0)
