"""Whether a critic is piecewise linear, told by probing it."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.hessians.exact import row

#: Points at which a critic is probed for being piecewise linear.
_PROBES = 32


def piecewise_linear(agent: Agent, obs: Tensor, critic: int | None) -> bool:
    """Whether Q looks piecewise linear in the action: flat pieces whose slopes differ.

    Probed, not read off class names: at random actions of the box, the second derivative along a random direction
    of (a, s) is exactly zero everywhere while ∇_a Q is not the same everywhere.
    """
    generator = torch.Generator().manual_seed(0)
    states = obs[torch.randint(len(obs), (_PROBES,), generator=generator).to(obs.device)]
    # Actions vary at one state too, or a critic linear in the action alone would look piecewise linear.
    states = torch.cat([states, obs[:1].expand(_PROBES, *obs.shape[1:])])
    share = torch.rand(len(states), agent.action_size, generator=generator, dtype=torch.float64).to(obs)
    act = agent.action_low + share * (agent.action_high - agent.action_low)
    weights = torch.randn(act.shape, generator=generator, dtype=torch.float64).to(act)
    with torch.enable_grad():
        s, a = states.detach().requires_grad_(), act.detach().requires_grad_()
        value = agent.q(s, a, critic=critic)
        if not value.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(value.sum(), a, create_graph=True, materialize_grads=True)
        if not bool(torch.isfinite(gradient).all()):
            raise GradlabError("critic: NaN or infinite action gradients; has it diverged?")
        along = (gradient * weights).sum(-1)
        by_action, by_state = row(along, a, s)
    bent = bool((by_action != 0).any() or (by_state != 0).any())
    slopes = gradient.detach()[_PROBES:]
    spread = (slopes.amax(0) - slopes.amin(0)).max()
    changes = spread > 1e3 * torch.finfo(slopes.dtype).eps * slopes.abs().max()
    return not bent and bool(changes)
