"""Medians and shares of independent values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradlab.estimate import Estimate
from gradlab.statistics.state_quantiles import quantile_ends

_RESAMPLES = 200


def median(values: Tensor, seed: int = 0) -> Estimate:
    """The median of independent values [N], with an interval of order statistics.

    It is ``state_quantile``'s, which holds whatever the distribution: a normal interval from the bootstrap's standard
    deviation held the median of two heaps of values in 68 to 79 % of simulations. Fewer than six values bound no
    median at 95 %, and have no interval. The standard error is the standard deviation of the bootstrap.

    Example:
        >>> found = median(torch.arange(1.0, 21.0))
        >>> found.value, found.interval()
        (10.5, (6.0, 15.0))
    """
    count = len(values)
    if count == 0:
        return Estimate(math.nan, math.nan, 0)
    numbers = values.detach().double().cpu()
    generator = torch.Generator().manual_seed(seed)
    drawn = numbers[torch.randint(count, (_RESAMPLES, count), generator=generator)]
    value = float(numbers.quantile(0.5))
    low, high = quantile_ends(numbers.sort().values, 0.5, count)
    if not math.isfinite(high - low):
        return Estimate(value, math.nan, count)
    return Estimate(value, float(drawn.quantile(0.5, dim=1).std()), count, ends=(min(low, value), max(high, value)))


def share(mask: Tensor) -> Estimate:
    """A share of independent states [N], bool; its standard error is Agresti and Coull's, which is never zero.

    (Two successes and two failures added: A. Agresti and B. Coull, The American Statistician 52, 1998.)

    Example:
        >>> print(share(torch.tensor([True, True, False, True])))
        0.75 ± 0.17 (n=4)
    """
    count, successes = mask.numel(), int(mask.sum())
    if count == 0:
        return Estimate(math.nan, math.nan, 0, scale="share")
    centre = (successes + 2) / (count + 4)
    return Estimate(successes / count, math.sqrt(centre * (1 - centre) / (count + 4)), count, scale="share")
