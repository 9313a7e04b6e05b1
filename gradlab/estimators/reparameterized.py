"""Reparameterised policy gradients."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimators.base import Estimator
from gradlab.estimators.deterministic import Deterministic
from gradlab.estimators.heads import in_chunks
from gradlab.objective import Objective


def pathwise(value: Tensor, at: Tensor) -> Tensor:
    """∂ value/∂ at for values [D, B] of heads [D, B, m], detached.

    Zero where the value does not depend on the head; NaN where it is not finite, though its derivative may be: such a
    critic is to be found out, not averaged away.

    Example:
        >>> at = torch.ones(1, 2, 1, requires_grad=True)
        >>> pathwise(torch.where(torch.tensor([True, False]), 3 * at.squeeze(-1), torch.inf), at).flatten()
        tensor([3., nan])
    """
    if not value.requires_grad:
        gradient = torch.zeros_like(at)
    else:
        (gradient,) = torch.autograd.grad(value.sum(), at, materialize_grads=True)
    return torch.where(torch.isfinite(value.detach()).unsqueeze(-1), gradient, torch.nan)


class Reparameterized(Estimator):
    """∇_h [Q(s, f(h, ε)) − α log π_h(f(h, ε))] for noise ε (SVG(0), SAC).

    α is the agent's entropy coefficient. For a deterministic policy f does not depend on ε: this is ``Deterministic``.
    The derivative of the entropy term has two parts, along the path a = f(h, ε) and at a fixed action; the latter,
    −α ∇_h log π_h(a), has mean zero. Without it (``score_term=False``, "sticking the landing") the estimator is
    unbiased still, and has no variance at all where π_h ∝ exp(Q/α), the policy that the objective asks for; elsewhere
    its variance may be smaller or larger.
    Sources: Heess et al. 2015, "Learning continuous control policies by stochastic value gradients" (SVG(0));
    Haarnoja et al. 2018, arXiv 1801.01290, section 4.2 (with entropy); Roeder, Wu & Duvenaud 2017, arXiv 1703.09194
    (without the score term).

    Args:
        entropy: include −α log π when the agent's objective has it; without, another objective is estimated.
        score_term: include the part of the entropy term's derivative that has mean zero, as SAC does.

    Raises:
        GradlabError: on drawing, when the agent's actions are discrete.

    Example:
        >>> from torch import nn
        >>> from gradlab.policies import Gaussian
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return -act.square().sum(-1)
        >>> agent = Agent(nn.Linear(1, 2), [Critic()], action_low=-1, action_high=1, policy=Gaussian(),
        ...               head=lambda actor, obs: 0 * actor(obs))
        >>> Reparameterized().at_noise(agent, torch.zeros(1, 1), torch.full((1, 1, 1), 2.0))
        tensor([[[-4., -8.]]])
    """

    def __init__(self, *, entropy: bool = True, score_term: bool = True) -> None:
        self.entropy, self.score_term = entropy, score_term
        self.name = "reparameterized"
        if not entropy:
            self.name += "-without-entropy"
        elif not score_term:
            self.name += "-without-score-term"

    def at_noise(self, agent: Agent, obs: Tensor, noise: Tensor) -> Tensor:
        """The draws [D, B, m] for given noise [D, B, p], as ``agent.policy.sample`` takes it.

        A library's own ε gives the library's own gradient: minus its actor loss, differentiated at the head.
        """
        alpha = self._alpha(agent)
        with torch.enable_grad():
            head = agent.head(obs).detach()
            at = head.expand(*noise.shape[:-1], head.shape[-1]).clone().requires_grad_()
            act, log_prob = agent.policy.sample(at, noise)
            value = agent.q(obs, act)
            if alpha:
                value = value - alpha * log_prob
            gradient = pathwise(value, at)
        if alpha and not self.score_term:
            # Taken off again at the noise rather than left out at the action, which may have rounded to a face.
            gradient = gradient + alpha * agent.policy.score(head, noise)
        return gradient

    def objective(self, agent: Agent) -> Objective:
        """The agent's; without entropy where it is left out or the policy is deterministic."""
        return replace(agent.objective, entropy=self._alpha(agent))

    def _alpha(self, agent: Agent) -> float:
        return agent.entropy if self.entropy and agent.policy.stochastic else 0.0

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        if not agent.policy.stochastic:
            return Deterministic().draw(agent, obs, draws, generator)
        noise = agent.policy.noise((draws, len(obs), agent.action_size), generator, obs)
        return in_chunks(lambda part: self.at_noise(agent, obs, part), noise)
