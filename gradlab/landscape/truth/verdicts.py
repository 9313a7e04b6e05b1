"""Verdicts on a critic's optima from differences of true returns: real, phantom, or not to be told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

#: Differences of returns below this part of the returns are rounding.
_ROUNDING = 1e-9
#: Chance of a wrong verdict on either side that noise may have.
_TAIL = 0.025


class Verdict(IntEnum):
    """What the true Q says of an optimum of the critic."""

    UNRESOLVED = 0  #: noise, or what the horizon cuts off, leaves both possible
    REAL = 1
    PHANTOM = 2
    NOT_CLAIMED = 3  #: the critic does not hold it to be better than the actor's action, so nothing can be untrue


@dataclass(frozen=True)
class Differences:
    """Differences of true returns with what is not known of them; all [..., R], float64.

    Attributes:
        value: mean over the noise seeds.
        stderr: its standard error; zero where nothing is random.
        truncation: most that rewards beyond the horizon are taken to add or take away.
        rounding: what rounding alone can make.
        samples: noise seeds; 0 where nothing is random.
    """

    value: Tensor
    stderr: Tensor
    truncation: Tensor
    rounding: Tensor
    samples: int

    def half(self, tail: float | Tensor = _TAIL) -> Tensor:
        """Half the width of the interval with that chance beyond each end, rounding not included."""
        if self.samples < 2:
            return self.truncation
        chance = np.asarray(tail, dtype=np.float64)
        quantile = torch.as_tensor(stdtrit(self.samples - 1, 1 - chance), dtype=self.value.dtype)
        return quantile * self.stderr + self.truncation


def differences(
    whole: Tensor, part: Tensor, base_whole: Tensor, base_part: Tensor, beyond: float, samples: int
) -> Differences:
    """Returns less base returns under the same noise, and how far the rewards that are not counted may move them.

    With Δ_H the difference over H rewards and Δ_h over the first h, what is not counted is taken to be no more than

        |Δ_H − Δ_h| γ^(H−h)/(1 − γ^(H−h)),

    which it is where the rewards differ beyond H by no more, on average, than from h to H. Nothing is known at γ = 1,
    unless the rewards have stopped to differ.

    Args:
        whole: returns of H rewards [seeds, ..., R].
        part: of the first h of them.
        base_whole: returns of H rewards to subtract, broadcast against ``whole``.
        base_part: of the first h.
        beyond: γ^(H−h)/(1 − γ^(H−h)); infinite at γ = 1.
        samples: noise seeds; 0 where nothing is random.

    Example:
        >>> one, none = torch.tensor([[1.0]]), torch.tensor([[0.0]])
        >>> found = differences(one, 0.5 * one, none, none, beyond=0.1, samples=0)
        >>> found.value.item(), round(found.truncation.item(), 6)
        (1.0, 0.05)
    """
    draws = whole - base_whole
    late = (draws - (part - base_part)).mean(0).abs()
    scale = _ROUNDING * torch.maximum(whole.abs(), base_whole.abs()).mean(0)
    truncation = torch.where(late <= scale, torch.zeros_like(late), late * beyond)
    spread = draws.std(0) / len(draws) ** 0.5 if len(draws) > 1 else torch.zeros_like(late)
    return Differences(draws.mean(0), spread, truncation, scale, samples)


def judge_values(gain: Differences, claimed: Tensor) -> Tensor:
    """Whether what the critic holds to be better than the actor's action is: verdicts [R], int8.

    Args:
        gain: true value of the optimum less that of the actor's action, [R].
        claimed: where the critic says that there is a gain, [R] bool.

    Example:
        >>> one, none = torch.tensor([0.5, -0.5, 0.0]), torch.zeros(3)
        >>> judge_values(Differences(one, none, none, none + 1e-9, 0), torch.ones(3, dtype=torch.bool)).tolist()
        [1, 2, 0]
    """
    half = gain.half() + gain.rounding
    verdict = torch.full_like(gain.value, Verdict.UNRESOLVED, dtype=torch.int8)
    verdict[gain.value - half > 0] = Verdict.REAL
    verdict[gain.value + half < 0] = Verdict.PHANTOM
    verdict[~claimed] = Verdict.NOT_CLAIMED
    return verdict


def judge_slopes(rises: Differences, there: Tensor) -> Tensor:
    """Whether the true Q has nowhere to rise to from an optimum: verdicts [R], int8.

    Phantom where it rises to some point at least, each tested at 2.5 % over the number of points (C. Bonferroni), so
    that no more than 2.5 % of the real ones are called phantom; real where it rises to none, each tested at 2.5 %
    (R. Berger 1982, *Multiparameter hypothesis testing and acceptance sampling*: no correction is needed).

    Args:
        rises: true value at the points around less that at the optimum, [points, R].
        there: points that count, [points, R] bool.

    Example:
        >>> rise, none = torch.tensor([[-1.0, -1.0], [-1.0, 0.3]]), torch.zeros(2, 2)
        >>> judge_slopes(Differences(rise, none, none, none, 0), none == 0).tolist()
        [1, 2]
    """
    each = _TAIL / there.sum(0).clamp_min(1)
    rising = (rises.value - rises.half(each) > rises.rounding) & there
    level = (rises.value + rises.half() <= rises.rounding) | ~there
    verdict = torch.full_like(each, Verdict.UNRESOLVED, dtype=torch.int8)
    verdict[level.all(0) & there.any(0)] = Verdict.REAL
    verdict[rising.any(0)] = Verdict.PHANTOM
    return verdict
