"""Exact means and variances of trajectory gradients in a tabular decision process, by dynamic programming.

An episode's gradient is a sum over its steps, so its first two moments, given the state it is in, follow from those
one step later. Nothing is sampled and no episode is enumerated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.worlds.base import GradientMoments

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

    def backward(self) -> Iterator[tuple[bool, tuple[tuple[float, bool], ...]]]:
        """For each step from the last to the first: whether it is the last one there can be, and what follows it.

        That is (probability, whether the episode goes on) for every possibility.
        """
        on = (self.survival, True), (1 - self.survival, False)
        steps = self.horizon or (math.ceil(math.log(_TAIL) / math.log(self.survival)) if self.survival > 0 else 1)
        yield True, ((1.0, False),)
        yield from itertools.repeat((False, on), steps - 1)


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
    joint, score = process.joint, process.score
    square = score.square().sum(-1)
    states, size = len(process.start), score.shape[-1]
    first, second, length = (torch.zeros(states, dtype=torch.float64) for _ in range(3))
    gradient, mixed = (torch.zeros(states, size, dtype=torch.float64) for _ in range(2))
    for last, branches in process.backward():
        now = [torch.zeros_like(part) for part in (first, second, gradient, mixed, length)]
        for chance, alive in branches:
            valued = float(alive or (last and bootstrap))
            x = process.reward + process.discount * valued * ahead - behind[:, None, None]
            if own is not None:
                x = own.unsqueeze(-1).expand_as(joint)
            probability, on = chance * joint, float(alive)
            later = on * (x.unsqueeze(-1) * gradient + carry * mixed)
            psi = x + on * carry * first
            psi_squared = x.square() + on * (2 * carry * x * first + carry**2 * second)
            now[0] += (probability * psi).sum((1, 2))
            now[1] += (probability * psi_squared).sum((1, 2))
            now[2] += torch.einsum("sat,sad->sd", probability * psi, score)
            now[2] += on * weight * torch.einsum("sat,td->sd", probability, gradient)
            now[3] += torch.einsum("sat,sad->sd", probability * psi_squared, score)
            now[3] += weight * torch.einsum("sat,satd->sd", probability, later)
            now[4] += torch.einsum("sat,sa,sat->s", probability, square, psi_squared)
            now[4] += 2 * weight * torch.einsum("sat,sad,satd->s", probability, score, later)
            now[4] += on * weight**2 * torch.einsum("sat,t->s", probability, length)
        first, second, gradient, mixed, length = now
    mean = process.start @ gradient
    return GradientMoments(mean.reshape(states, -1), float(process.start @ length - mean.square().sum()))


def return_gradient(process: Process, baseline: float | None = 0.0) -> GradientMoments:
    """Moments of (G − b) Σ_t ∇log π(a_t | s_t), the return times the score of the whole episode (REINFORCE).

    With Z = Σ_t ∇log π(a_t | s_t), the moments E Gⁱ, E[Gⁱ Z] and E[Gⁱ ‖Z‖²], i = 0, 1, 2, follow backward from
    G = r + discount G' and Z = z + Z'. Source: Williams 1992, episodic REINFORCE.

    Args:
        process: the process.
        baseline: the constant b; None is the one of least variance, E[G ‖Z‖²] / E‖Z‖².

    Returns:
        Mean [S, A] and trace of the covariance of one episode's gradient.
    """
    vector, length = _return_moments(process)
    if baseline is None:
        baseline = float(length[1] / length[0])
    # E Z = 0, so that no constant moves the mean.
    mean = vector[1] - baseline * vector[0]
    second = length[2] - 2 * baseline * length[1] + baseline**2 * length[0]
    return GradientMoments(mean.reshape(process.policy.shape), float(second - mean.square().sum()))


def best_constant(process: Process) -> float:
    """The constant baseline of least variance for ``return_gradient``: E[G ‖Z‖²] / E‖Z‖²."""
    _, length = _return_moments(process)
    return float(length[1] / length[0])


def _return_moments(process: Process) -> tuple[Tensor, Tensor]:
    """E[Gⁱ Z], [3, S·A], and E[Gⁱ ‖Z‖²], [3], from the start; i = 0, 1, 2."""
    joint, score = process.joint, process.score
    square = score.square().sum(-1)
    states, size = len(process.start), score.shape[-1]
    # After the end G and Z are zero, and G⁰ is one.
    ended = torch.zeros(3, states, dtype=torch.float64)
    ended[0] = 1
    plain, vector, length = ended, torch.zeros(3, states, size).double(), torch.zeros(3, states).double()
    for _, branches in process.backward():
        now = torch.zeros_like(plain), torch.zeros_like(vector), torch.zeros_like(length)
        for chance, alive in branches:
            after = plain if alive else ended
            on = float(alive)
            for i in range(3):
                for j in range(i + 1):
                    factor = math.comb(i, j) * process.discount**j
                    mass = chance * factor * joint * process.reward ** (i - j)
                    now[0][i] += torch.einsum("sat,t->s", mass, after[j])
                    now[1][i] += torch.einsum("sat,t,sad->sd", mass, after[j], score)
                    now[1][i] += on * torch.einsum("sat,td->sd", mass, vector[j])
                    now[2][i] += torch.einsum("sat,t,sa->s", mass, after[j], square)
                    now[2][i] += 2 * on * torch.einsum("sat,td,sad->s", mass, vector[j], score)
                    now[2][i] += on * torch.einsum("sat,t->s", mass, length[j])
        plain, vector, length = now
    return torch.einsum("isd,s->id", vector, process.start), length @ process.start
