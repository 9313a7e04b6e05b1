"""What every policy is, and the one that is not random."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gradlab.errors import GradlabError


class Policy(ABC):
    """What turns a head into actions, in the critic's own action coordinates."""

    #: Whether actions are points of a box that can be perturbed and differentiated.
    continuous: bool = True
    #: Whether the action is random given the head.
    stochastic: bool = True

    @abstractmethod
    def head_size(self, action_size: int) -> int:
        """Number m of head coordinates for p action coordinates."""

    @abstractmethod
    def mode(self, head: Tensor) -> Tensor:
        """The action taken without exploration, [..., B, p]."""

    @abstractmethod
    def sample(self, head: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Reparameterised action f(h, ε) and its log-probability: ([..., B, p], [..., B])."""

    @abstractmethod
    def log_prob(self, head: Tensor, act: Tensor) -> Tensor:
        """Log π_h(a), [..., B]; actions are constants here, the head carries the gradient."""

    def score(self, head: Tensor, noise: Tensor) -> Tensor:
        """∇_h log π_h(a) at the actions a = f(h, ε) drawn with ``noise`` and then held fixed: [..., B, m], detached.

        Here by automatic differentiation of ``log_prob``. A policy whose actions can round to a face of their box
        overrides it by a form in the noise, which knows what the action has lost.
        """
        act = self.sample(head.detach(), noise)[0].detach()
        with torch.enable_grad():
            at = head.detach().expand(*act.shape[:-1], head.shape[-1]).clone().requires_grad_()
            (score,) = torch.autograd.grad(self.log_prob(at, act).sum(), at)
        return score

    def noise(self, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
        """Noise ε that ``sample`` expects: standard normal, of ``shape``, with the dtype and device of ``like``."""
        return torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


class Deterministic(Policy):
    """a = h: the head is the action itself (DDPG, TD3).

    Example:
        >>> Deterministic().mode(torch.tensor([[0.5]]))
        tensor([[0.5000]])
    """

    stochastic = False

    def head_size(self, action_size: int) -> int:
        """M = p."""
        return action_size

    def mode(self, head: Tensor) -> Tensor:
        """The head."""
        return head

    def sample(self, head: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The head for every draw; log π is +∞ for a point mass and is never used."""
        act = head.expand(torch.broadcast_shapes(head.shape, noise.shape))
        return act, torch.full(act.shape[:-1], math.inf, dtype=act.dtype, device=act.device)

    def log_prob(self, head: Tensor, act: Tensor) -> Tensor:
        """Refused: a point mass has no density."""
        raise GradlabError("a deterministic policy has no log-probability; use gradlab.policies.Around it")


class Box:
    """An action box [low, high], in whatever dtype and on whatever device it is asked for.

    Args:
        low: lower corner, [p] or a number.
        high: upper corner, [p] or a number.

    Raises:
        GradlabError: it is empty, unbounded, or its corners have different shapes.

    Example:
        >>> Box(-1.0, 3.0).centre_and_half(torch.zeros(1))
        (tensor(1.), tensor(2.))
    """

    def __init__(self, low: Tensor | float = -1.0, high: Tensor | float = 1.0) -> None:
        # A plain number must not pass through single precision on its way to a float64 policy.
        self.low, self.high = (torch.as_tensor(c, dtype=torch.float64).detach().clone() for c in (low, high))
        corners = torch.stack(torch.broadcast_tensors(self.low, self.high))
        if not bool(torch.isfinite(corners).all()) or not bool((corners[0] < corners[1]).all()):
            raise GradlabError(f"policy's action box: low {low}, high {high}; both must be finite and low below high")

    def corners(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Low and high, with the dtype and device of ``like``."""
        return self.low.to(like), self.high.to(like)

    def centre_and_half(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The centre and half the width, with the dtype and device of ``like``."""
        low, high = self.corners(like)
        return (high + low) / 2, (high - low) / 2

    def clamp(self, act: Tensor) -> Tensor:
        """``act`` with what rounding put outside moved to the face; gradients pass as if it had not been."""
        low, high = self.corners(act)
        return act + (act.detach().clamp(low, high) - act.detach())
