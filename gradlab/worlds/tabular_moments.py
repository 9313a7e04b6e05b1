"""Exact means and variances of trajectory gradients in a tabular decision process, by dynamic programming.

An episode's gradient is a sum over its steps, so its first two moments, given the state it is in, follow from those
one step later. Nothing is sampled and no episode is enumerated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradlab.worlds.base import GradientMoments
from gradlab.worlds.score_moments import ScoreMoments

#: What the steps that an endless episode is cut at may still weigh.
_TAIL = 1e-20


@dataclass(frozen=True)
class Process:
    """A decision process under a fixed softmax policy, as episodes see it.

    Attributes:
        P: P(s' | s, a), [S, A, S].
        reward: r(s, a, s'), with the entropy bonus of the step where the objective has one, [S, A, S].
        policy: π(a | s), [S, A].
        start: distribution of the first state, [S].
        discount: factor of the next reward within an episode.
        survival: probability that an episode goes on after a step; 1 where only the horizon ends it.
        horizon: number of steps at most; None is no limit, and then ``survival`` is below one.
    """

    P: Tensor
    reward: Tensor
    policy: Tensor
    start: Tensor
    discount: float
    survival: float
    horizon: int | None

    @property
    def score(self) -> Tensor:
        """∇_θ log π(a | s) = e_s ⊗ (e_a − π(· | s)) for every s and a, [S, A, S·A]."""
        states, actions = self.policy.shape
        local = torch.eye(actions, dtype=torch.float64) - self.policy.unsqueeze(1)
        place = torch.eye(states, dtype=torch.float64)
        return torch.einsum("sab,st->satb", local, place).reshape(states, actions, -1)

    @property
    def joint(self) -> Tensor:
        """π(a | s) P(s' | s, a), [S, A, S]."""
        return self.policy.unsqueeze(-1) * self.P

    @property
    def steps(self) -> int:
        """Number of steps there can be; where only chance ends an episode, all but a negligible rest."""
        if self.horizon is not None:
            return self.horizon
        return math.ceil(math.log(_TAIL) / math.log(self.survival)) if self.survival > 0 else 1

    def sums(self, chance: float, x: Tensor) -> _Sums:
        """Sums over the action of π P xᵏ, times 1, the score and its square, for k = 0, 1, 2; x is [S, A, S]."""
        mass = chance * self.joint * torch.stack([torch.ones_like(x), x, x.square()])
        return _Sums(
            plain=mass.sum(2),
            score=torch.einsum("ksat,sad->kstd", mass, self.score),
            square=torch.einsum("ksat,sa->kst", mass, self.score.square().sum(-1)),
        )


class _Sums(NamedTuple):
    """By the power k of x, the state and the next state; all that a step's recursion needs of its actions."""

    plain: Tensor  # Σ_a π P xᵏ, [3, S, S]
    score: Tensor  # Σ_a π P xᵏ z, [3, S, S, S·A]
    square: Tensor  # Σ_a π P xᵏ ‖z‖², [3, S, S]

    def ended(self) -> _Sums:
        """What they come to where nothing follows: summed over the next state."""
        return _Sums(*(part.sum(2) for part in self))


def advantage_gradient(
    process: Process,
    ahead: Tensor,
    behind: Tensor,
    carry: float,
    weight: float,
    *,
    own: Tensor | None = None,
    bootstrap: bool = False,
) -> GradientMoments:
    """Moments of Γ = Σ_t weightᵗ Ψ_t ∇log π(a_t | s_t) for a Ψ that is a sum over later steps.

    Ψ_t = x_t + carry Ψ_{t+1}, with x_t = r_t + discount · ahead(s_{t+1}) − behind(s_t), and ahead = 0 once the episode
    has ended. With V = ahead = behind and carry = discount·λ this is GAE(λ) (Schulman et al. 2016, arXiv 1506.02438,
    equation 16): λ = 0 is the TD error, λ = 1 the reward-to-go less the baseline V (G(PO)MDP, Baxter & Bartlett 2001;
    V = 0 without one). Given the state, the moments E Ψ, E Ψ², E Γ, E[ΨΓ] and E‖Γ‖² follow from those of the next::

        E[Ψ²]  = E[x² + 2 carry x Ψ' + carry² Ψ'²]
        E[ΨΓ]  = E[z Ψ² + weight (x Γ' + carry Ψ'Γ')]
        E‖Γ‖²  = E[‖z‖² Ψ² + 2 weight z·(x Γ' + carry Ψ'Γ') + weight² ‖Γ'‖²]

    Args:
        process: the process.
        ahead: value of the state that a step leads to, [S].
        behind: value of the state a step starts from, [S].
        carry: what is kept of the next step's Ψ.
        weight: discount γ of the states' weights γᵗ, or 1 to leave them out.
        own: x_t as a function of (s, a) instead, [S, A]; then ``ahead`` and ``behind`` play no part.
        bootstrap: whether ``ahead`` counts after the last step too, because the episode was cut off and not ended.

    Returns:
        Mean [S, A] and trace of the covariance of one episode's gradient.
    """
    shape = process.reward.shape

    def x(valued: bool) -> Tensor:
        if own is not None:
            return own.unsqueeze(-1).expand(shape)
        return process.reward + float(valued) * process.discount * ahead - behind[:, None, None]

    on = process.sums(process.survival, x(True))
    off = process.sums(1 - process.survival, x(False)).ended()
    last = process.sums(1.0, x(bootstrap)).ended()
    first, second, gradient, mixed, length = last.plain[1], last.plain[2], last.score[1], last.score[2], last.square[2]
    for _ in range(process.steps - 1):
        # Ψ' and Ψ'² as they come with x: Ψ = x + carry Ψ', Ψ² = x² + 2 carry x Ψ' + carry² Ψ'².
        one = torch.ones_like(first)
        psi, psi_squared = (one, carry * first), (one, 2 * carry * first, carry**2 * second)
        terms = [_along(part, (1, 0), psi) for part in (on.plain, on.score)]
        squares = [_along(part, (2, 1, 0), psi_squared) for part in on]
        later = on.plain[1] @ gradient + carry * on.plain[0] @ mixed
        inner = torch.einsum("std,td->s", on.score[1], gradient) + carry * torch.einsum("std,td->s", on.score[0], mixed)
        first = off.plain[1] + terms[0]
        second = off.plain[2] + squares[0]
        mixed = off.score[2] + squares[1] + weight * later
        length = off.square[2] + squares[2] + 2 * weight * inner + weight**2 * on.plain[0] @ length
        gradient = off.score[1] + terms[1] + weight * on.plain[0] @ gradient
    mean = process.start @ gradient
    return GradientMoments(mean.reshape(shape[:2]), float(process.start @ length - mean.square().sum()))


def _along(part: Tensor, powers: tuple[int, ...], values: tuple[Tensor, ...]) -> Tensor:
    """Σ_k Σ_{s'} part_k(s, s') value_k(s'): [3, S, S, ...] → [S, ...]."""
    terms = [torch.einsum("st...,t->s...", part[k], value) for k, value in zip(powers, values, strict=True)]
    return torch.stack(terms).sum(0)


@dataclass(frozen=True)
class ReturnMoments:
    """What REINFORCE depends on, of one episode with return G and score Z = Σ_t ∇log π(a_t | s_t).

    Attributes:
        vector: E[Gⁱ Z] for i = 0, 1, 2, [3, S, A]; the first is zero.
        square: E[Gⁱ ‖Z‖²] for i = 0, 1, 2.
        returns: E Gⁱ for i = 0, 1, 2.
    """

    vector: Tensor
    square: tuple[float, float, float]
    returns: tuple[float, float, float]

    @property
    def best_constant(self) -> float:
        """The constant baseline of least variance, E[G ‖Z‖²] / E‖Z‖² (Greensmith et al. 2004)."""
        return self.square[1] / self.square[0]

    def gradient(self, baseline: float = 0.0) -> GradientMoments:
        """Mean [S, A] and trace of the covariance of (G − b) Z."""
        mean = self.vector[1] - baseline * self.vector[0]
        second = self.square[2] - 2 * baseline * self.square[1] + baseline**2 * self.square[0]
        return GradientMoments(mean, second - float(mean.square().sum()))

    def leave_one_out(self, episodes: int) -> GradientMoments:
        """The same of the mean gradient of K = ``episodes``, each with the others' mean return as its baseline.

        (1/K) Σ_i Z_i (G_i − mean of the other G) is the sample covariance of G and Z; see ``ScoreMoments``.

        Raises:
            GradlabError: there is no other episode.
        """
        mean, J = self.vector[1], self.returns[1]
        # Of sums over components: the square of the norm in place of the sum of squares.
        moments = ScoreMoments(
            value=J,
            spread=self.returns[2] - J**2,
            gradient=mean.norm().reshape(1),
            score=mean.new_tensor([self.square[0]]),
            weighted=mean.new_tensor([self.square[1] - J * self.square[0]]),
            weighted_square=mean.new_tensor([self.square[2] - 2 * J * self.square[1] + J**2 * self.square[0]]),
        )
        return GradientMoments(mean, moments.leave_one_out(episodes))


def return_moments(process: Process) -> ReturnMoments:
    """Moments of the return times the score of the whole episode, (G − b) Σ_t ∇log π(a_t | s_t) (REINFORCE).

    E Gⁱ, E[Gⁱ Z] and E[Gⁱ ‖Z‖²], i = 0, 1, 2, follow backward from G = r + discount G' and Z = z + Z'.
    Source: Williams 1992, episodic REINFORCE.
    """
    on = process.sums(process.survival, process.reward)
    off, last = (process.sums(chance, process.reward).ended() for chance in (1 - process.survival, 1.0))
    # By i and j the coefficient of rⁱ⁻ʲ G'ʲ in Gⁱ, whose power of r says which sums go with it.
    table = torch.zeros(3, 3, 3, dtype=torch.float64)
    for i in range(3):
        for j in range(i + 1):
            table[i, j, i - j] = math.comb(i, j) * process.discount**j
    plain, score, square = (torch.einsum("ijk,k...->ij...", table, part) for part in on)
    returns, vector, length = last.plain, last.score, last.square
    for _ in range(process.steps - 1):
        length = (
            off.square
            + torch.einsum("ijst,jt->is", square, returns)
            + 2 * torch.einsum("ijstd,jtd->is", score, vector)
            + torch.einsum("ijst,jt->is", plain, length)
        )
        vector = (
            off.score + torch.einsum("ijstd,jt->isd", score, returns) + torch.einsum("ijst,jtd->isd", plain, vector)
        )
        returns = off.plain + torch.einsum("ijst,jt->is", plain, returns)
    return ReturnMoments(
        torch.einsum("isd,s->id", vector, process.start).reshape(3, *process.policy.shape),
        _three(length @ process.start),
        _three(returns @ process.start),
    )


def _three(values: Tensor) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third
