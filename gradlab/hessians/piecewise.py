"""Whether a critic is piecewise linear, told by probing it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.hessians.exact import row

#: States that a critic is probed at, and random actions at each.
_STATES, _ACTIONS = 16, 16


def piecewise_linear(agent: Agent, obs: Any, critic: int | None = None) -> bool:
    """Whether Q looks piecewise linear in the action: flat pieces whose slopes differ.

    Probed, not read off class names: at random actions of the box, the second derivative along a random direction
    (a, s) is exactly zero everywhere while ∇_a Q is not the same everywhere.

    Args:
        agent: the agent; probed in evaluation mode.
        obs: observations [B, n], or images [B, ...].
        critic: index of one critic instead of the one the actor follows.

    Raises:
        GradlabError: the observations are none, or the critic is not finite.

    Example:
        >>> q = lambda obs, act: act.abs().sum(-1)
        >>> piecewise_linear(Agent(torch.nn.Linear(1, 1), [q], [-1.0], [1.0]), torch.zeros(1, 1))
        True
    """
    agent = in_evaluation(agent)
    if not (isinstance(obs, Tensor) and obs.is_floating_point() and obs.ndim >= 2 and len(obs)):
        obs = agent.observations(obs, images=True)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(obs), (_STATES,), generator=generator).to(obs.device)
    states = obs[chosen].repeat_interleave(_ACTIONS, 0)
    share = torch.rand(len(states), agent.action_size, generator=generator, dtype=torch.float64).to(obs)
    act = agent.action_low + share * (agent.action_high - agent.action_low)
    weights = torch.randn(act.shape, generator=generator, dtype=torch.float64).to(act)
    with torch.enable_grad():
        s, a = states.detach().requires_grad_(), act.detach().requires_grad_()
        value = agent.q(s, a, critic=critic)
        if not value.requires_grad:
            return False
        gradient, by_state = torch.autograd.grad(value.sum(), (a, s), create_graph=True, materialize_grads=True)
        if not bool(torch.isfinite(gradient).all()):
            raise GradlabError("critic: NaN or infinite action gradients; has it diverged?")
        second = row((gradient * weights).sum(-1), a, s)
    if any(bool((part != 0).any()) for part in second):
        return False
    slopes = gradient.detach().reshape(_STATES, _ACTIONS, -1)
    if bool((by_state != 0).any()):
        # Of a critic whose graph reaches the state, slopes that differ between states alone are pieces, too; of one
        # that computes its features without gradients they may be a smooth function of the state.
        slopes = slopes.reshape(1, _STATES * _ACTIONS, -1)
    spread = (slopes.amax(1) - slopes.amin(1)).max()
    return bool(spread > 1e3 * torch.finfo(slopes.dtype).eps * slopes.abs().max())


def refuse_piecewise_linear(agent: Agent, obs: Tensor, critic: int | None) -> None:
    """Refuse a critic whose exact second derivatives say nothing.

    Raises:
        GradlabError: it is piecewise linear.
    """
    if piecewise_linear(agent, obs, critic):
        raise GradlabError(
            "critic: piecewise linear (as ReLU networks are), so its exact second derivatives are zero almost "
            "everywhere and say nothing; pass scale=0.1 or another length in action units"
        )
