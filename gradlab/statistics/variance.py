"""The variance of an estimator alone, from the diagonal blocks of the tangent kernel."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.confidence import variance_interval
from gradlab.products import all_same, check_draws
from gradlab.tangent import TangentKernel, tangent_kernel


def gradient_variance(agent: Agent, obs: Any, v: Tensor, *, kernel: TangentKernel | None = None) -> Estimate:
    """Trace of the covariance of one minibatch gradient, tr Var g = (1/B²) Σ_i tr(K_ii Cov v_i).

    For draws that are independent over states, where only the kernel's diagonal blocks matter: a thousand draws
    for the price of a few backward passes. The standard error is the jackknife over whole draws.

    Args:
        agent: the agent; neither changed nor given gradients. Pass a snapshot.
        obs: observations [B, n].
        v: cotangents [D, B, m], independent over draws and states.
        kernel: the kernel or its blocks at these states, where it is there already.

    Raises:
        GradlabError: shapes do not fit or a draw is not finite.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 1, bias=False), [], action_low=[-1], action_high=[1])
        >>> v = torch.tensor([1.0, 3.0, 2.0, 4.0]).reshape(4, 1, 1)
        >>> round(gradient_variance(agent, torch.ones(1, 1), v).value, 3)
        1.667
    """
    obs = agent.observations(obs)
    kernel = kernel or tangent_kernel(agent, obs, full=False)
    check_draws(v, kernel.states, kernel.head_size)
    if kernel.states != len(obs):
        raise GradlabError(f"tangent kernel: made for {kernel.states} states, the batch has {len(obs)}")
    draws = len(v)
    if all_same(v):
        return Estimate(0.0, 0.0, draws, scale="inverse")
    v = v.detach().to(kernel.blocks.device)
    mean = v.mean(0, dtype=torch.float64)
    # A few draws at a time stay in the processor's cache.
    squares = torch.cat([_squares(part - mean, kernel.blocks) for part in v.split(64)]) / kernel.states**2
    spread = squares.sum()
    value = float(spread) / (draws - 1) if draws > 1 else math.nan
    stderr = math.nan
    if draws > 2 and value > 0:
        logs = ((spread - squares * draws / (draws - 1)) / (draws - 2)).log()
        stderr = value * math.sqrt((draws - 1) / draws * float((logs - logs.mean()).square().sum()))
    ends = variance_interval(value, stderr, squares) if math.isfinite(stderr) else None
    return Estimate(value, stderr, draws, scale="inverse", ends=ends)


def _squares(v: Tensor, blocks: Tensor) -> Tensor:
    """Σ_i v_diᵀ K_ii v_di for each draw, [D]."""
    by_state = v.transpose(0, 1)
    return (by_state @ blocks).mul_(by_state).sum((0, 2))
