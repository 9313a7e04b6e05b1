"""Phantom optima over states: how many, and what a critic's promises are worth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradlab.estimate import Estimate
from gradlab.inference.bounded import bounded_mean
from gradlab.landscape.truth.verdicts import Verdict
from gradlab.statistics.by_episode import EpisodeSums
from gradlab.statistics.state_means import bounded_state_mean

if TYPE_CHECKING:
    from gradlab.landscape.truth.phantoms import PhantomOptima


@dataclass(frozen=True)
class PhantomMeans:
    """What the true Q says of a critic's optima, over the distribution that the states come from.

    The shares of phantoms are of what has been shown to be one; their intervals reach from there, less the sampling
    error, to where all that is unresolved were phantom too, plus it. NaN where there is nothing to judge.

    Attributes:
        value_phantom: share of phantoms, by value, among optima that the critic claims to be better than π(s).
        value_unresolved: share of these that is unresolved.
        slope_phantom: share of phantoms, by slope, among all optima looked at.
        slope_unresolved: share of these that is unresolved.
        promised: mean over states of Q(s, a*) − Q(s, π(s)) by the critic, a* its highest optimum.
        real_gain: mean of Q^π(s, a*) − Q^π(s, π(s)) at the same states; what the horizon may cut off is added to the
            interval on both sides.
        realised: real_gain / promised: how much of what the critic promises is there.
        overestimated: promised − real_gain.
        own_promised: mean of the critic's gain at the optimum that ascent from π(s) reaches, where it is looked at.
        own_real_gain: mean of the true one there: what training on towards that optimum is worth. Where it is below
            ``real_gain`` the choice of the basin matters in truth, too.
    """

    value_phantom: Estimate
    value_unresolved: Estimate
    slope_phantom: Estimate
    slope_unresolved: Estimate
    promised: Estimate
    real_gain: Estimate
    realised: Estimate
    overestimated: Estimate
    own_promised: Estimate
    own_real_gain: Estimate


def phantom_means(found: PhantomOptima) -> PhantomMeans:
    """Shares and mean gains of ``PhantomOptima``; see ``PhantomOptima.means``."""
    claimed = found.by_value != Verdict.NOT_CLAIMED
    value_phantom, value_unresolved = _shares(found, found.by_value, claimed)
    slope_phantom, slope_unresolved = _shares(found, found.by_slope, torch.ones_like(claimed))
    promised, real, realised, overestimated = _gains(found, found.optimum == 0)
    own_promised, own_real, _, _ = _gains(found, found.own)
    return PhantomMeans(
        value_phantom,
        value_unresolved,
        slope_phantom,
        slope_unresolved,
        promised,
        real,
        realised,
        overestimated,
        own_promised,
        own_real,
    )


def _shares(found: PhantomOptima, verdict: Tensor, among: Tensor) -> tuple[Estimate, Estimate]:
    """Shares of phantoms and of the unresolved among some rows; optima of one episode are not independent."""
    none = Estimate(math.nan, math.nan, 0, found.reference, str(found.objective), scale="share", caveat=found.caveat)
    if not bool(among.any()):
        return none, none
    phantom, unresolved = (verdict[among] == kind for kind in (Verdict.PHANTOM, Verdict.UNRESOLVED))
    columns = torch.stack([phantom, unresolved, phantom | unresolved], -1).double()
    mean, stderr, ends, episodes = bounded_mean(columns, torch.zeros(3), torch.ones(3), found.episode[among])
    # All that is unresolved may be phantom.
    ends[1, 0] = ends[1, 2]

    def share(column: int) -> Estimate:
        low, high = (float(end) for end in ends[:, column])
        return replace(
            none, value=float(mean[column]), stderr=float(stderr[column]), samples=episodes, ends=(low, high)
        )

    return share(0), share(1)


def _gains(found: PhantomOptima, which: Tensor) -> tuple[Estimate, Estimate, Estimate, Estimate]:
    """Of one optimum of each state: promised, real, realised, overestimated."""
    best = which & torch.isfinite(found.gain.value)
    words = (found.reference, str(found.objective), found.caveat)
    if not bool(best.any()):
        none = Estimate(math.nan, math.nan, 0, *words[:2], caveat=words[2])
        return none, none, none, none
    cut = float(found.gain.truncation[best].mean())
    sums = EpisodeSums.of(
        {"promised": found.critic_gain[best], "real": found.gain.value[best]}, found.episode[best], *words
    )
    promise = found.critic_gain[best]
    # As the mean gap is bounded, of which this is one; an optimum below a plateau may be worse than what is there.
    promised = bounded_state_mean(
        promise,
        found.episode[best],
        *words[:2],
        least=min(0.0, float(promise.min())),
        most=float(torch.maximum(found.value_range[best], promise).max()),
    )
    promised = replace(promised, caveat=words[2])
    real = _wider(sums.estimate(lambda s: s["real"] / s["count"]), cut)
    overestimated = _wider(sums.estimate(lambda s: (s["promised"] - s["real"]) / s["count"]), cut)
    realised = sums.estimate(lambda s: s["real"] / torch.where(s["promised"] > 0, s["promised"], torch.nan))
    per_promise = cut / promised.value if promised.value > 0 else 0.0
    return promised, real, _wider(realised, per_promise), overestimated


def _wider(estimate: Estimate, by: float) -> Estimate:
    """With an error of at most ``by``, of unknown sign, added to the interval on both sides."""
    if not by > 0:
        return estimate
    low, high = estimate.interval()
    return replace(estimate, ends=(low - by, high + by)) if math.isfinite(low) else estimate
