"""Noise of recorded episodes, and windows of steps in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimators.model_based.model import Model
from gradlab.estimators.model_based.unroll import Noises, infer_action_noise
from gradlab.trajectories import Trajectories


def action_noise(agent: Agent, trajectories: Trajectories) -> Tensor:
    """ε of every recorded action, [N, p]: the recorded one where it gives the action, and else the inferred one.

    Raises:
        GradlabError: it has to be inferred and cannot be.
    """
    obs, act = agent.observations(trajectories.obs), trajectories.act.to(agent.device, agent.dtype)
    if trajectories.noise is not None and agent.policy.stochastic:
        noise = trajectories.noise.to(act)
        with torch.no_grad():
            gap = (agent.policy.sample(agent.head(obs), noise)[0] - act).abs().max()
        if float(gap) <= 100 * torch.finfo(act.dtype).eps ** 0.5:
            return noise
    return infer_action_noise(agent, obs, act)


def model_noise(agent: Agent, model: Model, trajectories: Trajectories) -> Tensor:
    """ξ of every recorded transition, [N, k].

    Raises:
        GradlabError: the model cannot give a recorded transition.
    """
    obs, act = agent.observations(trajectories.obs), trajectories.act.to(agent.device, agent.dtype)
    return model.infer_noise(obs, act, agent.observations(trajectories.next_obs))


@dataclass(frozen=True)
class Windows:
    """Up to n recorded steps from every recorded state on.

    Attributes:
        noises: inferred ε [n + 1, N, p] and ξ [n, N, k]; fresh ε where no action was recorded.
        length: steps in the window, [N].
        open: whether something follows its last state, [N] bool.
        there: whether the action in its last state is recorded too, [N] bool.
    """

    noises: Noises
    length: Tensor
    open: Tensor
    there: Tensor


def windows(agent: Agent, model: Model, trajectories: Trajectories, steps: int, generator: torch.Generator) -> Windows:
    """Windows of ``steps`` steps, cut short by their episode's end."""
    act_noise = action_noise(agent, trajectories)
    episode, count = trajectories.trajectory, len(act_noise)
    remaining = trajectories.lengths[episode] - trajectories.step
    length = remaining.clamp_max(steps)
    first = torch.arange(count, device=episode.device)
    final = trajectories.terminated[first + remaining - 1]
    there = length < remaining
    xi = model_noise(agent, model, trajectories) if steps else act_noise.new_zeros(count, 0)
    if agent.policy.stochastic:
        fresh = agent.policy.noise(tuple(act_noise.shape), generator, act_noise)
    else:
        fresh = torch.zeros_like(act_noise)
    acts, models = [], []
    for j in range(steps + 1):
        inside = (j < remaining)[:, None]
        acts.append(torch.where(inside, act_noise[(first + j).clamp_max(count - 1)], fresh))
        if j < steps:
            models.append(xi[(first + j).clamp_max(count - 1)])
    noises = Noises(torch.stack(acts), torch.stack(models) if models else xi.new_zeros(0, count, 0))
    is_open = there | ~final
    return Windows(noises, length, is_open, there)
