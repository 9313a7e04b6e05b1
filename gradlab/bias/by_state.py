"""Errors of estimators at the actor's head, state by state: no state's error makes up for another's."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.intervals import sum_interval
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.by_episode import EpisodeSums, root_of
from gradlab.statistics.critic_gradient import above_noise, gradient_accuracy
from gradlab.statistics.sign import wrong_direction


@dataclass(frozen=True)
class StateError:
    """An estimator's error at the head, in parts of E_s‖r_s‖², r_s the true cotangent.

    Attributes:
        bias_squared: E_s‖E v_s − r_s‖²/E_s‖r_s‖².
        variance: E_s tr Var v_s/E_s‖r_s‖² of one draw.
        mse: bias_squared + variance.
        cosine: E_s[v̄_s·r_s]/√(E_s‖v̄_s‖² E_s‖r_s‖²), v̄_s the estimator's mean.
        norm_ratio: √(E_s‖v̄_s‖²/E_s‖r_s‖²).
        wrong_direction: share of states where v̄_s·r_s < 0.
    """

    bias_squared: Estimate
    variance: Estimate
    mse: Estimate
    cosine: Estimate
    norm_ratio: Estimate
    wrong_direction: Estimate


def state_error(v: Tensor, truth: ReferenceCotangent, episode: Tensor) -> StateError:
    """Compare an estimator's draws with a reference state by state, with intervals over episodes.

    The noise of the draws' mean and of the reference, whose components are independent, is taken off the squares.

    Args:
        v: cotangents [D, B, m], D ≥ 2 independent draws.
        truth: the reference at these states; those where its gate is closed are left out.
        episode: which episode a state is of, [B].

    Raises:
        GradlabError: shapes do not fit, no gate is open, or a draw is not finite where one is.

    Example:
        >>> from gradlab.objective import Objective
        >>> truth = ReferenceCotangent(torch.ones(6, 2).double(), torch.zeros(6, 2).double(), "truth", Objective())
        >>> v = torch.tensor([0.5, 1.5])[:, None, None].expand(2, 6, 2)
        >>> error = state_error(v + 1, truth, torch.arange(6) // 2)
        >>> round(error.bias_squared.value, 6), round(error.variance.value, 6), round(error.norm_ratio.value**2, 6)
        (0.75, 0.5, 3.75)
    """
    if v.ndim != 3 or len(v) < 2 or v.shape[1:] != truth.mean.shape or len(episode) != len(truth.mean):
        raise GradlabError(
            f"state error: cotangents {tuple(v.shape)} and {len(episode)} episode numbers against a reference "
            f"{tuple(truth.mean.shape)}; expected at least two draws, [draws, states, m], and a number a state"
        )
    draws, keep = v.detach().to(truth.mean), truth.valid.cpu()
    mean, variance = draws.mean(0), draws.var(0)
    own = ReferenceCotangent(mean, (variance / len(draws)).sqrt(), "estimator", truth.objective)
    accuracy, _ = gradient_accuracy(own, truth, episode)
    squares = {
        "bias": accuracy.per_state["bias_squared"],
        "noise": variance.sum(-1),
        "own": mean.square().sum(-1) - own.stderr.square().sum(-1),
        "true": truth.mean.square().sum(-1) - truth.stderr.square().sum(-1),
    }
    kept = {name: part[keep] for name, part in squares.items()}
    if not above_noise(truth):
        kept["true"] = torch.full_like(kept["true"], torch.nan)
    sums = EpisodeSums.of(kept, episode.cpu()[keep], truth.name, str(truth.objective))
    # Squares from which noise is taken off may be zero or below: their intervals are not on a logarithmic scale.
    bias_squared = sums.estimate(lambda s: s["bias"] / _positive(s["true"]))
    spread = sums.estimate(lambda s: s["noise"] / _positive(s["true"]), "ratio")
    mse = sums.estimate(lambda s: (s["bias"] + s["noise"]) / _positive(s["true"]))
    if math.isnan(spread.value):
        mse = replace(mse, value=math.nan, stderr=math.nan, ends=None)
    elif bias_squared.ends is not None and spread.ends is not None:
        # What is known of the variance's tail, and of its sign, has to be known of the sum's.
        mse = replace(mse, ends=sum_interval(bias_squared.value, bias_squared.ends, spread.value, spread.ends))
    return StateError(
        bias_squared=bias_squared,
        variance=spread,
        mse=mse,
        cosine=accuracy.cosine,
        norm_ratio=root_of(sums.estimate(lambda s: s["own"] / _positive(s["true"]))),
        wrong_direction=wrong_direction(draws, truth, episode.cpu()),
    )


def _positive(squared: Tensor) -> Tensor:
    """NaN where a debiased square is not above its noise: nothing can be relative to that."""
    return torch.where(squared > 0, squared, torch.nan)
