"""Finite differences at the head, and the gate that says whether they can be trusted.

Central differences of a smooth return err by O(ε²) from truncation and by O(1/ε) from rounding. Between the two
lies a plateau of step sizes over which the difference does not change; without one (a return that jumps, or a
product of Jacobians too large for float64) no step size is right, and the state is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.policies import Deterministic, Gaussian

#: Rounding units allowed in a return before its difference is called rounding error.
_ROUNDINGS = 16

#: Part of an action's range by which a head may leave it for want of precision in the actor's own scaling.
_OUTSIDE = 1e-6


@dataclass(frozen=True)
class Stencil:
    """The heads at which the return is wanted, and how to combine what it is there.

    Attributes:
        heads: [1 + K·m·2, B, m]: the head itself, then for each of K step sizes and m coordinates two others.
        weights: [K, m, 3, B]: weight of the return at the head itself and at the two others.
        inward: [K, m, B] bool: where the difference is one-sided, because the action box ends there.
        outside: [m, B] bool: where the action lies outside the box, so that its slope is exactly zero.
        steps: [K, m]: step sizes in head units.
        fractions: [K]: step sizes as fractions of each coordinate's range.
    """

    heads: Tensor
    weights: Tensor
    inward: Tensor
    outside: Tensor
    steps: Tensor
    fractions: Tensor

    def gradient(self, values: Tensor) -> Tensor:
        """From returns [..., 1 + K·m·2, B] at ``heads`` to ∂/∂h at each step size, [..., K, B, m]."""
        centre, pairs = self.split(values)
        at = torch.cat([centre[..., None, None, None, :].expand(*pairs.shape[:-2], 1, pairs.shape[-1]), pairs], -2)
        return (self.weights * at).sum(-2).transpose(-1, -2)

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Values at the head itself [..., B] and at the pairs around it [..., K, m, 2, B]."""
        steps, size = self.steps.shape
        pairs = values[..., 1:, :].unflatten(-2, (steps, size, 2))
        return values[..., 0, :], pairs


def stencil(agent: Agent, head: Tensor, relative_steps: Sequence[float]) -> Stencil:
    """Second-order differences at ``head`` [B, m], central where the action box allows it.

    A step is a fraction of the coordinate's natural range: of the action box for an action or the mean of a normal;
    of 2, the range of tanh, for a mean before squashing; of 1 for a log standard deviation. Only a deterministic
    policy's head is held inside the box, by (∓3 f(h) ± 4 f(h ± ε) ∓ f(h ± 2ε)) / 2ε taken inwards: outside the
    box the environment clips the action, and a central difference would be half right. A coordinate that lies outside
    (``clipped``) is not moved, and its derivative is zero.
    """
    with torch.no_grad():
        head, outside = clipped(agent, head)
        count, size = head.shape
        fractions = torch.tensor(relative_steps, dtype=head.dtype, device=head.device)
        steps = fractions[:, None] * _ranges(agent, head)
        box = isinstance(agent.policy, Deterministic)
        low = agent.action_low.to(head) if box else torch.full_like(head[0], -torch.inf)
        high = agent.action_high.to(head) if box else torch.full_like(head[0], torch.inf)
        over = head.T + steps[..., None] > high[:, None]
        under = head.T - steps[..., None] < low[:, None]
        # Where both sides are out the step is wider than the box; the lower side then serves as well as the upper.
        side = torch.where(over, -1.0, torch.where(under, 1.0, 0.0)).to(head)
        inward = side != 0
        first = torch.where(inward, side, 1.0)
        second = torch.where(inward, 2 * side, -1.0)
        inward = inward & ~outside.T
        offsets = torch.stack([first, second], 2) * steps[:, :, None, None] * ~outside.T[:, None]
        eye = torch.eye(size, dtype=head.dtype, device=head.device)
        moved = head + offsets[..., None] * eye[None, :, None, None, :]
        weights = torch.where(
            inward[:, :, None],
            side[:, :, None] * torch.tensor([-1.5, 2.0, -0.5]).to(head)[:, None],
            torch.tensor([0.0, 0.5, -0.5]).to(head)[:, None],
        )
        weights = weights * ~outside.T[:, None] / steps[:, :, None, None]
        heads = torch.cat([head[None], moved.reshape(-1, count, size)])
        return Stencil(heads, weights, inward, outside.T, steps, fractions)


def clipped(agent: Agent, head: Tensor) -> tuple[Tensor, Tensor]:
    """Heads [B, m] as the environment takes them, and which of their coordinates it clips, bool [B, m].

    Beyond the box the environment takes the same action whatever the head, so that ∂F/∂h is zero there. What is
    outside by less than a millionth of the range is rounding in the actor's own scaling, and is on the edge. Only a
    deterministic policy's head is an action; others' are left as they are.

    Example:
        >>> agent = Agent(torch.nn.Identity(), [], action_low=[-1, -1], action_high=[1, 1])
        >>> clipped(agent, torch.tensor([[1.5, -1.0000001]]))
        (tensor([[ 1., -1.]]), tensor([[ True, False]]))
    """
    if not isinstance(agent.policy, Deterministic):
        return head, torch.zeros_like(head, dtype=torch.bool)
    low, high = agent.action_low.to(head), agent.action_high.to(head)
    slack = _OUTSIDE * (high - low)
    return torch.clamp(head, low, high), (head < low - slack) | (head > high + slack)


def _ranges(agent: Agent, head: Tensor) -> Tensor:
    box = (agent.action_high - agent.action_low).to(head)
    if isinstance(agent.policy, Deterministic):
        return box
    size = box.numel()
    if head.shape[-1] != 2 * size:
        return torch.ones_like(head[0])
    mean = box if isinstance(agent.policy, Gaussian) else torch.full_like(box, 2.0)
    return torch.cat([mean, torch.ones_like(box)])


@dataclass(frozen=True)
class Plateau:
    """Where the differences agree best.

    Attributes:
        gradient: [B, m], from one of the two neighbouring step sizes that agree best: the one whose error, as the
            other neighbours tell it, is the smaller.
        error: [B, m], how far that pair is apart, per coordinate in the root mean square, or rounding if larger.
        disagreement: [B], relative distance ‖g_k − g_{k+1}‖ / ‖g‖ of that pair.
        open: [B] bool, whether the distance is within the tolerance or within rounding.
        pair: [B] int64, index k of the pair.
        chosen: [B] int64, index of the step size the gradient is from.
    """

    gradient: Tensor
    error: Tensor
    disagreement: Tensor
    open: Tensor
    pair: Tensor
    chosen: Tensor


def plateau(gradients: Tensor, steps: Tensor, magnitude: Tensor, tolerance: float) -> Plateau:
    """Find the plateau of differences [K, B, m] at decreasing step sizes [K, m].

    Args:
        gradients: the difference at each step size.
        steps: the step sizes in head units.
        magnitude: [B], size of the return, for what its rounding does to a difference.
        tolerance: largest relative disagreement that leaves the gate open.

    Example:
        >>> gradients = torch.tensor([[[1.1]], [[1.001]], [[1.0011]]], dtype=torch.float64)
        >>> steps = torch.tensor([[1e-1], [1e-2], [1e-3]], dtype=torch.float64)
        >>> found = plateau(gradients, steps, torch.ones(1).double(), 1e-2)
        >>> found.gradient.item(), found.pair.item(), bool(found.open)
        (1.0011, 1, True)
    """
    apart = (gradients[1:] - gradients[:-1]).norm(dim=-1)
    distance, pair = apart.nan_to_num(nan=torch.inf).min(0)
    states = torch.arange(gradients.shape[1], device=pair.device)
    chosen = pair + _finer(apart, distance, pair, steps[:, 0])
    gradient = gradients[chosen, states]
    rounding = _ROUNDINGS * torch.finfo(gradients.dtype).eps * magnitude[:, None] / steps[pair + 1]
    size = gradients.shape[-1]
    error = torch.maximum((distance / size**0.5)[:, None].expand_as(rounding), rounding)
    # Two that are equal agree, also where both are zero.
    disagreement = torch.where(distance == 0, 0.0, distance / gradient.norm(dim=-1))
    gate = (distance <= tolerance * gradient.norm(dim=-1)) | (distance <= rounding.norm(dim=-1))
    return Plateau(gradient, error, disagreement, gate & torch.isfinite(distance), pair, chosen)


def _finer(apart: Tensor, distance: Tensor, pair: Tensor, steps: Tensor) -> Tensor:
    """Whether the finer step of each pair errs less than the coarser, [B] int64.

    Their distance is the coarser's truncation, which falls by the square of the step, and the finer's rounding, which
    grows by its inverse. The pair before (coarser) shows the one, the pair behind the other, and where there is no
    such pair it is what the distance leaves. Held against the chain rule at 141 states of seven tasks, the largest
    error was 3e-5 of the gradient; 9e-4 when the step was taken that agrees better with its other neighbour.
    """
    last = len(apart) - 1
    states = torch.arange(apart.shape[1], device=apart.device)
    shrink = steps[pair] / steps[(pair - 1).clamp_min(0)]
    truncation = apart[(pair - 1).clamp_min(0), states] * shrink.square()
    rounding = apart[(pair + 1).clamp_max(last), states] * (steps[(pair + 2).clamp_max(last + 1)] / steps[pair + 1])
    first, final = pair == 0, pair == last
    # Of a single pair nothing is known; a secant across a contact is then the worse error.
    truncation = torch.where(first, torch.where(final, distance, distance - rounding), truncation)
    rounding = torch.where(final, distance - truncation, rounding)
    return (rounding < truncation).long()
