"""Successive surrogates, and functions of actions, as agents: what is asked of a critic can be asked of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.quasirandom import SobolEngine

from gradlab.agent import Agent
from gradlab.arguments import real_tensor, shown, whole_number
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.landscape.entrance import measured_agent
from gradlab.landscape.surface import callable_surface, check_critic

#: Rows of which a graph, or a path of ascent, is held at once.
ROWS = 1 << 15

#: A learned surrogate: observations [B, n], actions [B, p] and previous actions [B, k, p] → values [B] or [B, 1].
Learned = Callable[[Tensor, Tensor, Tensor], Tensor]


def surrogate_agent(agent: Agent, obs: Any, threshold: Tensor, *, critic: int | None = None) -> tuple[Agent, Tensor]:
    """The same actor over the surrogate Ψ(s, a) = max(Q(s, a), τ(s)), whose observations carry τ as a last number.

    The surrogate of SAVO (arXiv 2410.11833, section 4.2). It can be searched, sliced and drawn like any critic:
    ``local_optima(*surrogate_agent(agent, obs, threshold))``.

    Args:
        agent: the agent.
        obs: observations [S, n].
        threshold: τ, [S], in units of Q; −∞ cuts nothing off.
        critic: index of the critic to cut, the one the actor follows by default.

    Returns:
        An agent with one critic, Ψ, and the observations [S, n + 1] to give it.

    Raises:
        GradlabError: ``threshold`` is not one number a state or is NaN, or the agent has no such critic.

    Example:
        >>> agent = Agent(nn.Identity(), [lambda obs, act: -act.square().sum(-1)], [-1.0], [1.0])
        >>> cut, states = surrogate_agent(agent, torch.zeros(2, 1), torch.tensor([-0.5, -0.1]))
        >>> cut.q(states, torch.full((2, 1), 0.6))
        tensor([-0.3600, -0.1000])
    """
    agent = measured_agent(agent)
    check_critic(agent, critic)
    states = agent.observations(obs)
    threshold = real_tensor("threshold", threshold).detach().to(states)
    if threshold.shape != states.shape[:1] or bool(threshold.isnan().any()):
        raise GradlabError(
            f"threshold: shape {tuple(threshold.shape)} or NaN values; expected one number for each of {len(states)} "
            "states"
        )

    def surrogate(rows: Tensor, act: Tensor) -> Tensor:
        return torch.maximum(agent.q(rows[:, :-1], act, critic=critic), rows[:, -1])

    # Observations are finite; nothing lies below the lowest finite number.
    floor = threshold.detach().to(states).clamp_min(torch.finfo(states.dtype).min)
    return _with_critic(agent, surrogate, states.shape[1]), torch.cat([states, floor[:, None]], -1)


def learned_agent(agent: Agent, obs: Any, learned: Learned, previous: Tensor) -> tuple[Agent, Tensor]:
    """The same actor over a learned surrogate Ψ̂(s, a, a_0 … a_{k−1}), whose observations carry the previous actions.

    Args:
        agent: the agent.
        obs: observations [S, n].
        learned: the surrogate, called with observations [B, n], actions [B, p] and previous actions [B, k, p].
        previous: the previous actors' actions, [k, S, p], in the critic's action units.

    Returns:
        An agent with one critic, Ψ̂, and the observations [S, n + k·p] to give it.

    Raises:
        GradlabError: ``previous`` has another shape or values that are not finite.

    Example:
        >>> agent = Agent(nn.Identity(), [lambda obs, act: -act.square().sum(-1)], [-1.0], [1.0])
        >>> nearest = lambda obs, act, previous: (act[:, None] - previous).square().sum(-1).amin(1)
        >>> other, states = learned_agent(agent, torch.zeros(1, 1), nearest, torch.tensor([[[0.5]], [[-1.0]]]))
        >>> other.q(states, torch.zeros(1, 1))
        tensor([0.2500])
    """
    agent = measured_agent(agent)
    if not callable(learned):
        raise GradlabError(f"learned: {shown(learned)}; give a function of obs [B, n], act [B, p], previous [B, k, p]")
    learned = in_evaluation(learned)
    states = agent.observations(obs)
    before = check_actions("previous", agent, states, previous)
    size, count, width = states.shape[1], len(before), agent.action_size

    def surrogate(rows: Tensor, act: Tensor) -> Tensor:
        return learned(rows[:, :size], act, rows[:, size:].unflatten(-1, (count, width)))

    return _with_critic(agent, surrogate, size), torch.cat([states, before.transpose(0, 1).flatten(1)], -1)


def function_agent(q: Callable[[Tensor], Tensor], low: Any, high: Any, states: int = 1) -> tuple[Agent, Tensor]:
    """A function of actions as an agent; an observation is the number of a state.

    Args:
        q: actions [S, k, p] → values [S, k], for any k; differentiable.
        low: lower corner of the action box, [p].
        high: upper corner, [p].
        states: number S of states that the function's first dimension stands for.

    Returns:
        An agent with one critic, q, and an actor that stays at the box's centre; and its observations [S, 1].

    Raises:
        GradlabError: the box is unbounded or empty, ``states`` is below one, or q answers with another shape or dtype.

    Example:
        >>> agent, obs = function_agent(lambda a: a.sum(-1) * torch.tensor([[1.0], [2.0]]), [-1.0], [1.0], states=2)
        >>> agent.q(obs, torch.ones(2, 1))
        tensor([1., 2.])
    """
    states = whole_number("states", states, 1)
    surface = callable_surface(q, states, low, high)

    def critic(rows: Tensor, act: Tensor) -> Tensor:
        return surface.rows(rows[:, 0].round().long(), act)

    agent = Agent(_Still((surface.low + surface.high) / 2), [critic], surface.low, surface.high)
    return agent, torch.arange(states, dtype=agent.dtype)[:, None]


def check_actions(name: str, agent: Agent, states: Tensor, actions: Tensor) -> Tensor:
    """Actions of k actors, [k, S, p], on the agent's device and in its dtype; k may be zero.

    Raises:
        GradlabError: the shape is another, or a value is not finite.

    Example:
        >>> agent = Agent(nn.Identity(), [], [-1.0], [1.0])
        >>> check_actions("anchors", agent, torch.zeros(3, 2), torch.zeros(3, 1))
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: anchors: shape (3, 1); expected [actors, 3, 1], an action of each in every state
    """
    found = real_tensor(name, actions).detach().to(states)
    if found.ndim != 3 or found.shape[1:] != (len(states), agent.action_size):
        raise GradlabError(
            f"{name}: shape {tuple(found.shape)}; expected [actors, {len(states)}, {agent.action_size}], "
            "an action of each in every state"
        )
    if not bool(torch.isfinite(found).all()):
        raise GradlabError(f"{name}: NaN or infinite actions; has an actor diverged?")
    return found


def uniform_actions(agent: Agent, count: int, states: int, generator: torch.Generator) -> Tensor:
    """Actions [count, states, p], uniform on the box: evenly spread in each state and independent between states.

    Sobol points, shifted by another uniform vector in every state and wrapped around (R. Cranley, T. Patterson 1976,
    *Randomization of number theoretic methods for multiple integration*): any mean over them is unbiased.

    Example:
        >>> agent = Agent(nn.Identity(), [], [2.0], [3.0])
        >>> act = uniform_actions(agent, 64, 5, torch.Generator().manual_seed(0))
        >>> act.shape, bool(((act >= 2) & (act <= 3)).all()), bool(((act < 2.25).sum(0) == 16).all())
        (torch.Size([64, 5, 1]), True, True)
    """
    # The engine cannot draw no points.
    even = SobolEngine(agent.action_size).draw(max(count, 1), dtype=torch.float64)[:count, None]
    shift = torch.rand(states, agent.action_size, generator=generator, dtype=torch.float64, device=generator.device)
    shares = ((even + shift.cpu()) % 1.0).to(agent.action_low)
    return agent.action_low + shares * (agent.action_high - agent.action_low)


def gradients(agent: Agent, obs: Tensor, act: Tensor, critic: int | None = None) -> Tensor:
    """∇_a Q at actions [K, S, p], [K, S, p], with the graph of a limited number of rows held at once.

    Example:
        >>> agent = Agent(nn.Identity(), [lambda obs, act: act.square().sum(-1)], [-1.0], [1.0])
        >>> gradients(agent, torch.zeros(2, 1), torch.ones(3, 2, 1)).unique()
        tensor([2.])
    """
    blocks = act.split(max(1, ROWS // len(obs)))
    return torch.cat([agent.action_gradient(obs, block, critic=critic) for block in blocks])


class _Still(nn.Module):
    """An actor that gives one action in every state, in that action's dtype."""

    def __init__(self, action: Tensor) -> None:
        super().__init__()
        self.action = nn.Parameter(action.detach().clone())

    def forward(self, obs: Tensor) -> Tensor:
        return self.action.expand(len(obs), -1)


def _with_critic(agent: Agent, critic: Callable[[Tensor, Tensor], Tensor], size: int) -> Agent:
    """The agent's actor, which reads the first ``size`` numbers of an observation, with one other critic."""
    return Agent(
        agent.actor,
        [critic],
        agent.action_low,
        agent.action_high,
        agent.discount,
        policy=agent.policy,
        head=lambda _, rows: agent.head(rows[:, :size]),
        entropy=agent.entropy,
    )
