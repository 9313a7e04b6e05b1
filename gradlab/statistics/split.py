"""Where the variance of a policy gradient comes from: states, actions, trajectories."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimate import Estimate
from gradlab.statistics.nested import LeftOutParts, leave_groups_out
from gradlab.tangent import TangentKernel


@dataclass(frozen=True)
class VarianceSplit:
    """The variance of one sample's gradient J_sᵀ v(s, a, τ), split by the law of total variance.

    Attributes:
        state: tr Var_s E[g | s].
        action: E_s tr Var_a E[g | s, a]; with draws [actions, states, m] all that is random at a state.
        trajectory: E_{s,a} tr Var_τ[g | s, a]; None where the draws have no such dimension.
        total: tr Var g, of which the parts are the sum, exactly.
        gradient_squared: ‖E g‖².
        states: number of states.
        notes: what a person should know.
    """

    state: Estimate
    action: Estimate
    trajectory: Estimate | None
    total: Estimate
    gradient_squared: Estimate
    states: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = {"state": self.state, "action": self.action, "trajectory": self.trajectory, "total": self.total}
        return "\n".join(f"{name:10} {part}" for name, part in parts.items() if part is not None)


def variance_split(
    agent: Agent,
    obs: Any,
    v: Tensor,
    *,
    episode: Tensor | None = None,
    kernel: TangentKernel | None = None,
) -> VarianceSplit:
    """Split the variance of a single-sample gradient into state, action (or perturbation) and trajectory parts.

    By a nested analysis of variance on gradients in parameter space, of which only inner products are formed: with
    ‖x‖_i² = xᵀK_ii x, v̄_ia the mean over trajectories and v̄_i that over actions too,

        trajectory = (1/S) Σ_i (1/A) Σ_a (1/(T−1)) Σ_τ ‖v_iaτ − v̄_ia‖_i²
        action     = (1/S) Σ_i (1/(A−1)) Σ_a ‖v̄_ia − v̄_i‖_i² − trajectory/T
        state      = (1/S) Σ_i ‖v̄_i‖_i² − action/A − trajectory/(AT) − ‖E g‖²

    and ‖E g‖² the mean of inner products between different states (episodes, where they are given). Each is unbiased,
    hence may be negative, and their sum is exactly the unbiased estimate of the whole. A minibatch of B independent
    samples has 1/B of it. Standard errors: the jackknife over states, or episodes.

    Intervals know the tails that the states show, and have no upper end where these leave none. What 30 states or more
    of kurtosis 1000 (of ‖g_s − E g‖²) do not show of theirs costs the state's part up to thirteen of the 95 %, fewer
    states more, and ‖E g‖², where rare states make it, up to 25; at kurtosis 50 and below they hold.

    Source: G. Tucker et al. 2018, *The mirage of action-dependent baselines*, section 3, equations (3)–(5).

    Args:
        agent: the agent; neither changed nor given gradients. Pass a snapshot.
        obs: observations [S, n], independent draws of states (independent over episodes, where those are given).
        v: nested independent draws, [actions, states, m] or [actions, trajectories, states, m]: trajectories
            are drawn anew for every action, actions for every state.
        episode: which episode a state is of, [S] integers; every state its own when None.
        kernel: ``tangent_kernel(agent, obs)``, to share it; its blocks do where every state is its own episode.

    Raises:
        GradlabError: shapes do not fit, or a draw is not finite (counted and located).

    Example:
        >>> import torch
        >>> agent = Agent(torch.nn.Linear(1, 1, bias=False), [], action_low=[-1], action_high=[1])
        >>> normal = torch.randn(8, 200, 1, generator=torch.Generator().manual_seed(0))
        >>> split = variance_split(agent, torch.ones(200, 1), torch.linspace(-1, 1, 200)[:, None] + 2 * normal)
        >>> round(split.state.value, 1), round(split.action.value, 1), split.trajectory
        (0.4, 4.1, None)
        >>> split.total.value == split.state.value + split.action.value
        True
    """
    return summarize(leave_groups_out(agent, obs, v, episode=episode, kernel=kernel))


def summarize(parts: LeftOutParts) -> VarianceSplit:
    """The parts as estimates."""
    actions, trajectories = parts.shape
    notes = []
    if parts.groups < 3:
        notes.append(f"{parts.groups} independent groups of states: no interval; give at least three")
    if actions < 2:
        notes.append("one draw at each state: its variance is not told from that of states; draw at least two")
    if trajectories == 1:
        notes.append("one trajectory for each action: the action part holds that of trajectories; draw at least two")
    trajectory = None
    if trajectories:
        trajectory = parts.estimate("trajectory")
        if trajectories == 1:
            trajectory = Estimate(math.nan, math.nan, parts.groups)
    return VarianceSplit(
        parts.estimate("state"),
        parts.estimate("action"),
        trajectory,
        parts.estimate("total"),
        parts.estimate("gradient_squared"),
        parts.states,
        tuple(notes),
    )
