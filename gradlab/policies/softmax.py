"""A categorical policy and its continuous relaxation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.policies.base import Policy


class Softmax(Policy):
    """A categorical policy over discrete actions; the head is the logits, actions are one-hot [..., B, p].

    Example:
        >>> Softmax().mode(torch.tensor([[0.0, 2.0]]))
        tensor([[0., 1.]])
    """

    continuous = False

    def head_size(self, action_size: int) -> int:
        """M = p, one logit an action."""
        return action_size

    def mode(self, head: Tensor) -> Tensor:
        """The most probable action."""
        return torch.nn.functional.one_hot(head.argmax(-1), head.shape[-1]).to(head.dtype)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
        """Gumbel noise, so that the argmax of head + noise is an exact draw."""
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
        return -(-uniform.clamp_min(1e-300).log()).log().to(dtype=like.dtype, device=like.device)

    def sample(self, head: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The Gumbel-max draw; the action carries no gradient."""
        act = self.mode((head + noise).detach())
        return act, self.log_prob(head, act)

    def log_prob(self, head: Tensor, act: Tensor) -> Tensor:
        """The log-softmax of the chosen action."""
        # An action of no probability adds nothing: 0 · (−∞) would be NaN.
        log_prob = head.log_softmax(-1)
        return torch.where(act == 0, torch.zeros_like(log_prob), log_prob * act).sum(-1)

    def entropy(self, head: Tensor) -> Tensor:
        """Entropy −Σ_i π_i log π_i in nats, [..., B], with its graph to the head.

        Example:
            >>> Softmax().entropy(torch.zeros(1, 2))
            tensor([0.6931])
        """
        log_prob = head.log_softmax(-1)
        return -(log_prob.exp() * log_prob).sum(-1)

    def relaxed(self, head: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """A point of the simplex, softmax((h + g)/τ) for Gumbel noise g, differentiable in the head: [..., B, p].

        Its largest coordinate is that of the exact draw made with the same noise, for every temperature τ; as
        τ → 0 it tends to it. Sources: Jang, Gu & Poole 2017, arXiv 1611.01144; Maddison, Mnih & Teh 2017,
        arXiv 1611.00712.

        Raises:
            GradlabError: the temperature is not a positive number.

        Example:
            >>> Softmax().relaxed(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
            tensor([[0.1192, 0.8808]])
        """
        if not (math.isfinite(temperature) and temperature > 0):
            raise GradlabError(f"softmax policy: temperature is {temperature}; it must be a positive number")
        return ((head + noise) / temperature).softmax(-1)
