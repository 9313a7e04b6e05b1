"""The terms of an on-policy loss beside the policy's own: the entropy bonus, and V's loss through a shared trunk."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies.gaussian import Gaussian
from gradlab.policies.softmax import Softmax
from gradlab.rollout import Rollout


def has_entropy(agent: Agent) -> bool:
    """Whether the entropy of the agent's policy has a closed form."""
    return isinstance(agent.policy, (Gaussian, Softmax))


@torch.enable_grad()
def entropy_cotangent(agent: Agent, obs: Tensor) -> Tensor:
    """∇_h H(π_h) at observations [N, n], [N, m].

    Raises:
        GradlabError: the policy's entropy has no closed form.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 2), [], [-1], [1], policy=Gaussian())
        >>> entropy_cotangent(agent, torch.ones(1, 1))
        tensor([[0., 1.]])
    """
    if not isinstance(agent.policy, (Gaussian, Softmax)):
        raise GradlabError(f"entropy: that of {type(agent.policy).__name__} has no closed form; leave its bonus out")
    head = agent.head(agent.observations(obs)).detach().requires_grad_()
    (found,) = torch.autograd.grad(agent.policy.entropy(head).sum(), head)
    return found


def shares_parameters(agent: Agent, obs: Tensor) -> bool:
    """Whether V(s) depends on parameters of the actor, so that V's loss moves the policy; asked at one state.

    Example:
        >>> trunk = torch.nn.Linear(1, 1)
        >>> shares_parameters(Agent(trunk, [], [-1], [1], value=torch.nn.Sequential(trunk)), torch.ones(1, 1))
        True
    """
    if agent.value is None:
        return False
    with torch.enable_grad():
        v = agent.v(agent.observations(obs[:1])).sum()
        if not v.requires_grad:
            return False
        found = torch.autograd.grad(v, list(agent.named_parameters().values()), allow_unused=True)
    return any(part is not None for part in found)


@torch.enable_grad()
def value_pull(agent: Agent, rollout: Rollout, rows: Tensor | slice = slice(None)) -> Tensor:
    """−c_V ∇_θ mean (target − V(s))² over some steps, in the actor's parameters, [P]: an ascent direction.

    Args:
        agent: the agent, whose V shares parameters with the actor.
        rollout: its rollout, with its loss.
        rows: which steps.
    """
    assert rollout.loss is not None
    v = agent.v(agent.observations(rollout.obs[rows]))
    old, target, limit = rollout.value[rows].to(v), rollout.target[rows].to(v), rollout.loss.value_clip
    moved = v if limit is None else old + (v - old).clamp(-limit, limit)
    objective = -rollout.loss.value * (target - moved).square().mean()
    found = torch.autograd.grad(objective, list(agent.named_parameters().values()), materialize_grads=True)
    return torch.cat([part.flatten() for part in found])
