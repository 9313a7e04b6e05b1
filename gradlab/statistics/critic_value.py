"""What the critic says an agent's states are worth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError

#: Pairs of noise ε, −ε that a stochastic policy's expectation is taken over.
_PAIRS = 256
#: Far from the seeds people choose.
_SEED = 7_405_883_163


@torch.no_grad()
def critic_values(agent: Agent, obs: Any, actions: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Q(s, a) at given actions, or without them V(s) = E_{a ~ π}[Q(s, a) − α log π(a)], by the critic that is followed.

    A deterministic policy has V(s) = Q(s, π(s)); softmax sums over its actions; any other is sampled by antithetic
    pairs of its noise, the same at every call.

    Args:
        agent: the agent; a float64 copy is measured where its critics are modules.
        obs: observations [B, n].
        actions: [B, p] in the critic's coordinates; the policy's own choice when None.

    Returns:
        Values and their standard errors (zero where they are exact), [B] each, float64 on the CPU.

    Raises:
        GradlabError: the agent has no critic, the shapes do not fit, or a value is NaN or infinite (counted and
            located).

    Example:
        >>> agent = Agent(torch.nn.Identity(), [lambda obs, act: obs[:, 0] * act[:, 0]], action_low=-9, action_high=9)
        >>> critic_values(agent, torch.tensor([[2.0], [3.0]]))[0].tolist()
        [4.0, 9.0]
    """
    critics = agent.critics
    agent = agent.snapshot(double=all(isinstance(critic, torch.nn.Module) for critic in critics))
    agent.actor.eval()
    at = agent.observations(obs)
    if actions is not None:
        if actions.shape != (len(at), agent.action_size):
            raise GradlabError(f"actions: shape {tuple(actions.shape)}; expected [{len(at)}, {agent.action_size}]")
        values = agent.q(at, actions.to(at))[None]
    elif not agent.policy.stochastic:
        values = agent.q(at, agent.action(at))[None]
    else:
        values = _expected(agent, at)
    values = values.double().cpu()
    mean = values.mean(0)
    bad = (~torch.isfinite(mean)).nonzero().flatten().tolist()
    if bad:
        raise GradlabError(
            f"critic: NaN or infinite at {len(bad)} of {len(mean)} states, first state {bad[0]}; "
            "mend the critic or leave those states out"
        )
    return mean, values.std(0) / len(values) ** 0.5 if len(values) > 1 else torch.zeros_like(mean)


def _expected(agent: Agent, obs: Tensor) -> Tensor:
    """Independent unbiased values of the policy's choice, [samples, B]; one of them where it is exact."""
    head = agent.head(obs)
    if not agent.policy.continuous:
        act = torch.eye(agent.action_size).to(head).unsqueeze(1).expand(-1, len(obs), -1)
        log_prob = agent.policy.log_prob(head, act)
        return (log_prob.exp() * (agent.q(obs, act) - agent.entropy * log_prob)).sum(0, keepdim=True)
    generator = torch.Generator().manual_seed(_SEED)
    noise = agent.policy.noise((_PAIRS, len(obs), agent.action_size), generator, head)
    both = []
    for epsilon in (noise, -noise):
        act, log_prob = agent.policy.sample(head, epsilon)
        value = agent.q(obs, act)
        both.append(value - agent.entropy * log_prob if agent.entropy else value)
    return torch.stack(both).mean(0)
