"""A Gaussian whose draws are moved to the nearest point of the action box, as skrl's ``clip_actions=True`` does."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.policies.base import Box, Policy
from gradlab.policies.gaussian import Gaussian


class ClampedGaussian(Policy):
    """a = min(max(z, low), high), z ~ N(mean, exp(log_std)²), head (mean, log_std).

    ``log_prob`` is the density of z at a, which is what skrl's losses differentiate. Of a clamped coordinate it is not
    the logarithm of a probability: a face of the box has a mass, not a density. It has no Jacobian of a tanh. The
    derivative goes through a inside the box and stops at its faces. ``score`` is that of z: the action is a function of
    z, so it estimates ∇_h E[Q] without bias, which ∇_h of ``log_prob`` does not where actions are clamped. For the same
    reason −α ∇_h ``log_prob`` at fixed actions has not mean zero there, so that ``Reparameterized`` alone has the
    gradient of an entropy bonus as the library takes it.
    Source: ``skrl/models/torch/gaussian.py``, version 2.1.

    Args:
        low: lower corner of the action box, [p] or a number.
        high: upper corner of the action box, [p] or a number.

    Raises:
        GradlabError: the box is empty or unbounded.

    Example:
        >>> policy = ClampedGaussian(-1.0, 1.0)
        >>> act, log_prob = policy.sample(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0]]))
        >>> act, log_prob  # log N(1; 0, 1)
        (tensor([[1.]]), tensor([-1.4189]))
    """

    def __init__(self, low: Tensor | float = -1.0, high: Tensor | float = 1.0) -> None:
        self.box = Box(low, high)
        self.low, self.high = self.box.low, self.box.high
        self._beneath = Gaussian()

    def head_size(self, action_size: int) -> int:
        """M = 2p."""
        return self._beneath.head_size(action_size)

    def mode(self, head: Tensor) -> Tensor:
        """The clamped mean."""
        return torch.clamp(self._beneath.mode(head), *self.box.corners(head))

    def sample(self, head: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The clamped draw, and the Gaussian's log-density there, with the gradient of both."""
        act = torch.clamp(self._beneath.sample(head, noise)[0], *self.box.corners(head))
        return act, self.log_prob(head, act)

    def log_prob(self, head: Tensor, act: Tensor) -> Tensor:
        """The normal density's logarithm at the clamped action, summed over coordinates."""
        return self._beneath.log_prob(head, act)

    def score(self, head: Tensor, noise: Tensor) -> Tensor:
        """(ε/σ, ε² − 1), of the draw before it is clamped."""
        return self._beneath.score(head, noise)
