"""From the actor's head to a distribution over actions.

The *head* h = h_θ(s) is everything the action distribution is built from. A policy is stateless: every method
takes the head, so that one object serves every state, every draw and every copy of the agent. Shapes: ``head``
[..., B, m], ``act`` and ``noise`` [..., B, p]; leading dimensions broadcast.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import softplus

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
        raise GradlabError("a deterministic policy has no log-probability; use gradlab.policies.Gaussian around it")


def _normal_log_prob(noise: Tensor, log_std: Tensor) -> Tensor:
    return (-0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


class Gaussian(Policy):
    """a ~ N(mean, diag(exp(log_std))²) with head (mean, log_std), unbounded (PPO, A2C, TRPO).

    Example:
        >>> head = torch.tensor([[1.0, 0.0]])
        >>> Gaussian().mode(head)
        tensor([[1.]])
        >>> Gaussian().log_prob(head, torch.tensor([[1.0]]))
        tensor([-0.9189])
    """

    def head_size(self, action_size: int) -> int:
        """M = 2p."""
        return 2 * action_size

    def mode(self, head: Tensor) -> Tensor:
        """The mean."""
        return head.chunk(2, dim=-1)[0]

    def sample(self, head: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Mean + exp(log_std) ε."""
        mean, log_std = head.chunk(2, dim=-1)
        return mean + log_std.exp() * noise, _normal_log_prob(noise, log_std)

    def log_prob(self, head: Tensor, act: Tensor) -> Tensor:
        """The normal density's logarithm, summed over coordinates."""
        mean, log_std = head.chunk(2, dim=-1)
        return _normal_log_prob((act - mean) * (-log_std).exp(), log_std)


class SquashedGaussian(Policy):
    """a = centre + half·tanh(z), z ~ N(mean, exp(log_std)²), head (mean, log_std) (SAC and its kin).

    Libraries differ in the Jacobian's guard: ``epsilon`` is added inside log(half·(1 − tanh²) + ε)
    (Stable-Baselines3 and CleanRL: 1e-6); ``epsilon=0`` uses the exact 2(log 2 − z − softplus(−2z)).

    Args:
        epsilon: the guard above.
        low: lower corner of the action box, [p] or a number.
        high: upper corner of the action box, [p] or a number.

    Example:
        >>> policy = SquashedGaussian()
        >>> head = torch.tensor([[0.5, 0.0]])
        >>> act, log_prob = policy.sample(head, torch.zeros(1, 1))
        >>> bool(torch.allclose(policy.log_prob(head, act), log_prob, atol=1e-4))
        True
    """

    def __init__(self, epsilon: float = 0.0, low: Tensor | float = -1.0, high: Tensor | float = 1.0) -> None:
        self.epsilon = epsilon
        self.low, self.high = torch.as_tensor(low), torch.as_tensor(high)

    def _box(self, like: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.low.to(like), self.high.to(like)
        return (high + low) / 2, (high - low) / 2

    def _log_jacobian(self, pre: Tensor, half: Tensor) -> Tensor:
        if self.epsilon:
            return torch.log(half * (1 - pre.tanh().square()) + self.epsilon).sum(-1)
        exact = 2 * (math.log(2.0) - pre - softplus(-2 * pre))
        return (exact + half.log()).sum(-1)

    def head_size(self, action_size: int) -> int:
        """M = 2p."""
        return 2 * action_size

    def mode(self, head: Tensor) -> Tensor:
        """The squashed mean, which is what these libraries act with when not exploring."""
        centre, half = self._box(head)
        return centre + half * head.chunk(2, dim=-1)[0].tanh()

    def sample(self, head: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The squashed draw and its log-density, from the unsquashed value (stable near the box's faces)."""
        centre, half = self._box(head)
        mean, log_std = head.chunk(2, dim=-1)
        pre = mean + log_std.exp() * noise
        log_prob = _normal_log_prob(noise.expand(pre.shape), log_std) - self._log_jacobian(pre, half)
        return centre + half * pre.tanh(), log_prob

    def log_prob(self, head: Tensor, act: Tensor) -> Tensor:
        """From the squashed action; actions on the box's face are moved in by one rounding unit."""
        centre, half = self._box(head)
        mean, log_std = head.chunk(2, dim=-1)
        limit = 1 - torch.finfo(head.dtype).eps
        pre = ((act - centre) / half).clamp(-limit, limit).atanh()
        normal = _normal_log_prob((pre - mean) * (-log_std).exp(), log_std)
        return normal - self._log_jacobian(pre, half)


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
        return (head.log_softmax(-1) * act).sum(-1)
