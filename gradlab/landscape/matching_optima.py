"""Whether optima are those of the critic and the states that they are given with."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape.found import LocalOptima

#: Differences that are rounding: in units of the value's last digit, and as a share of the value range.
_LAST_DIGITS = 256
_SHARE = 1e-4


def check_optima(agent: Agent, obs: Tensor, optima: LocalOptima, critic: int | None) -> None:
    """Raise one line unless Q(s, ·) has the best value that ``optima`` says, at the best action, at every state.

    Args:
        agent: the agent, in evaluation mode.
        obs: observations [S, n].
        optima: said to be of these states and this critic.
        critic: index of one critic instead of the one the actor follows.

    Raises:
        GradlabError: they are of another number of states, of other states, of another critic or of another box.

    Example:
        >>> from gradlab.landscape import local_optima
        >>> agent = Agent(torch.nn.Identity(), [lambda obs, act: obs[:, 0] - act.square().sum(-1)], [-1.0], [1.0])
        >>> check_optima(agent, torch.zeros(1, 1), local_optima(agent, torch.ones(1, 1)), None)
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: optima: not of this critic at these observations in state(s) [0]; give those of
        local_optima for the same agent, obs and critic
    """
    if len(optima.values) != len(obs):
        raise GradlabError(f"optima: of {len(optima.values)} states, but obs has {len(obs)}; give the same states")
    size = optima.best_action.shape[-1]
    if size != agent.action_size:
        raise GradlabError(f"optima: of {size} action coordinates, but this agent has {agent.action_size}")
    with torch.no_grad():
        value = agent.q(obs, optima.best_action.to(obs), critic=critic)
    best, span = optima.best_value.to(value), optima.value_range.to(value)
    largest = torch.maximum(value.abs(), best.abs())
    allowed = _LAST_DIGITS * torch.finfo(value.dtype).eps * largest + _SHARE * span
    # NaN must fail too.
    other = ~((value - best).abs() <= allowed)
    if bool(other.any()):
        raise GradlabError(
            f"optima: not of this critic at these observations in state(s) {other.nonzero().flatten().tolist()[:5]}; "
            "give those of local_optima for the same agent, obs and critic"
        )
