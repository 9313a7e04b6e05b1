"""Medians and shares of independent values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradlab.estimate import Estimate

_RESAMPLES = 200


def median(values: Tensor, seed: int = 0) -> Estimate:
    """The median of independent values [N] with the standard deviation of its bootstrap as standard error.

    Example:
        >>> median(torch.tensor([1.0, 2.0, 30.0])).value
        2.0
    """
    count = len(values)
    if count == 0:
        return Estimate(math.nan, math.nan, 0)
    numbers = values.detach().double().cpu()
    generator = torch.Generator().manual_seed(seed)
    drawn = numbers[torch.randint(count, (_RESAMPLES, count), generator=generator)]
    stderr = float(drawn.quantile(0.5, dim=1).std()) if count > 1 else math.nan
    return Estimate(float(numbers.quantile(0.5)), stderr, count)


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
