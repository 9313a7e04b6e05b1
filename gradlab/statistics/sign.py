"""At how many states an estimator points the wrong way."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import stdtrit
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.objective import Objective, compare_objectives
from gradlab.references.base import ReferenceCotangent

Array = npt.NDArray[np.float64]

#: Standard errors from zero at which a sign is sure.
_SURE = 8.0
#: Steps of EM: the log-likelihood is then within about 0.01 of its maximum.
_STEPS = 100


def wrong_direction(
    v: Tensor,
    ref: ReferenceCotangent,
    episode: Tensor | None = None,
    *,
    objective: Objective | None = None,
    allow_mismatch: bool = False,
) -> Estimate:
    """Share of states where the expected cotangent makes an obtuse angle with the reference, E v_i·r_i < 0.

    The sign at a state is that of s_i = v̄_i·r_i, which both the draws and the reference blur:

        τ_i² = Σ_k σ_ik² v̄_ik² + (r_iᵀ S_i r_i + Σ_k σ_ik² S_ikk)/D

    with σ the reference's standard error and S_i the draws' covariance. Signs seen wrong because of the blur are taken
    off: z_i = s_i/τ_i is the true μ_i plus a standard normal, and the share is the mass below zero of the
    distribution of μ that makes the z most likely, whatever its form (J. Kiefer, J. Wolfowitz 1956, *Consistency of the
    maximum likelihood estimator in the presence of infinitely many incidental parameters*). Its interval holds the
    shares that the data do not reject by the likelihood ratio (S. Murphy, A. van der Vaart 2000, *On profile
    likelihood*), with the log-likelihood divided by the design effect of episodes. Without blur it is the share of
    signs seen; a reference that is all noise resolves nothing, however many states there are.

    Args:
        v: cotangents, [B, m] where they are exact, or [D, B, m].
        ref: the reference; states whose gate is closed are left out.
        episode: which episode a state belongs to, [B] integers; every state its own when None.
        objective: the objective that v estimates the gradient of; the one that ``Estimator.draw`` left on v as
            ``v.objective`` when None, and not looked at where there is neither.
        allow_mismatch: compare with a reference for another objective all the same; the number then says so.

    Raises:
        GradlabError: shapes do not fit, no state is left, a cotangent is not finite (counted and located), or the
            reference is for another objective.

    Example:
        >>> from gradlab.objective import Objective
        >>> truth = ReferenceCotangent(torch.ones(4, 2).double(), torch.zeros(4, 2).double(), "truth", Objective())
        >>> critic = torch.tensor([[1.0, 1.0], [1.0, -0.5], [-1.0, -1.0], [1.0, 0.0]])
        >>> round(wrong_direction(critic, truth).value, 6)
        0.25
    """
    estimated, caveat = objective or getattr(v, "objective", None), ""
    if estimated is not None:
        caveat, _ = compare_objectives(estimated, ref.objective, ref.name, allow_mismatch=allow_mismatch)
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
    z = torch.where(blur > 0, signal / blur.clamp_min(1e-300), signal.sign() * _SURE).clamp(-_SURE, _SURE)
    return replace(_estimate(wrong, z, member.to(wrong.device), ref), caveat=caveat)


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


def _estimate(wrong: Tensor, z: Tensor, member: Tensor, ref: ReferenceCotangent) -> Estimate:
    states, seen = len(wrong), float(wrong.mean())
    sums = torch.zeros(int(member.max()) + 1, dtype=wrong.dtype, device=wrong.device)
    sums.index_add_(0, member, wrong - seen)
    groups = len(sums)
    profile = _Profile(z.cpu())
    share = profile.best
    if groups < 2:
        return Estimate(share, math.nan, groups, ref.name, str(ref.objective), scale="share")
    # Cluster-robust over binomial variance; where all signs are alike, the number of episodes is all that is known.
    design = states / groups
    if 0 < seen < 1:
        design = float(sums.square().sum()) * groups / (groups - 1) / (states * seen * (1 - seen))
    quantile = float(stdtrit(groups - 1, 0.975))
    drop = max(design, 1.0) * quantile**2 / 2
    ends = profile.end(0.0, drop), profile.end(1.0, drop)
    stderr = (ends[1] - ends[0]) / (2 * quantile)
    return Estimate(share, stderr, groups, ref.name, str(ref.objective), scale="share", ends=ends)


class _Profile:
    """log-likelihood of the share π of negative μ_i behind z_i ~ N(μ_i, 1), at the best distributions of both signs."""

    def __init__(self, z: Tensor) -> None:
        size = np.concatenate([[0.02], np.linspace(0.5, _SURE, 16)])
        # Signs that nothing blurs are all of one kind.
        kinds, self.counts = np.unique(z.numpy(), return_counts=True)
        # φ(z − μ) at points of either sign, the negative first, [kinds, points].
        points = np.concatenate([-size, size])
        self.densities = np.exp(-0.5 * np.square(kinds[:, None] - points))
        self.half = len(size)
        weights = self._fit(None)
        self.best = float(weights[: self.half].sum())
        # Without a resolved sign the maximum is flat: EM ends near it.
        self.highest = max(self._likelihood(weights), self(self.best))

    def _fit(self, share: float | None) -> Array:
        """Weights of the points by EM; the negative points' sum held at ``share``, free when None."""
        weights = np.full(2 * self.half, 0.5 / self.half)
        shares = self.counts / self.counts.sum()
        for _ in range(_STEPS):
            # Kept off the denormal numbers, which are slow.
            weights = np.maximum(weights * ((shares / (self.densities @ weights)) @ self.densities), 1e-40)
            if share is not None:
                weights[: self.half] *= share / weights[: self.half].sum()
                weights[self.half :] *= (1 - share) / weights[self.half :].sum()
        return weights

    def __call__(self, share: float) -> float:
        return self._likelihood(self._fit(share))

    def _likelihood(self, weights: Array) -> float:
        return float(self.counts @ np.log(np.maximum(self.densities @ weights, 1e-300)))

    def end(self, side: float, drop: float) -> float:
        """The share between the best and 0 or 1 at which the log-likelihood has fallen by ``drop``."""
        low, high = side, self.best
        if self(side) > self.highest - drop:
            return side
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (middle, high) if self(middle) < self.highest - drop else (low, middle)
        return (low + high) / 2
