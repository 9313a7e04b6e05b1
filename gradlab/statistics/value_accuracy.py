"""A critic's values against true ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.statistics.by_episode import EpisodeSums


@dataclass(frozen=True)
class ValueAccuracy:
    """Values that a critic gives, q, against true ones, v, at B states.

    Attributes:
        bias: E[q − v]; positive is overestimation.
        mean_squared_error: E(q − v)², without the noise of v; unclipped.
        rmse: its root; NaN where that noise left nothing positive.
        correlation: of q and v over states, without the attenuation by the noise of v.
        slope: of the regression of v on q, cov(q, v)/var q: 1 is calibrated, below 1 the critic exaggerates
            differences between states, above 1 it understates them, at 0 or below it does not know them.
        critic: q, [B].
        true: v, [B]; NaN where the simulation was not finite, and left out.
        stderr: of v, [B].
        notes: what a person should know, a line each.
    """

    bias: Estimate
    mean_squared_error: Estimate
    rmse: Estimate
    correlation: Estimate
    slope: Estimate
    critic: Tensor
    true: Tensor
    stderr: Tensor
    notes: tuple[str, ...] = ()


def value_accuracy(
    critic: Tensor,
    critic_stderr: Tensor,
    true: Tensor,
    stderr: Tensor,
    episode: Tensor,
    what: str = "value",
    reference: str = "",
    objective: str = "",
    caveat: str = "",
) -> ValueAccuracy:
    """Compare values at B states, with intervals over episodes.

    With σ² the variance of the noise in v, and τ² that in q where it is sampled too, averaged over states,

        bias = E q − E v,  MSE = E(q − v)² − σ² − τ²,  slope = cov(q, v)/(var q − τ²),
        correlation = cov(q, v)/√((var q − τ²)(var v − σ²)).

    Args:
        critic: q, [B].
        critic_stderr: of q, [B], zero where it is exact.
        true: v, [B].
        stderr: of v, [B], zero where it is exact.
        episode: which episode a state belongs to, [B].
        what: what they are, for notes and messages.
        reference: what v comes from, in words.
        objective: whose values they are, in words.
        caveat: what the numbers must never be shown without.

    Raises:
        GradlabError: shapes do not fit, or no true value is finite.

    Example:
        >>> v, none = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.zeros(4)
        >>> found = value_accuracy(2 * v, none, v, none, torch.arange(4))
        >>> round(found.bias.value, 6), round(found.slope.value, 6), round(found.correlation.value, 6)
        (2.5, 0.5, 1.0)
    """
    parts = [part.detach().cpu().double() for part in (critic, critic_stderr, true, stderr)]
    if {part.shape for part in parts} != {(len(episode),)}:
        raise GradlabError(
            f"{what}: values and standard errors of shapes {[tuple(part.shape) for part in parts]} for "
            f"{len(episode)} states; give one number each"
        )
    keep = torch.isfinite(parts[2]) & torch.isfinite(parts[3])
    if not bool(keep.any()):
        raise GradlabError(f"{what}: no state has a finite true value; nothing to compare with")
    q, tau, v, sigma = (part[keep] for part in parts)
    # Around one number, so that squares of large values do not cancel.
    centre = v.mean()
    q, v = q - centre, v - centre
    per_state = {"q": q, "v": v, "qq": q * q, "vv": v * v, "qv": q * v, "tau": tau**2, "sigma": sigma**2}
    sums = EpisodeSums.of(per_state, episode.cpu()[keep], reference, objective, caveat)
    squared = sums.estimate(lambda s: (s["qq"] - 2 * s["qv"] + s["vv"] - s["tau"] - s["sigma"]) / s["count"], "square")
    left_out = int((~keep).sum())
    notes = (f"{what}: {left_out} of {len(keep)} states left out, their simulation was not finite",) if left_out else ()
    return ValueAccuracy(
        bias=sums.estimate(lambda s: (s["q"] - s["v"]) / s["count"]),
        mean_squared_error=squared,
        rmse=_root(squared),
        correlation=sums.estimate(_correlation, "cosine"),
        slope=sums.estimate(lambda s: _covariance(s, "q", "v") / _covariance(s, "q", "q", "tau")),
        critic=parts[0],
        true=parts[2],
        stderr=parts[3],
        notes=notes,
    )


def _covariance(s: dict[str, Tensor], a: str, b: str, noise: str | None = None) -> Tensor:
    """n² times the covariance; its noise taken off where a and b are the same."""
    product = s[a + b] if noise is None else s[a + b] - s[noise]
    return s["count"] * product - s[a] * s[b]


def _correlation(s: dict[str, Tensor]) -> Tensor:
    spreads = [_covariance(s, "q", "q", "tau"), _covariance(s, "v", "v", "sigma")]
    both = torch.where((spreads[0] > 0) & (spreads[1] > 0), spreads[0] * spreads[1], torch.nan)
    return _covariance(s, "q", "v") / both.sqrt()


def _root(squared: Estimate) -> Estimate:
    """Of a mean square, with its interval; NaN where that is negative."""
    value = math.sqrt(squared.value) if squared.value >= 0 else math.nan
    stderr = squared.stderr / (2 * value) if value > 0 else squared.stderr
    low, high = squared.interval()
    ends = (math.sqrt(max(low, 0.0)), math.sqrt(max(high, 0.0))) if math.isfinite(low) else None
    return replace(squared, value=value, stderr=stderr, ends=ends)
