"""The normal distribution cut off at the faces of the action box."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradlab.policies.base import Box, Policy
from gradlab.policies.tails import hazards, log_mass, quantile


class TruncatedNormal(Policy):
    """The normal N(mean, exp(log_std)²) restricted to the box [low, high] and normalised there, head (mean, log_std).

    With α = (low − mean)/σ, β = (high − mean)/σ, each coordinate is a = mean + σx, Φ(x) = (1 − u)Φ(α) + uΦ(β), where
    u = Φ(ε), and log π(a) = log φ((a − mean)/σ) − log σ − log(Φ(β) − Φ(α)). Forgetting to standardise the corners
    (using low and high in place of α and β) is right for mean 0 and σ = 1 alone. The mean may lie far outside the
    box: everything is worked out in float64 from forms that keep their digits in the tails (``tails``).
    Source: Devroye 1986, "Non-uniform random variate generation", section II.2; Robert 1995, "Simulation of truncated
    normal variables".

    Args:
        low: lower corner of the action box, [p] or a number.
        high: upper corner of the action box, [p] or a number.

    Raises:
        GradlabError: the box is empty or unbounded.

    Example:
        >>> policy = TruncatedNormal(-1.0, 1.0)
        >>> head = torch.tensor([[3.0, -1.0]])  # the mean is five standard deviations beyond the upper face
        >>> act, log_prob = policy.sample(head, torch.zeros(1, 1))
        >>> act, bool(torch.isclose(policy.log_prob(head, act), log_prob, atol=1e-5))
        (tensor([[0.9550]]), True)
    """

    def __init__(self, low: Tensor | float = -1.0, high: Tensor | float = 1.0) -> None:
        self.box = Box(low, high)
        self.low, self.high = self.box.low, self.box.high

    def head_size(self, action_size: int) -> int:
        """M = 2p."""
        return 2 * action_size

    def mode(self, head: Tensor) -> Tensor:
        """The mean, or the face of the box that is nearest to it."""
        low, high = self.box.corners(head)
        return torch.clamp(head.chunk(2, dim=-1)[0], low, high)

    def sample(self, head: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draw by the inverse distribution function, from standard normal ε, and its log-density."""
        mean, log_std, alpha, beta = self._standardised(head)
        x = quantile(*torch.broadcast_tensors(alpha, beta, noise.double()))
        act = self.box.clamp(mean + log_std.exp() * x)
        log_prob = _log_density(x, log_std, alpha, beta)
        return act.to(head.dtype), log_prob.to(head.dtype)

    def log_prob(self, head: Tensor, act: Tensor) -> Tensor:
        """The density's logarithm, summed over coordinates; −∞ outside the box."""
        low, high = self.box.corners(act)
        slack = 4 * torch.finfo(act.dtype).eps * torch.maximum(low.abs(), high.abs())
        inside = ((act >= low - slack) & (act <= high + slack)).all(-1)
        mean, log_std, alpha, beta = self._standardised(head)
        x = (act.double() - mean) * (-log_std).exp()
        return torch.where(inside, _log_density(x, log_std, alpha, beta), -math.inf).to(head.dtype)

    def score(self, head: Tensor, noise: Tensor) -> Tensor:
        """((x − h_α + h_β)/σ, x² − 1 − αh_α + βh_β) with h = φ/(Φ(β) − Φ(α)): from x, which the action has rounded."""
        _, log_std, alpha, beta = self._standardised(head.detach())
        x = quantile(*torch.broadcast_tensors(alpha, beta, noise.detach().double()))
        at_alpha, at_beta = hazards(alpha, beta)
        along = (x - at_alpha + at_beta) * (-log_std).exp()
        # x² − αh_α written so that far out, where both are huge, their difference keeps its digits.
        near = alpha.abs() < beta.abs()
        by_alpha = x * (x - at_alpha) + at_alpha * (x - alpha) - 1 + beta * at_beta
        by_beta = x * (x + at_beta) - at_beta * (x - beta) - 1 - alpha * at_alpha
        return torch.cat([along, torch.where(near, by_alpha, by_beta)], dim=-1).to(head.dtype)

    def _standardised(self, head: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean, log_std and the corners in units of the normal beneath, α and β, all float64."""
        mean, log_std = head.double().chunk(2, dim=-1)
        low, high = self.box.corners(mean)
        inverse = (-log_std).exp()
        return mean, log_std, (low - mean) * inverse, (high - mean) * inverse


def _log_density(x: Tensor, log_std: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return (-0.5 * x.square() - 0.5 * math.log(2 * math.pi) - log_std - log_mass(alpha, beta)).sum(-1)
