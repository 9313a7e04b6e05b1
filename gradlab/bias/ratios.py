"""Errors of an expected update, relative to the true one, for the distribution that states come from.

A state's sample is J_sᵀ v_s, and what an actor follows is its expectation over states s ~ d, g = E J_sᵀ v_s; the truth
is r = E J_sᵀ r_s. At B states the plug-in ‖(1/B) Σ_i J_iᵀ(v_i − r_i)‖² is too large by what states scatter. Inner
products of *different episodes* are free of that, and of the noise of draws and of the reference besides: with
S_e = Σ_{i∈e} J_iᵀ x_i of B_e states and T_e likewise of y,

    ⟨x, y⟩ = Σ_{e≠f} S_e·T_f / Σ_{e≠f} B_e B_f

(W. Hoeffding 1948, *A class of statistics with asymptotically normal distribution*, section 5). Bias² is ⟨v−r, v−r⟩,
the cosine ⟨v, r⟩/√(⟨v, v⟩⟨r, r⟩). Standard errors are those of the jackknife over episodes (J. Arvesen 1969,
*Jackknifing U-statistics*, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate, Scale
from gradlab.inference.confidence import skewed_interval, tailed_half, variance_interval
from gradlab.inference.intervals import sum_interval
from gradlab.statistics.by_episode import root_of
from gradlab.statistics.nested import LeftOutParts, leave_groups_out
from gradlab.tangent import TangentKernel, tangent_kernel


@dataclass(frozen=True)
class RelativeError:
    """An estimator's error relative to the true expected update r = E J_sᵀ r_s, over the distribution of states.

    That is ∇J only where states come from the discounted distribution (C. Nota, P. Thomas 2020, *Is the policy gradient
    a gradient?*); of the policy's own steps, every one alike, it is what an actor follows, and no gradient.

    Attributes:
        bias_squared: ‖E g − r‖²/‖r‖²; may be negative, never clipped.
        variance: tr Var g/‖r‖² of a minibatch gradient g of N independent states, one draw at each.
        mse: bias_squared + variance.
        cosine: of E g and r.
        norm_ratio: ‖E g‖/‖r‖.
        batch: N.
    """

    bias_squared: Estimate
    variance: Estimate
    mse: Estimate
    cosine: Estimate
    norm_ratio: Estimate
    batch: int


class RelativeErrors:
    """Errors of several estimators at the same states against one truth.

    Args:
        agent: the agent; neither changed nor given gradients.
        obs: observations [B, n].
        truth: r_s, [B, m], finite; its noise, where it has some, is independent between episodes.
        episode: which episode a state is of, [B] integers. At least three.
        kernel: ``tangent_kernel(agent, obs)``, to share it.
        reference: what the truth is, in words.
        objective: of the truth, in words.

    Raises:
        GradlabError: shapes do not fit, a number is not finite, or there are fewer than three episodes.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 1, bias=False), [], action_low=[-1], action_high=[1])
        >>> truth = 1 + 0.1 * torch.randn(60, 1, generator=torch.Generator().manual_seed(0)).double()
        >>> errors = RelativeErrors(agent, torch.ones(60, 1), truth, torch.arange(60) // 2)
        >>> twice = errors.of(2 * truth.expand(2, 60, 1))
        >>> round(twice.bias_squared.value, 6), round(twice.cosine.value, 6), round(twice.norm_ratio.value, 6)
        (1.0, 1.0, 2.0)
    """

    def __init__(
        self,
        agent: Agent,
        obs: Any,
        truth: Tensor,
        episode: Tensor,
        *,
        kernel: TangentKernel | None = None,
        reference: str = "",
        objective: str = "",
    ) -> None:
        if len(episode) != len(truth):
            raise GradlabError(
                f"relative error: {len(truth)} states of a truth and {len(episode)} episode numbers; give one each"
            )
        if (episodes := len(episode.unique())) < 3:
            raise GradlabError(
                f"relative error: states of {episodes} episodes; intervals over episodes need at least three"
            )
        self._agent, self._obs, self._episode = agent, obs, episode
        self._kernel = kernel or tangent_kernel(agent, obs)
        self._reference, self._objective = reference, objective
        self._truth = truth.detach().double()
        self._true_squared = self._squared(self._truth)

    @property
    def true_squared(self) -> Estimate:
        """‖r‖², which all errors are relative to."""
        return self._estimate(lambda one: one, self._true_squared)

    def relative(self, v: Tensor) -> Estimate:
        """‖E J_sᵀ v_s‖²/‖r‖² of cotangents [B, m], such as the difference of two references."""
        return self._estimate(
            lambda own, true: own / _positive(true), self._squared(v.detach().double()), self._true_squared
        )

    def of(self, v: Tensor, batch: int = 256) -> RelativeError:
        """The error of independent draws.

        Args:
            v: cotangents [D, B, m], D ≥ 2.
            batch: states N of the minibatch that variance and MSE are stated for.

        Raises:
            GradlabError: shapes do not fit, or a draw is not finite.
        """
        if v.ndim != 3 or v.shape[1:] != self._truth.shape or len(v) < 2 or batch < 1:
            raise GradlabError(
                f"relative error: cotangents {tuple(v.shape)} for a minibatch of {batch}; expected at least two draws, "
                f"[draws, {', '.join(map(str, self._truth.shape))}], and a minibatch of at least one state"
            )
        draws = v.detach().to(self._truth)
        mean = draws.mean(0)
        parts = leave_groups_out(self._agent, self._obs, draws, episode=self._episode, kernel=self._kernel)
        total = _Jackknifed(parts.value["total"], parts.without["total"])
        error, own, true = self._squared(mean - self._truth), self._squared(mean), self._true_squared

        # ⟨v, r⟩ from ⟨v−r, v−r⟩, since the form is bilinear.
        def cosine(error: Tensor, own: Tensor, true: Tensor) -> Tensor:
            return (own + true - error) / 2 / (_root(own) * _root(true))

        bias_squared = self._estimate(lambda e, r: e / _positive(r), error, true)
        variance = self._estimate(lambda s, r: s / batch / _positive(r), total, true, scale="inverse")
        mse = self._estimate(lambda e, s, r: (e + s / batch) / _positive(r), error, total, true)
        if bias_squared.ends is not None and variance.ends is not None:
            # What is known of the variance's tail has to be known of the sum's.
            ends = sum_interval(bias_squared.value, bias_squared.ends, variance.value, variance.ends)
            mse = replace(mse, ends=ends)
        return RelativeError(
            bias_squared=bias_squared,
            variance=variance,
            mse=mse,
            cosine=self._estimate(cosine, error, own, true, scale="fisher"),
            norm_ratio=root_of(self._estimate(lambda g, r: g / _positive(r), own, true)),
            batch=batch,
        )

    def _squared(self, v: Tensor) -> _Jackknifed:
        parts: LeftOutParts = leave_groups_out(
            self._agent, self._obs, v[None], episode=self._episode, kernel=self._kernel
        )
        return _Jackknifed(parts.value["gradient_squared"], parts.without["gradient_squared"])

    def _estimate(self, statistic: Callable[..., Tensor], *of: _Jackknifed, scale: Scale = "linear") -> Estimate:
        value = float(statistic(*(torch.tensor(part.value, dtype=torch.float64) for part in of)))
        without = statistic(*(part.without for part in of))
        n = len(without)
        stderr = math.sqrt((n - 1) / n * float((without - without.mean()).square().sum()))
        estimate = Estimate(value, stderr, n, self._reference, self._objective, scale)
        if not (math.isfinite(value) and math.isfinite(stderr)) or stderr == 0:
            return replace(estimate, stderr=stderr if math.isfinite(value) else math.nan)
        pseudo = n * value - (n - 1) * without
        if scale == "fisher" and not abs(value) + 1.5 * stderr < 1:
            # artanh never reaches one, which is the truth of an estimator without bias.
            low, high = skewed_interval(value, stderr, pseudo)
            return replace(estimate, scale="linear", ends=(max(low, min(-1.0, value)), min(high, max(1.0, value))))
        if scale == "linear":
            return replace(estimate, ends=skewed_interval(value, stderr, pseudo))
        if scale == "inverse":
            return replace(estimate, ends=variance_interval(value, stderr, pseudo))
        centre, half = math.atanh(value), tailed_half(stderr, pseudo) / (1 - value**2)
        return replace(estimate, ends=(math.tanh(centre - half), math.tanh(centre + half)))


@dataclass(frozen=True)
class _Jackknifed:
    """A number of all episodes, and with each left out, [episodes]."""

    value: float
    without: Tensor


def _positive(squared: Tensor) -> Tensor:
    """NaN where a debiased squared norm is not above its noise: nothing can be relative to that."""
    return torch.where(squared > 0, squared, torch.nan)


def _root(squared: Tensor) -> Tensor:
    return _positive(squared).sqrt()
