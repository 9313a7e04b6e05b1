"""Whether a critic can be differentiated by the state, told by probing it."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.hessians.exact import policy_jacobian

#: States that a critic is probed at.
_PROBES = 16


def refusal(obs: Tensor) -> str:
    """Why ∂/∂s of these observations [B, ...] means nothing, or nothing to say."""
    if obs.ndim == 2:
        return ""
    return (
        f"observations: of shape {tuple(obs.shape[1:])}, as images are; a derivative by single pixels bounds no motion "
        "of the state, so that only the action's part is given"
    )


def blocked(agent: Agent, obs: Tensor, act: Tensor, critic: int | None) -> str:
    """Why ∂Q/∂s is not to be had by differentiating, or nothing to say.

    At one action Q differs between states, and yet its gradient by the state is zero at all of them: somewhere on the
    way the graph is cut, as by features that are computed without gradients for the actor and the critic to share.
    """
    few = obs[:_PROBES]
    # States beside those seen, for one alone shows no difference.
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(few.shape, generator=generator, dtype=torch.float64).to(few)
    few = torch.cat([few, few + 0.1 * noise * (1 + few.abs())])
    with torch.enable_grad():
        s = few.detach().requires_grad_()
        value = agent.q(s, act[:1].detach().expand(len(few), -1), critic=critic)
        slope = None
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), s, allow_unused=True)
    # A critic that ignores the state is no blocked one.
    differs = bool((value.detach() != value.detach()[0]).any())
    if not differs:
        return ""
    if slope is not None and bool((slope != 0).any()):
        return _partly(agent, few, act[:1].detach(), critic, slope.detach())
    return (
        "critic: no gradient reaches the state, though Q depends on it (are its features computed without gradients, "
        "as a shared extractor's are?); pass scale=0.1 to differentiate by finite differences instead"
    )


def _partly(agent: Agent, obs: Tensor, act: Tensor, critic: int | None, slope: Tensor) -> str:
    """Why ∂Q/∂s by the graph, [B, n], is not all of it, or nothing to say.

    At most states it is far from central differences that agree at two steps, by more than these round.
    """
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(obs.shape, generator=generator, dtype=torch.float64).to(obs)
    direction = noise * (1 + obs.abs())

    def along(step: float) -> tuple[Tensor, Tensor]:
        sides = torch.cat([obs + step * direction, obs - step * direction])
        with torch.no_grad():
            ahead, behind = agent.q(sides, act.expand(len(sides), -1), critic=critic).chunk(2)
        return (ahead - behind) / (2 * step), ahead.abs() / step

    long, short = along(2e-2), along(1e-2)
    told = (slope * direction).sum(-1)
    rounding = 16 * torch.finfo(obs.dtype).eps * short[1]
    sure = (long[0] - short[0]).abs() < 0.02 * short[0].abs()
    off = (told - short[0]).abs() > 0.1 * torch.maximum(told.abs(), short[0].abs()) + rounding
    if int((sure & off).sum()) <= len(obs) // 2:
        return ""
    return (
        "critic: only part of its gradient reaches the state (are some of its features computed without gradients?); "
        "pass scale=0.1 to differentiate by finite differences instead"
    )


def blocked_actor(agent: Agent, obs: Tensor) -> str:
    """Why ∂π/∂s is not to be had by differentiating, or nothing to say.

    At most states the action changes with a small move of the state, and yet its gradient is exactly zero at all of
    them. An actor that is saturated does not change, and one that jumps does so at few states.
    """
    few = obs[:_PROBES]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(few.shape, generator=generator, dtype=torch.float64).to(few)
    with torch.no_grad():
        moved = (agent.action(few + 1e-3 * noise * (1 + few.abs())) != agent.action(few)).any(-1)
    if int(moved.sum()) <= len(few) // 2 or bool((policy_jacobian(agent, few) != 0).any()):
        return ""
    return (
        "actor: no gradient reaches the state, though its action depends on it (are its features computed without "
        "gradients?); there is no ∂π/∂s by differentiating"
    )


def refuse_interaction(agent: Agent, obs: Tensor, act: Tensor, critic: int | None) -> None:
    """Refuse critics whose value at one state depends on which others are evaluated with it.

    Raises:
        GradlabError: it does.
    """
    few = slice(min(len(obs), _PROBES))
    together = agent.q(obs[few], act[few], critic=critic).detach()
    twice = agent.q(obs[:1].repeat(2, *[1] * (obs.ndim - 1)), act[:1].repeat(2, 1), critic=critic).detach()
    # Matrix products of other sizes round otherwise.
    tolerance = 1e3 * torch.finfo(together.dtype).eps * together.abs().max().clamp_min(1.0)
    if bool((together[0] - twice[0]).abs() > tolerance):
        raise GradlabError(
            "critic: the states of a batch interact (does a layer normalise over the batch without running "
            "statistics?); derivatives at one state do not exist"
        )
