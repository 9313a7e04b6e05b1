"""A critic's gradient at the actor's head against the true one, state by state and pooled."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.by_episode import EpisodeSums, root_of
from gradlab.statistics.sign import wrong_direction

#: Share of ‖r‖² that may be noise before a mean of cosines needs a word on it.
_NOISY = 0.01


@dataclass(frozen=True)
class GradientAccuracy:
    """A critic's ∇_h F_s(h), c, against the true one, r, at the states where the gate is open.

    Pooled over states, ‖·‖ without the noise of r:

    Attributes:
        bias_squared: E‖c − r‖².
        relative_bias_squared: E‖c − r‖²/E‖r‖².
        cosine: E c·r/√(E‖c‖² E‖r‖²): of all states' gradients as one vector.
        norm_ratio: √(E‖c‖²/E‖r‖²). It, the cosine and the relative squared bias are NaN where E‖r‖² is not above the
            reference's noise.
        mean_cosine: E cos(c, r), every state counting alike however small its gradient.
        per_state: "bias_squared", "cosine", "norm_ratio", "critic_norm" and "true_norm" at every state, [B];
            NaN where the gate is closed, or where nothing of ‖r‖² is above its noise.
        open: states where the gate is open.
        notes: what a person should know, a line each.
    """

    bias_squared: Estimate
    relative_bias_squared: Estimate
    cosine: Estimate
    norm_ratio: Estimate
    mean_cosine: Estimate
    per_state: dict[str, Tensor]
    open: int
    notes: tuple[str, ...] = ()


def gradient_accuracy(
    critic: ReferenceCotangent, truth: ReferenceCotangent, episode: Tensor, caveat: str = ""
) -> tuple[GradientAccuracy, Estimate]:
    """Compare two references' cotangents [B, m], with intervals over episodes; and the share of wrong directions.

    Args:
        critic: the critic's.
        truth: the true one.
        episode: which episode a state belongs to, [B].
        caveat: what the numbers must never be shown without.

    Raises:
        GradlabError: shapes do not fit, no state's gate is open, or the critic's gradient is not finite where it is.

    Example:
        >>> from gradlab.objective import Objective
        >>> zero = torch.zeros(3, 2).double()
        >>> truth = ReferenceCotangent(zero + 1, zero, "truth", Objective())
        >>> critic = ReferenceCotangent(zero - 2, zero, "critic", Objective())
        >>> found, wrong = gradient_accuracy(critic, truth, torch.arange(3))
        >>> found.bias_squared.value, round(found.cosine.value, 6), found.norm_ratio.value, round(wrong.value, 3)
        (18.0, -1.0, 2.0, 1.0)
    """
    if critic.mean.shape != truth.mean.shape or len(episode) != len(truth.mean):
        raise GradlabError(
            f"critic's gradient: {tuple(critic.mean.shape)} against a reference {tuple(truth.mean.shape)} in "
            f"{len(episode)} episode numbers; all must be of the same states"
        )
    keep = truth.valid.cpu()
    if not bool(keep.any()):
        raise GradlabError(f"reference {truth.name}: its gate is closed at all {len(keep)} states; nothing to compare")
    c, tau, r, sigma = (part.cpu().double() for part in (critic.mean, critic.stderr, truth.mean, truth.stderr))
    wrong = replace(_wrong(c, tau, truth, episode.cpu()), caveat=caveat)
    noise_c, noise_r = tau.square().sum(-1), sigma.square().sum(-1)
    squares = {
        "error": (c - r).square().sum(-1) - noise_c - noise_r,
        "critic": c.square().sum(-1) - noise_c,
        "true": r.square().sum(-1) - noise_r,
        "cross": (c * r).sum(-1),
        "as_seen": torch.nn.functional.cosine_similarity(c, r, eps=1e-300),
    }
    norms = {name: _root(squares[name]) for name in ("critic", "true")}
    per_state = {
        "bias_squared": squares["error"],
        "cosine": squares["cross"] / (norms["critic"] * norms["true"]),
        "norm_ratio": norms["critic"] / norms["true"],
        "critic_norm": norms["critic"],
        "true_norm": norms["true"],
    }
    kept = {name: part[keep] for name, part in squares.items()}
    if not above_noise(truth):
        # Nothing can be relative to what its noise explains.
        kept["true"] = torch.full_like(kept["true"], torch.nan)
    sums = EpisodeSums.of(kept, episode.cpu()[keep], truth.name, str(truth.objective), caveat)
    return (
        GradientAccuracy(
            bias_squared=sums.estimate(lambda s: s["error"] / s["count"], "square"),
            relative_bias_squared=sums.estimate(lambda s: s["error"] / _positive(s["true"])),
            cosine=sums.estimate(lambda s: s["cross"] / (_root(s["critic"]) * _root(s["true"])), "cosine"),
            norm_ratio=root_of(sums.estimate(lambda s: s["critic"] / _positive(s["true"]))),
            mean_cosine=sums.estimate(lambda s: s["as_seen"] / s["count"]),
            per_state={name: torch.where(keep, part, torch.nan) for name, part in per_state.items()},
            open=int(keep.sum()),
            notes=_notes(truth, keep, noise_r[keep], r[keep]),
        ),
        wrong,
    )


def _wrong(c: Tensor, tau: Tensor, truth: ReferenceCotangent, episode: Tensor) -> Estimate:
    """Where the critic's gradient is sampled, draws that have its mean and its standard errors stand for it."""
    if not bool((tau[truth.valid.cpu()] > 0).any()):
        return wrong_direction(c, truth, episode)
    size = c.shape[1]
    # 2m draws, a coordinate moved up in one and down in another: their covariance over 2m is diag(τ²).
    apart = torch.eye(size).double()[:, None] * tau * (size * (2 * size - 1)) ** 0.5
    return wrong_direction(torch.cat([c + apart, c - apart]), truth, episode)


def above_noise(truth: ReferenceCotangent) -> bool:
    """Whether Σ_s‖r_s‖² of the open states, less its noise, is above twice its standard error by that noise.

    Example:
        >>> from gradlab.objective import Objective
        >>> r = torch.tensor([[1.0], [-1.0]]).double()
        >>> [above_noise(ReferenceCotangent(r, s * r.abs(), "truth", Objective())) for s in (0.1, 1.0)]
        [True, False]
    """
    keep = truth.valid.cpu()
    r, noise = (part.cpu().double()[keep].square() for part in (truth.mean, truth.stderr))
    variance = float((4 * r * noise - 2 * noise.square()).clamp_min(0.0).sum())
    return float((r - noise).sum()) > 2 * math.sqrt(variance)


def _positive(squared: Tensor) -> Tensor:
    return torch.where(squared > 0, squared, torch.nan)


def _root(squared: Tensor) -> Tensor:
    return _positive(squared).sqrt()


def _notes(truth: ReferenceCotangent, keep: Tensor, noise: Tensor, r: Tensor) -> tuple[str, ...]:
    notes = []
    if not bool(keep.all()):
        reasons = sorted({str(reason) for reason in truth.diagnostics.get("reason", []) if reason})
        why = f" ({'; '.join(reasons)})" if reasons else ""
        notes.append(
            f"gradient: {int((~keep).sum())} of {len(keep)} states left out, {truth.name}'s gate is closed there{why}"
        )
    share = float(noise.sum() / r.square().sum())
    if share > _NOISY:
        notes.append(
            f"gradient: {share:.0%} of the reference's squared norm is its own noise, which lowers the mean cosine"
        )
    return tuple(notes)
