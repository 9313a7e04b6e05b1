"""Saturation: whether the actor's actions lie so deep in its squash that no gradient moves them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.estimate import Estimate

#: A coordinate is saturated where the squash passes less than this share of what it passes in its middle: beyond 0.995
#: of a tanh.
FLAT = 0.01


@dataclass(frozen=True)
class Saturation:
    """An actor's actions at some states, and what its squash lets through to them.

    Attributes:
        slope: derivative of the action by what goes into the squash, as a share of half the box: of a tanh 1 − tanh²,
            [B, p].
        place: the action as a place between the bounds, −1 to 1, [B, p].
        gradient: ∇_a Q at the action, [B, p].
        measured: whether ``slope`` was measured; where no layer before the squash was found it is 1 − place².
    """

    slope: Tensor
    place: Tensor
    gradient: Tensor
    measured: bool

    @property
    def saturated(self) -> Tensor:
        """Where the squash passes next to nothing, [B, p]."""
        return self.slope < FLAT

    @property
    def stuck(self) -> Tensor:
        """Where it is saturated though the critic asks it back into the box, [B, p]."""
        return self.saturated & (self.gradient * self.place < 0)

    def estimates(self) -> dict[str, Estimate]:
        """Shares of the action's coordinates, mean over states; and the share of ∇_a Q that passes the squash.

        Returns:
            ``saturated_share``, ``stuck_share``, and ``passed``: Σ|slope · ∇_a Q| / Σ|∇_a Q|, with the delta method's
            standard error; left out where ∇_a Q is zero everywhere.
        """
        found = {
            "saturated_share": _share(self.saturated),
            "stuck_share": _share(self.stuck),
        }
        total = self.gradient.abs().double().sum(-1)
        if float(total.sum()) > 0:
            through = (self.gradient * self.slope).abs().double().sum(-1)
            ratio = float(through.sum() / total.sum())
            spread = float((through - ratio * total).std() / total.mean()) / math.sqrt(len(total))
            found["passed"] = Estimate(ratio, spread, len(total), scale="share" if ratio <= 1 else "linear")
        return found


def saturation(agent: Agent, obs: Tensor) -> Saturation:
    """What the actor's squash passes at some states.

    The slope is measured, not assumed: it is ∂a/∂z, z being what the last linear layer of the actor gives that the
    action depends on. Layers are watched while the action is computed and never after.

    Args:
        agent: a snapshot.
        obs: observations [B, n].

    Example:
        >>> actor = nn.Sequential(nn.Linear(1, 1), nn.Tanh())
        >>> with torch.no_grad():
        ...     _ = actor[0].weight.fill_(1.0), actor[0].bias.zero_()
        >>> agent = Agent(actor, [lambda obs, act: -act.square().sum(-1)], [-1.0], [1.0])
        >>> found = saturation(agent, torch.tensor([[0.0], [5.0]]))
        >>> found.saturated.tolist(), found.stuck.tolist(), round(found.estimates()["passed"].value, 4)
        ([[False], [True]], [[False], [True]], 0.0002)
    """
    half = (agent.action_high - agent.action_low) / 2
    with torch.enable_grad():
        action, layers = _watched(agent, obs)
        slope = _slope(action, layers)
    action = action.detach()
    place = (action - agent.action_low) / half - 1
    measured = slope is not None
    slope = slope.abs() / half if slope is not None else (1 - place.square()).clamp(min=0)
    return Saturation(slope.detach(), place, agent.action_gradient(obs, action), measured)


def _watched(agent: Agent, obs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The action, and what the actor's linear layers of its size gave on the way to it."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        if output.shape == (len(obs), agent.action_size) and output.requires_grad:
            seen.append(output)

    handles = [one.register_forward_hook(keep) for one in agent.actor.modules() if isinstance(one, nn.Linear)]
    try:
        return agent.action(obs), seen
    finally:
        for handle in handles:
            handle.remove()


def _slope(action: Tensor, layers: list[Tensor]) -> Tensor | None:
    """∂a/∂z of the last layer that the action depends on, which a squash takes coordinate by coordinate."""
    if not action.requires_grad or not layers:
        return None
    found = torch.autograd.grad(action.sum(), layers, allow_unused=True)
    known = [one for one in found if one is not None]
    # A layer beside it, such as that of a log-std, has zeros; so has this one where it is deep in the squash.
    return next((one for one in reversed(known) if bool(one.any())), known[-1] if known else None)


def _share(where: Tensor) -> Estimate:
    """The mean share of coordinates; states are the independent samples."""
    share = where.double().mean(-1)
    spread = float(share.std()) / math.sqrt(len(share)) if len(share) > 1 else math.nan
    return Estimate(float(share.mean()), spread, len(share), scale="share")
