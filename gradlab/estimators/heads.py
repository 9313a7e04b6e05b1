"""What the estimators share: carrying a vector from the action to the head, and bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gradlab.policies import Deterministic, Policy

#: Critic evaluations held at a time with their graph: two 256-wide layers keep about 100 MB.
ROWS = 16_384


def in_chunks(function: Callable[[Tensor], Tensor], noise: Tensor, rows: int = ROWS) -> Tensor:
    """``function`` applied to groups of draws of ``noise`` [D, ..., B, p], each of at most ``rows`` rows.

    All noise is drawn before it is split, so results do not depend on the size of a chunk.

    Example:
        >>> in_chunks(lambda part: 2 * part, torch.ones(5, 3, 1), rows=6).shape
        torch.Size([5, 3, 1])
    """
    size = max(1, rows // max(1, math.prod(noise.shape[1:-1])))
    return torch.cat([function(part).detach() for part in noise.split(size)])


def to_head(policy: Policy, head: Tensor, at_action: Tensor) -> Tensor:
    """(∂mode/∂h)ᵀ w: a cotangent at the action, [..., B, p], carried to the head [B, m] → [..., B, m].

    Example:
        >>> from gradlab.policies import Gaussian
        >>> to_head(Gaussian(), torch.zeros(1, 2), torch.full((1, 1), 3.0))
        tensor([[3., 0.]])
    """
    if type(policy) is Deterministic:
        # The head is the action: nothing to differentiate, which a sweep over many draws would pay for each time.
        return at_action.to(head)
    with torch.enable_grad():
        at = head.detach().expand(*at_action.shape[:-1], head.shape[-1]).clone().requires_grad_()
        (gradient,) = torch.autograd.grad(policy.mode(at), at, at_action.to(at))
    return gradient
