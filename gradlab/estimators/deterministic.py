"""The deterministic policy gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.critics import Reduction
from gradlab.errors import GradlabError
from gradlab.estimators.base import Estimator
from gradlab.estimators.heads import to_head
from gradlab.objective import Objective

#: A reduction of the critics, or "target" for the agent's own of its target critics, or "target-…" for another.
AnyReduction = Literal[
    "first", "min", "mean", "truncated", "target", "target-first", "target-min", "target-mean", "target-truncated"
]


class Deterministic(Estimator):
    """∂f/∂h · ∇_a Q(s, a) at a = f(h), the action without exploration (DPG, DDPG, TD3).

    There is no randomness: all draws are equal. For a stochastic policy it differentiates through the mode,
    which is biased there: it misses E_{a~π}[Q] − Q(mode), the entropy bonus, and everything about the standard
    deviation. Source: Silver et al. 2014, "Deterministic policy gradient algorithms", theorem 1.

    Args:
        critic: index of one critic to differentiate; what the actor follows when None.
        reduction: another value than the actor follows: "first", "min" or "mean" of the critics; "truncated", the mean
            of their pooled quantiles without the highest; "target" for the target critics under the agent's own
            reduction (with ``critic``, one of them), "target-min" and so on under another.

    Raises:
        GradlabError: an argument is none of these, or both are given; on drawing, when the agent has no such critic
            or its actions are discrete.

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
        >>> Deterministic(reduction="target-min").name
        'deterministic-target-min'
    """

    def __init__(self, critic: int | None = None, reduction: AnyReduction | None = None) -> None:
        if reduction is not None and reduction not in get_args(AnyReduction):
            choices = ", ".join(map(repr, get_args(AnyReduction)))
            raise GradlabError(f"deterministic: reduction is {reduction!r}; choose one of {choices}, or None")
        if critic is not None and reduction not in (None, "target"):
            raise GradlabError(f"deterministic: critic {critic} and reduction {reduction!r}; one critic is not reduced")
        self.critic = critic
        self.target = reduction is not None and reduction.startswith("target")
        rest: Any = (reduction or "").removeprefix("target").removeprefix("-")
        self.reduction: Reduction | None = rest or None
        parts = [
            "deterministic",
            *([reduction] if reduction else []),
            *([] if critic is None else [f"critic-{critic}"]),
        ]
        self.name = "-".join(parts)

    def objective(self, agent: Agent) -> Objective:
        """The agent's without entropy: one action has none to differentiate."""
        return replace(agent.objective, entropy=0.0)

    def notes(self, agent: Agent, obs: Any) -> tuple[str, ...]:
        """That a stochastic policy is differentiated through its mode, where it is so."""
        if not agent.policy.stochastic:
            return ()
        return (f"{self.name}: differentiates through the mode of a stochastic policy, whose spread it does not see",)

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            head = agent.head(obs)
        gradient = agent.action_gradient(
            obs, agent.policy.mode(head), critic=self.critic, reduction=self.reduction, target=self.target
        )
        cotangent = to_head(agent.policy, head, gradient)
        return cotangent.expand(draws, *cotangent.shape)
