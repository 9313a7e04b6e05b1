"""Second derivatives of a critic smoothed by Gaussian noise, by Stein's identity from gradients or from values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import one_of, real_number, whole_number
from gradlab.hessians.noisy import Bracketed, Parts, highest_eigenvalue, largest_singular_value, ratio_of
from gradlab.hessians.points import Points, own_generator, points, step_length
from gradlab.hessians.rounds import blocks
from gradlab.hessians.stein import GROUPS, StateSums, first_order, zeroth_order

Source = Literal["gradients", "values"]

#: Numbers that the sums of a chunk of states may hold (128 MB in float64).
_NUMBERS = 2**24


@dataclass(frozen=True)
class SmoothedDerivatives:
    """Second derivatives of Q_σ(x) = E Q(x + σDu), u ~ N(0, I), x = (a, s), at each state; everything float64.

    Attributes:
        action: ∇²_aa Q_σ, symmetric, [B, p, p].
        mixed: ∇²_as Q_σ, [B, p, n].
        action_stderr: standard errors of the entries, over ``groups`` groups of draws, [B, p, p].
        mixed_stderr: likewise, [B, p, n].
        mixed_partial: M = ‖∇²_as Q_σ‖₂.
        curvature: μ = −λ_max(∇²_aa Q_σ).
        ratio: M/μ, where ``valid``; NaN elsewhere.
        valid: whether the 95 % interval of μ is above zero, so that the Hessian is negative definite, [B], bool.
        draws: antithetic pairs drawn at each state.
        groups: groups that they were dealt into; Student's t has one degree of freedom less.
        scale: σ, in the critic's action units.
    """

    action: Tensor
    mixed: Tensor
    action_stderr: Tensor
    mixed_stderr: Tensor
    mixed_partial: Bracketed
    curvature: Bracketed
    ratio: Bracketed
    valid: Tensor
    draws: int
    groups: int
    scale: float


def smoothed_second_derivatives(
    agent: Agent,
    obs: Any,
    scale: float,
    *,
    act: Any = None,
    source: Source = "gradients",
    draws: int | None = None,
    critic: int | None = None,
    obs_scale: Any = None,
    generator: torch.Generator | None = None,
) -> SmoothedDerivatives:
    """∇²_aa Q_σ and ∇²_as Q_σ of the critic convolved with Gaussian noise of standard deviation σD, D = (1, obs_scale).

    Smoothing makes every critic smooth, a piecewise-linear one too. From gradients, with antithetic draws,

        ∇²Q_σ = E [∇_a Q(x + σDu) − ∇_a Q(x − σDu)] uᵀD⁻¹ / 2σ

    and from values alone, for critics without useful gradients and with far more noise,

        ∇²Q_σ = E [Q(x + σDu) + Q(x − σDu) − 2Q(x)] D⁻¹(uuᵀ − I)D⁻¹ / 2σ²

    (C. Stein 1981, *Estimation of the mean of a multivariate normal distribution*, lemma 2). What a linear fit to the
    *other* groups of draws says of the differences (of values: their mean) is taken off each group's and its known mean
    put back, which leaves the estimate unbiased; a quadratic critic then has no noise at all from gradients. Draws that
    leave the action box are evaluated there, as steps of finite differences are.

    Noise makes ‖·‖₂ and λ_max too high. ``mixed_partial``, ``curvature`` and ``ratio`` have that bias taken off to
    leading order, and intervals that bracket the truth (``gradlab.hessians.noisy``): too wide where the extreme value
    does not stand apart from the next by more than the noise. Otherwise they, and those of entries, held the truth in
    91 to 96 % of simulations with 512 draws, in 89 to 96 % with 256 and in 92 to 96 % with 1024 (sums of sines,
    σ = 0.4, p + n of 2, 5, 8 and 23): few draws carry much of what a linear fit leaves. A kink so many σ away that
    hardly any draw crosses it is not seen, and its share is then missing from the error too.

    Args:
        agent: the agent; measured on a float64 snapshot.
        obs: observations [B, n].
        scale: σ, in the critic's action units.
        act: actions [B, p] in the critic's own coordinates; the actor's own when None.
        source: "gradients" or "values".
        draws: pairs a state, rounded up to a multiple of 16; when None 8 (p + n), at least 512 and at most 1024. Below
            4 (p + n) there is no linear fit.
        critic: index of one critic instead of the one the actor follows.
        obs_scale: standard deviation in each observation feature relative to σ, [n]; ``feature_scale(obs)`` by default.
        generator: source of the randomness; one of its own, freshly seeded, when None.

    Raises:
        GradlabError: an argument is none of these, actions are discrete, a shape does not fit, or the critic is not
            finite at a draw.

    Example:
        >>> class Kink(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return -act[:, 0].abs() + obs[:, 0] * act[:, 0]
        >>> agent = Agent(torch.nn.Linear(1, 1), [Kink()], [-1.0], [1.0])
        >>> at = torch.zeros(1, 1)
        >>> found = smoothed_second_derivatives(
        ...     agent, at, 0.5, act=at, draws=4096, generator=torch.Generator().manual_seed(0)
        ... )
        >>> round(found.curvature.value.item(), 1), round(found.mixed_partial.value.item(), 1)  # 2φ(0)/σ = 1.596, 1
        (1.6, 1.0)
    """
    one_of("source", source, get_args(Source))
    sigma = step_length(agent, real_number("scale", scale, above=0.0)) or 0.0
    at = points(agent, obs, act, critic=critic, obs_scale=obs_scale)
    (states, n), p = at.obs.shape, at.act.shape[1]
    size = p + n
    wanted = min(max(8 * size, 512), 1024) if draws is None else whole_number("draws", draws, GROUPS)
    per_group = -(-wanted // GROUPS)
    fit = source == "values" or per_group * GROUPS >= 4 * size
    random = own_generator(generator)
    width = max(1, _NUMBERS // (GROUPS * size * (p + size if fit else p)))
    parts = []
    for start in range(0, states, width):
        some = at.at(slice(start, start + width))
        parts.append(_measured(_groups(some, sigma, source, per_group, fit, random), p))
    strength, largest = _joined([part.strength for part in parts]), _joined([part.largest for part in parts])
    highest = largest.bracketed()
    valid = highest.high < 0
    return SmoothedDerivatives(
        action=torch.cat([part.action for part in parts]),
        mixed=torch.cat([part.mixed for part in parts]),
        action_stderr=torch.cat([part.action_stderr for part in parts]),
        mixed_stderr=torch.cat([part.mixed_stderr for part in parts]),
        mixed_partial=_not_negative(strength.bracketed()),
        curvature=-highest,
        ratio=ratio_of(strength, largest, valid),
        valid=valid,
        draws=per_group * GROUPS,
        groups=GROUPS,
        scale=sigma,
    )


def _groups(at: Points, sigma: float, source: Source, count: int, fit: bool, random: torch.Generator) -> Tensor:
    """Unbiased estimates of ∇²_a(a,s) Q_σ by G groups of draws, [G, B, p, p + n]."""
    size = at.act.shape[1] + at.obs.shape[1]
    sums = StateSums(at, sigma, fit)
    order = first_order if source == "gradients" else zeroth_order
    for group in range(GROUPS):
        for some in blocks(count, len(at.obs), 2 * size):
            shape = (some, len(at.obs), size)
            u = torch.randn(shape, generator=random, dtype=torch.float64, device=random.device).to(at.obs)
            order(sums, group, u)
    return sums.estimates(source == "gradients", count)


class _Measured(NamedTuple):
    action: Tensor
    mixed: Tensor
    action_stderr: Tensor
    mixed_stderr: Tensor
    strength: Parts
    largest: Parts


def _measured(groups: Tensor, p: int) -> _Measured:
    mixed = groups[..., p:]
    action = (groups[..., :p] + groups[..., :p].mT) / 2
    root = len(groups) ** 0.5
    return _Measured(
        action.mean(0),
        mixed.mean(0),
        action.std(0) / root,
        mixed.std(0) / root,
        largest_singular_value(mixed),
        highest_eigenvalue(action),
    )


def _joined(parts: list[Parts]) -> Parts:
    return Parts(
        torch.cat([part.all for part in parts]),
        torch.cat([part.without for part in parts], 1),
        torch.cat([part.across for part in parts], 1),
    )


def _not_negative(found: Bracketed) -> Bracketed:
    """A norm's: the estimate that errs low, and the lower end, may be negative; the norm is not."""
    return Bracketed(
        found.value.clamp_min(0), found.stderr, found.low.clamp_min(0), found.high, found.too_low, found.too_high
    )
