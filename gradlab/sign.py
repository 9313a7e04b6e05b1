"""At how many states an estimator points the wrong way."""

from __future__ import annotations

import math

import torch
from scipy.special import stdtrit
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.references.base import ReferenceCotangent


def wrong_direction(v: Tensor, ref: ReferenceCotangent, episode: Tensor | None = None) -> Estimate:
    """Share of states where the expected cotangent makes an obtuse angle with the reference, E v_i·r_i < 0.

    The sign at a state is that of s_i = v̄_i·r_i, which both the draws and the reference blur:

        τ_i² = Σ_k σ_ik² v̄_ik² + (r_iᵀ S_i r_i + Σ_k σ_ik² S_ikk)/D

    with σ the reference's standard error and S_i the draws' covariance. The chance that the sign seen is not the true
    one is about p_i = Φ(−|s_i|/τ_i). The interval is Wilson's for the sampling of states (over episodes, where they are
    given; states of one episode are not independent), moved outwards by what the blur may have hidden:
    Σ p_i/B over the states seen right at the upper end, over those seen wrong at the lower end, and Σ p_i(1 − p_i)/B²
    enters the standard error. A reference that is all noise hence resolves nothing, however many states there are.

    Args:
        v: cotangents, [B, m] where they are exact, or [D, B, m].
        ref: the reference; states whose gate is closed are left out.
        episode: which episode a state belongs to, [B] integers; every state its own when None.

    Raises:
        GradlabError: shapes do not fit, no state is left, or a cotangent is not finite (counted and located).

    Example:
        >>> from gradlab.objective import Objective
        >>> truth = ReferenceCotangent(torch.ones(4, 2).double(), torch.zeros(4, 2).double(), "truth", Objective())
        >>> critic = torch.tensor([[1.0, 1.0], [1.0, -0.5], [-1.0, -1.0], [1.0, 0.0]])
        >>> wrong_direction(critic, truth).value
        0.25
    """
    draws = v[None] if v.ndim == 2 else v
    if draws.ndim != 3 or draws.shape[1:] != ref.mean.shape or (episode is not None and len(episode) != len(ref.mean)):
        raise GradlabError(
            f"wrong direction: cotangents {tuple(v.shape)} against a reference {tuple(ref.mean.shape)}"
            + ("" if episode is None else f" in {len(episode)} episode numbers")
            + "; all must be of the same states"
        )
    keep = ref.valid
    if not bool(keep.any()):
        raise GradlabError(f"reference {ref.name}: its gate is closed at all {len(keep)} states; nothing to compare")
    draws = draws.detach().to(ref.mean)[:, keep]
    bad = ~torch.isfinite(draws).all(-1).all(0)
    if bool(bad.any()):
        first = int(keep.nonzero().flatten()[bad][0])
        raise GradlabError(
            f"wrong direction: cotangents are NaN or infinite at {int(bad.sum())} of {len(bad)} states, first state "
            f"{first}; mend the estimator or leave those states out"
        )
    signal, blur = _signal(draws, ref.mean[keep], ref.stderr[keep])
    member = torch.arange(len(signal)) if episode is None else episode[keep].unique(return_inverse=True)[1]
    wrong = (signal < 0).double()
    # Φ(−|s|/τ); a sign that nothing blurs is sure.
    mistaken = torch.where(blur > 0, torch.special.ndtr(-signal.abs() / blur.clamp_min(1e-300)), 0.0)
    return _estimate(wrong, mistaken, member.to(wrong.device), ref)


def _signal(draws: Tensor, mean: Tensor, stderr: Tensor) -> tuple[Tensor, Tensor]:
    """s_i and τ_i, [B]."""
    estimate = draws.mean(0)
    variance = (stderr * estimate).square().sum(-1)
    if len(draws) > 1:
        centred = draws - estimate
        freedom = len(draws) * (len(draws) - 1)
        along = (centred * mean).sum(-1).square().sum(0)
        variance = variance + (along + (centred * stderr).square().sum((0, 2))) / freedom
    return (estimate * mean).sum(-1), variance.sqrt()


def _estimate(wrong: Tensor, mistaken: Tensor, member: Tensor, ref: ReferenceCotangent) -> Estimate:
    states = len(wrong)
    share = float(wrong.mean())
    sums = torch.zeros(int(member.max()) + 1, dtype=wrong.dtype, device=wrong.device)
    sums.index_add_(0, member, wrong - share)
    groups = len(sums)
    if groups < 2:
        return Estimate(share, math.nan, groups, ref.name, str(ref.objective), scale="share")
    # Cluster-robust: deviations are summed over an episode before they are squared. Signs flip inside of it too.
    sampled = math.sqrt(float(sums.square().sum()) * groups / (groups - 1)) / states
    of_states = Estimate(share, sampled, groups, scale="share")
    low, high = of_states.interval()
    flips = math.sqrt(float((mistaken * (1 - mistaken)).sum())) / states
    stderr = math.hypot(sampled, flips)
    half = float(stdtrit(groups - 1, 0.975)) * flips
    down, up = float((mistaken * wrong).sum()) / states, float((mistaken * (1 - wrong)).sum()) / states
    ends = (
        max(share - math.hypot(share - low, half) - down, 0.0),
        min(share + math.hypot(high - share, half) + up, 1.0),
    )
    return Estimate(share, stderr, groups, ref.name, str(ref.objective), scale="share", ends=ends)
