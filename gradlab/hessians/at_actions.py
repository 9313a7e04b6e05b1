"""Second derivatives of Q at given states and actions, one way or the other, with all that can be wrong checked."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.hessians import differences, exact
from gradlab.hessians.piecewise import piecewise_linear


class SecondDerivatives(NamedTuple):
    """∇²_aa Q [B, p, p], symmetric, and ∇²_as Q [B, p, n], float64."""

    action: Tensor
    mixed: Tensor


def second_derivatives(
    agent: Agent,
    obs: Tensor,
    act: Tensor,
    scale: float | None = None,
    *,
    critic: int | None = None,
    obs_scale: Any = None,
) -> SecondDerivatives:
    """∇²_aa Q and ∇²_as Q, exact or at a stated scale.

    Args:
        agent: in float64 and evaluation mode.
        obs: observations [B, n], float64.
        act: actions [B, p], float64.
        scale: None for exact derivatives, otherwise the step of central differences of ∇_a Q in action units.
        critic: index of one critic instead of the one the actor follows.
        obs_scale: step in each observation feature relative to ``scale``, [n]; ``feature_scale(obs)`` by default.

    Raises:
        GradlabError: exact derivatives of a piecewise-linear critic are asked for, the critic cannot be evaluated in
            float64 or is not finite, or a scale is none.
    """
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise GradlabError(f"scale: {scale}; expected a positive length in action units, or None for exact derivatives")
    try:
        agent.q(obs[:1], act[:1], critic=critic)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise GradlabError(
            f"critic: cannot be evaluated in float64 ({reason}); make it a module, not a function around one"
        ) from error
    if scale is None:
        if piecewise_linear(agent, obs, critic):
            raise GradlabError(
                "critic: piecewise linear (as ReLU networks are), so its exact second derivatives are zero almost "
                "everywhere and say nothing; pass scale=0.1 or another length in action units"
            )
        found = SecondDerivatives(*exact.exact(agent, obs, act, critic))
    else:
        relative = feature_scale(obs) if obs_scale is None else torch.as_tensor(obs_scale).to(obs)
        if relative.shape != obs.shape[1:] or not bool((relative > 0).all()):
            raise GradlabError(f"obs_scale: expected {obs.shape[1]} positive numbers, one per observation feature")
        found = SecondDerivatives(*differences.at_scale(agent, obs, act, critic, scale, relative))
    if not all(bool(torch.isfinite(part).all()) for part in found):
        raise GradlabError("critic: NaN or infinite second derivatives; has it diverged?")
    return found


def feature_scale(obs: Tensor) -> Tensor:
    """Standard deviations [n] of the features, not below a tenth of their median over the features that vary.

    A nearly constant feature would otherwise get a step so short that one kink crossed looks like a huge slope.

    Example:
        >>> feature_scale(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
        tensor([1.4142, 1.4142])
    """
    if len(obs) < 2:
        return torch.ones_like(obs[0])
    spread = obs.std(0)
    varies = spread > 1e-8 * obs.abs().amax(0).clamp_min(1e-8)
    if not bool(varies.any()):
        return torch.ones_like(spread)
    typical = spread[varies].median()
    return torch.where(varies, spread.clamp_min(0.1 * typical), typical)
