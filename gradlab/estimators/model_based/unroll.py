"""Paths through a differentiable model, with everything that a head moves downstream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.model_based.model import Model
from gradlab.policies import Around, Deterministic, Gaussian, SquashedGaussian

#: A value function V(s), differentiable: observations [N, n] → [N].
Value = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Noises:
    """What makes N paths of T steps, step by step.

    Attributes:
        act: ε of the policy's actions, [T + 1, N, p]; for a deterministic policy what is added to its action.
        model: ξ of the model, [T, N, k].
    """

    act: Tensor
    model: Tensor


@dataclass(frozen=True)
class Ending:
    """How paths end.

    Attributes:
        length: rewards before the end, [N] int64, at most T.
        open: whether something follows that ``value`` stands for, [N] bool.
        value: V(s) at the end; None for the agent's critic at the policy's action there.
    """

    length: Tensor
    open: Tensor
    value: Value | None = None


@dataclass(frozen=True)
class Paths:
    """N unrolled paths.

    Attributes:
        value: Σ_t γᵗ (r_t − α log π_t) and what stands for the rest, [N], with its graph.
        states: at each step which paths are there and where, ([≤ N] indices, [≤ N, n]), detached.
    """

    value: Tensor
    states: list[tuple[Tensor, Tensor]]


def unroll(
    agent: Agent, model: Model, obs: Tensor, noises: Noises, ending: Ending, offsets: Sequence[Tensor], alpha: float
) -> Paths:
    """Unroll the policy through the model, h_t = h_θ(s_t) + offset_t.

    The derivative of a value to ``offsets[t]`` is the total one, ∂/∂h_t through a_t, s_{t+1} and every later action
    and state: dropping the state's own share of ∂a_{t+1}/∂s_{t+1} is a mistake often made.

    Args:
        agent: the agent; its parameters get no gradient.
        model: dynamics and reward.
        obs: first states [N, n].
        noises: ε and ξ.
        ending: how paths end.
        offsets: one [N, m] for each step that has one, from the first on.
        alpha: entropy coefficient; 0 for none.
    """
    total = obs.new_zeros(len(obs))
    index, state = torch.arange(len(obs), device=obs.device), obs
    visited = []
    for t in range(int(ending.length.max()) + 1):
        visited.append((index, state.detach()))
        discount = agent.discount**t
        head = agent.head(state)
        if t < len(offsets):
            head = head + offsets[t][index]
        act, bonus = act_with(agent, head, noises.act[t][index], alpha)
        ends = ending.length[index] == t
        last = (ends & ending.open[index]).nonzero().squeeze(-1)
        if len(last):
            if ending.value is None:
                rest = agent.q(state[last], act[last]) + bonus[last]
            else:
                rest = ending.value(state[last]).reshape(-1)
            total = total.index_add(0, index[last], discount * rest)
        on = (~ends).nonzero().squeeze(-1)
        if not len(on):
            break
        index, state, act = index[on], state[on], act[on]
        total = total.index_add(0, index, discount * (model.reward(state, act) + bonus[on]))
        state = model.next_obs(state, act, noises.model[t][index])
    return Paths(total, visited)


def total_derivatives(value: Tensor, offsets: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """∂ Σ value/∂ offset_t of each offset, detached; zeros where nothing depends on it.

    Example:
        >>> offset = torch.zeros(2, 1, requires_grad=True)
        >>> total_derivatives(3 * offset[:, 0], [offset])[0].tolist(), total_derivatives(torch.ones(2), [offset])
        ([[3.0], [3.0]], (tensor([[0.],
                [0.]]),))
    """
    if not value.requires_grad:
        return tuple(torch.zeros_like(offset, requires_grad=False) for offset in offsets)
    return torch.autograd.grad(value.sum(), list(offsets), materialize_grads=True)


def act_with(agent: Agent, head: Tensor, noise: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The action and its share −α log π of the reward."""
    if not agent.policy.stochastic:
        act = agent.policy.mode(head) + noise
        return act, act.new_zeros(len(act))
    act, log_prob = agent.policy.sample(head, noise)
    return act, -alpha * log_prob


def draw_noises(
    agent: Agent, model: Model, rows: tuple[int, int], steps: int, obs: Tensor, generator: torch.Generator
) -> Noises:
    """Fresh noise for ``rows`` = (draws, states) paths, ε before ξ at each step: [T + 1, D, B, p] and [T, D, B, k]."""
    acts, models = [], []
    for t in range(steps + 1):
        if agent.policy.stochastic:
            acts.append(agent.policy.noise((*rows, agent.action_size), generator, obs))
        else:
            acts.append(obs.new_zeros(*rows, agent.action_size))
        if t < steps:
            models.append(model.noise((*rows, model.noise_size(obs.shape[1])), generator, obs))
    return Noises(torch.stack(acts), torch.stack(models) if models else obs.new_zeros(0, *rows, 0))


def infer_action_noise(agent: Agent, obs: Tensor, act: Tensor) -> Tensor:
    """The ε, [N, p], with which the policy gives recorded actions: f(h(s), ε) = a.

    For a deterministic policy it is what was added to its action. Source: Heess et al. 2015, section 4.2.

    Raises:
        GradlabError: the policy's map from noise to action has no inverse here.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 2), [], [-1], [1], policy=Gaussian(), head=lambda actor, s: 0 * actor(s))
        >>> infer_action_noise(agent, torch.zeros(1, 1), torch.tensor([[0.5]]))
        tensor([[0.5000]])
    """
    policy = agent.policy
    with torch.no_grad():
        head = agent.head(obs)
        if isinstance(policy, Deterministic):
            return act - policy.mode(head)
        if isinstance(policy, Around):
            return (act - policy.mode(head)) / policy.std
        mean, log_std = head.chunk(2, dim=-1)
        if isinstance(policy, SquashedGaussian):
            low, high = (corner.to(head) for corner in (policy.low, policy.high))
            limit = 1 - torch.finfo(head.dtype).eps
            scaled = (2 * act - high - low) / (high - low)
            inside = scaled.abs() <= limit
            if not bool(inside.all()):
                raise GradlabError(
                    f"noise inference: {int((~inside).any(-1).sum())} of {len(act)} actions lie on a face of the box, "
                    "where the noise is lost; give trajectories with their noise, or leave those out"
                )
            return (scaled.atanh() - mean) * (-log_std).exp()
        if isinstance(policy, Gaussian):
            return (act - mean) * (-log_std).exp()
    raise GradlabError(
        f"noise inference: {type(policy).__name__} gives no noise for an action; give trajectories with their noise"
    )
