"""The Kumaraswamy distribution on the action box: like a beta distribution, with an inverse in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.policies.base import Box, Policy
from gradlab.policies.tails import log_one_minus_exp


class Kumaraswamy(Policy):
    """a = low + (high − low)·y, y on [0, 1] with density αβ y^{α−1} (1 − y^α)^{β−1}, head (log α, log β).

    Its distribution function is 1 − (1 − y^α)^β, so that y = (1 − (1 − u)^{1/β})^{1/α}, u = Φ(ε). (Written as
    1 − (1 − u^α)^{1/β}, as one finds it, it is the draw of another distribution.) Everything is worked out in float64
    and from log(1 − u), so that draws keep their density where they round to a face of the box.
    Sources: Kumaraswamy 1980; Jones 2009, section 2; Wasserman & Mateos 2024, arXiv 2410.00660.

    Args:
        low: lower corner of the action box, [p] or a number.
        high: upper corner of the action box, [p] or a number.

    Raises:
        GradlabError: the box is empty or unbounded.

    Example:
        >>> policy, head = Kumaraswamy(), torch.zeros(1, 2)  # α = β = 1 is uniform
        >>> act, log_prob = policy.sample(head, torch.full((1, 1), 0.6744898))
        >>> act, log_prob
        (tensor([[0.5000]]), tensor([-0.6931]))
    """

    def __init__(self, low: Tensor | float = -1.0, high: Tensor | float = 1.0) -> None:
        self.box = Box(low, high)
        self.low, self.high = self.box.low, self.box.high

    def head_size(self, action_size: int) -> int:
        """M = 2p."""
        return 2 * action_size

    def mode(self, head: Tensor) -> Tensor:
        """The density's maximum: inside, ((α−1)/(αβ−1))^{1/α}, where α, β > 1; a face where only one of them is.

        With both at most 1 the density is largest at both faces or nowhere; the median is taken then.
        """
        log_a, log_b = head.double().chunk(2, dim=-1)
        a, b = log_a.exp(), log_b.exp()
        peaked = (log_a > 0) & (log_b > 0)
        # The other branches are differentiated too: they see arguments that they can take.
        up, across = torch.where(peaked, a, 2.0), torch.where(peaked, b, 2.0)
        inside = ((up - 1) / (up * across - 1)).log() / up
        median = log_one_minus_exp(-torch.log(b.new_tensor(2.0)) / b) / a
        flat = (log_a <= 0) & (log_b <= 0)
        face = torch.where(log_a > 0, 1.0, 0.0).to(a)
        y = torch.where(peaked, inside.exp(), torch.where(flat, median.exp(), face))
        return self._to_box(y).to(head.dtype)

    def sample(self, head: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draw by the inverse distribution function, from standard normal ε, and its log-density."""
        log_a, log_b = head.double().chunk(2, dim=-1)
        log_power, log_rest = _from_noise(log_b, noise)
        log_y = log_power * (-log_a).exp()
        log_prob = self._log_density(log_a, log_b, log_y, log_rest)
        return self._to_box(log_y.exp()).to(head.dtype), log_prob.to(head.dtype)

    def log_prob(self, head: Tensor, act: Tensor) -> Tensor:
        """The density's logarithm, summed over coordinates; actions on a face are moved in by one rounding unit."""
        log_a, log_b = head.double().chunk(2, dim=-1)
        low, high = self.box.corners(log_a)
        rounding = torch.finfo(act.dtype).eps
        y = ((act.double() - low) / (high - low)).clamp(rounding, 1 - rounding)
        log_y = y.log()
        log_rest = log_one_minus_exp(log_a.exp() * log_y)
        return self._log_density(log_a, log_b, log_y, log_rest).to(head.dtype)

    def score(self, head: Tensor, noise: Tensor) -> Tensor:
        """(1 + log y^α · (1 − (β−1) y^α/(1−y^α)), 1 + β log(1−y^α)): from the noise, which the action has rounded."""
        log_b = head.detach().double().chunk(2, dim=-1)[1]
        log_power, log_rest = _from_noise(log_b, noise.detach())
        # log y^α times the odds y^α/(1 − y^α): 0 · ∞ near the upper face, with the limit −1, reached before e⁻⁴⁰.
        bounded = log_rest.clamp_min(-40.0)
        by_odds = log_one_minus_exp(bounded) * torch.expm1(-bounded)
        by_a = 1 + log_power - (log_b.exp() - 1) * by_odds
        by_b = 1 + log_b.exp() * log_rest
        return torch.cat([by_a, by_b], dim=-1).to(head.dtype)

    def _log_density(self, log_a: Tensor, log_b: Tensor, log_y: Tensor, log_rest: Tensor) -> Tensor:
        low, high = self.box.corners(log_a)
        a, b = log_a.exp(), log_b.exp()
        terms = log_a + log_b + (a - 1) * log_y + (b - 1) * log_rest - (high - low).log()
        return terms.sum(-1)

    def _to_box(self, y: Tensor) -> Tensor:
        low, high = self.box.corners(y)
        return self.box.clamp(low + (high - low) * y)


def _from_noise(log_b: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithms log y^α and log(1 − y^α) of the draw, without forming either: 1 − y^α = (1 − u)^{1/β}."""
    log_rest = torch.special.log_ndtr(-noise.double()) * (-log_b).exp()
    return log_one_minus_exp(log_rest), log_rest
