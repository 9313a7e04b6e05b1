"""Gaussian policies: free, squashed into a box, and of a fixed width around a deterministic action."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gradlab.errors import GradlabError
from gradlab.policies.base import Box, Deterministic, Policy


def _normal_log_prob(noise: Tensor, log_std: Tensor) -> Tensor:
    return (-0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


class Gaussian(Policy):
    """a ~ N(mean, diag(exp(log_std))²) with head (mean, log_std), unbounded (PPO, A2C, TRPO).

    A log_std that does not depend on the state is a parameter of the actor like any other: put it into the head.

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

    def score(self, head: Tensor, noise: Tensor) -> Tensor:
        """(ε/σ, ε² − 1): from the noise, which (a − mean)/σ has lost digits of where σ is small beside the mean."""
        return _gaussian_score(head, noise)

    def entropy(self, head: Tensor) -> Tensor:
        """Entropy Σ_i (log σ_i + ½ log 2πe) in nats, [..., B], with its graph to the head.

        Example:
            >>> Gaussian().entropy(torch.zeros(1, 2))
            tensor([1.4189])
        """
        log_std = head.chunk(2, dim=-1)[1]
        return (log_std + 0.5 * (1 + math.log(2 * math.pi))).sum(-1)


class SquashedGaussian(Policy):
    """a = centre + half·tanh(z), z ~ N(mean, exp(log_std)²), head (mean, log_std) (SAC and its kin).

    Libraries differ in the Jacobian's guard: ``epsilon`` is added inside log(half·(1 − tanh²) + ε)
    (Stable-Baselines3 and CleanRL: 1e-6); ``epsilon=0`` uses the exact 2(log 2 − z − softplus(−2z)).

    Args:
        epsilon: the guard above.
        low: lower corner of the action box, [p] or a number.
        high: upper corner of the action box, [p] or a number.

    Raises:
        GradlabError: the box is empty or unbounded.

    Example:
        >>> policy = SquashedGaussian()
        >>> head = torch.tensor([[0.5, 0.0]])
        >>> act, log_prob = policy.sample(head, torch.zeros(1, 1))
        >>> bool(torch.allclose(policy.log_prob(head, act), log_prob, atol=1e-4))
        True
    """

    def __init__(self, epsilon: float = 0.0, low: Tensor | float = -1.0, high: Tensor | float = 1.0) -> None:
        self.epsilon = epsilon
        self.box = Box(low, high)
        self.low, self.high = self.box.low, self.box.high

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
        centre, half = self.box.centre_and_half(head)
        return self.box.clamp(centre + half * head.chunk(2, dim=-1)[0].tanh())

    def sample(self, head: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The squashed draw and its log-density, from the unsquashed value (stable near the box's faces)."""
        centre, half = self.box.centre_and_half(head)
        mean, log_std = head.chunk(2, dim=-1)
        pre = mean + log_std.exp() * noise
        log_prob = _normal_log_prob(noise.expand(pre.shape), log_std) - self._log_jacobian(pre, half)
        return self.box.clamp(centre + half * pre.tanh()), log_prob

    def log_prob(self, head: Tensor, act: Tensor) -> Tensor:
        """From the squashed action; actions on the box's face are moved in by one rounding unit."""
        centre, half = self.box.centre_and_half(head)
        mean, log_std = head.chunk(2, dim=-1)
        limit = 1 - torch.finfo(head.dtype).eps
        pre = ((act - centre) / half).clamp(-limit, limit).atanh()
        normal = _normal_log_prob((pre - mean) * (-log_std).exp(), log_std)
        return normal - self._log_jacobian(pre, half)

    def score(self, head: Tensor, noise: Tensor) -> Tensor:
        """(ε/σ, ε² − 1): squashing is a fixed bijection, so the score is that of the Gaussian beneath it.

        Taking it there avoids the artanh of an action that has rounded to the face of the box.
        """
        return _gaussian_score(head, noise)


class Around(Policy):
    """a ~ N(f(h), σ²I): exploration of a fixed width σ around a deterministic policy's action f(h).

    Its score at a = f(h) + σε is ε/σ, carried to the head by (∂f/∂h)ᵀ. Q averaged over it is Q smoothed with radius σ.

    Args:
        std: σ, in the critic's action units.
        centre: the deterministic policy; ``Deterministic()`` (f(h) = h) by default.

    Raises:
        GradlabError: σ is not a positive number, or the policy in the centre is not continuous.

    Example:
        >>> Around(0.5).score(torch.zeros(1, 1), torch.ones(1, 1))
        tensor([[2.]])
    """

    def __init__(self, std: float, centre: Policy | None = None) -> None:
        self.std = float(std)
        self.centre = centre or Deterministic()
        if not (math.isfinite(self.std) and self.std > 0) or not self.centre.continuous:
            raise GradlabError(
                f"policy around {type(self.centre).__name__}: std is {std}; a positive number and continuous actions "
                "are needed"
            )

    def head_size(self, action_size: int) -> int:
        """That of the policy in the centre."""
        return self.centre.head_size(action_size)

    def mode(self, head: Tensor) -> Tensor:
        """The centre's action."""
        return self.centre.mode(head)

    def sample(self, head: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """f(h) + σε."""
        act = self.mode(head) + self.std * noise
        return act, _normal_log_prob(noise, noise.new_tensor(self.std).log()).expand(act.shape[:-1])

    def log_prob(self, head: Tensor, act: Tensor) -> Tensor:
        """The normal density's logarithm, summed over coordinates."""
        return _normal_log_prob((act - self.mode(head)) / self.std, act.new_tensor(self.std).log())

    def score(self, head: Tensor, noise: Tensor) -> Tensor:
        """(∂f/∂h)ᵀ ε/σ."""
        with torch.enable_grad():
            shape = torch.broadcast_shapes(head.shape[:-1], noise.shape[:-1])
            at = head.detach().expand(*shape, head.shape[-1]).clone().requires_grad_()
            centre = self.mode(at)
            (score,) = torch.autograd.grad(centre, at, (noise / self.std).to(centre).expand(centre.shape))
        return score


def _gaussian_score(head: Tensor, noise: Tensor) -> Tensor:
    log_std = head.detach().chunk(2, dim=-1)[1]
    along = noise * (-log_std).exp()
    return torch.cat([along, (noise.square() - 1).expand(along.shape)], dim=-1)
