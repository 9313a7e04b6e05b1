"""Score-function (likelihood-ratio) policy gradients with the critic as the return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import Estimator
from gradlab.estimators.heads import in_chunks, to_head
from gradlab.estimators.zeroth_order import check_radius
from gradlab.policies import Gaussian, SquashedGaussian

#: A baseline b(s): "none", "value" (Q at the mode), or a function (agent, obs [B, n]) -> [B].
Baseline = Literal["none", "value"] | Callable[[Agent, Tensor], Tensor]


class ScoreFunction(Estimator):
    """∇_h log π_h(a) · (Q(s, a) − α log π_h(a) − b(s)), a ~ π_h.

    A stochastic policy is taken as it is. Around a deterministic actor the policy is N(f(h), σ²I), whose score at
    a = f(h) + σu is u/σ, carried to the head by (∂f/∂h)ᵀ; the gradient is then that of the smoothed critic. Its entropy
    is constant, so α plays no part there. With b = Q(s, f(h)) this *is* two-point ``ZerothOrder`` of radius σ, draw
    by draw.
    Sources: Williams 1992 (REINFORCE); Sutton et al. 2000, theorem 1; baselines: Greensmith et al. 2004.

    Args:
        sigma: standard deviation σ around a deterministic actor, in the critic's action units; unused otherwise.
        baseline: b(s): "none", "value" (Q at the mode), or a function (agent, obs) -> [B].
        entropy: include −α log π when the agent's objective has it; without, another objective is estimated.

    Raises:
        GradlabError: an argument is none of these.

    Example:
        >>> from torch import nn
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return act.sum(-1)
        >>> agent = Agent(nn.Linear(1, 2), [Critic()], action_low=[-1, -1], action_high=[1, 1])
        >>> draws = ScoreFunction(0.1, "value").draw(agent, torch.zeros(1, 1), 4000, torch.Generator().manual_seed(0))
        >>> (draws.mean((0, 1)) - 1).abs() < 0.1
        tensor([True, True])
    """

    continuous_only = False

    def __init__(self, sigma: float = 0.1, baseline: Baseline = "none", *, entropy: bool = True) -> None:
        if not callable(baseline) and baseline not in ("none", "value"):
            raise GradlabError(f"score-function: baseline is {baseline!r}; choose 'none', 'value' or a function")
        self.sigma = check_radius("score-function", "sigma", sigma)
        self.baseline: Baseline = baseline
        self.entropy = entropy
        self.name = "score-function" if baseline == "none" else "score-function-baseline"
        if not entropy:
            self.name += "-without-entropy"

    def at_noise(self, agent: Agent, obs: Tensor, noise: Tensor) -> Tensor:
        """The draws [D, B, m] for given noise [D, B, p], as ``agent.policy.noise`` makes it."""
        with torch.no_grad():
            head = agent.head(obs)
            if agent.policy.stochastic:
                act, log_prob = agent.policy.sample(head, noise)
            else:
                act = agent.policy.mode(head) + self.sigma * noise
            weight = agent.q(obs, act) - self._baseline(agent, obs, head)
            if self.entropy and agent.entropy and agent.policy.stochastic:
                weight = weight - agent.entropy * log_prob
        if not agent.policy.stochastic:
            return to_head(agent.policy, head, weight.unsqueeze(-1) * (noise / self.sigma))
        return weight.unsqueeze(-1) * _score(agent, head, noise)

    def _baseline(self, agent: Agent, obs: Tensor, head: Tensor) -> Tensor:
        if callable(self.baseline):
            return self.baseline(agent, obs)
        if self.baseline == "value":
            return agent.q(obs, agent.policy.mode(head))
        return torch.zeros_like(head[:, 0])

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        noise = agent.policy.noise((draws, len(obs), agent.action_size), generator, obs)
        return in_chunks(lambda part: self.at_noise(agent, obs, part), noise)


def _score(agent: Agent, head: Tensor, noise: Tensor) -> Tensor:
    """∇_h log π_h(a) at the actions drawn with ``noise``, by automatic differentiation: [D, B, m]."""
    # Squashing is a fixed bijection, so the score is that of the Gaussian beneath it; taking it there avoids the
    # artanh of an action that has rounded to the face of the box.
    policy = Gaussian() if isinstance(agent.policy, SquashedGaussian) else agent.policy
    with torch.enable_grad():
        at = head.detach().expand(*noise.shape[:-1], head.shape[-1]).clone().requires_grad_()
        act = policy.sample(at.detach(), noise)[0]
        (score,) = torch.autograd.grad(policy.log_prob(at, act).sum(), at)
    return score
