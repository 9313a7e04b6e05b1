"""Quantiles over states, with intervals that allow for states of one episode being alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from gradlab.arguments import real_number, real_tensor
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.statistics.state_means import episode_numbers, state_mean

_RESAMPLES, _SEED = 200, 2_718_281


def state_quantile(
    values: Any, share: float = 0.5, episode: Any = None, reference: str = "", objective: str = ""
) -> Estimate:
    """The value below which a share of states lies, with an interval of order statistics.

    Of N independent states the number below the true quantile is binomial, whatever the distribution, which gives two
    order statistics that hold it (H. David, H. Nagaraja, *Order Statistics*, 2003, section 7.1). States of an episode
    are alike, so that N is divided by the design effect, that of the share of states below the quantile (E. Korn, B.
    Graubard 1998, for proportions; R. Woodruff 1952, for quantiles). Where the order statistic needed is beyond the
    largest value seen, the interval has no upper end: it is infinite. The standard error is the bootstrap's over
    episodes.

    Args:
        values: a number a state, [S]; states where it is NaN are left out.
        share: which quantile, between 0 and 1.
        episode: which episode each state was visited in, [S]; every state is its own sample when None.
        reference: what the number is measured against, in words.
        objective: the objective it belongs to, in words.

    Raises:
        GradlabError: the share is not between 0 and 1, or shapes do not fit.

    Example:
        >>> found = state_quantile(torch.arange(101.0), 0.9)
        >>> found.value, found.ends, state_quantile(torch.arange(11.0), 0.9).ends
        (90.0, (84.0, 96.0), (7.0, inf))
    """
    share, values = real_number("share", share, above=0.0), real_tensor("values", values)
    if share >= 1:
        raise GradlabError(f"share: {share:g}; a quantile's share lies between 0 and 1")
    if values.ndim != 1:
        raise GradlabError(f"values: shape {tuple(values.shape)}; give one a state, [S]")
    member = episode_numbers(episode, len(values))
    there = ~values.detach().cpu().isnan()
    numbers = values.detach().cpu().double()[there]
    group = torch.arange(len(numbers)) if member is None else member[there].unique(return_inverse=True)[1]
    if len(numbers) == 0:
        return Estimate(math.nan, math.nan, 0, reference, objective)
    ordered, order = numbers.sort()
    value = float(ordered.quantile(share))
    groups = int(group.max()) + 1
    if groups < 2:
        return Estimate(value, math.nan, groups, reference, objective)
    effective = _effective(numbers <= value, group, len(numbers), groups)
    low, high = quantile_ends(ordered, share, effective)
    stderr = _bootstrap(ordered, group[order], groups, share)
    return Estimate(value, stderr, groups, reference, objective, ends=(min(low, value), max(high, value)))


def _effective(below: Tensor, group: Tensor, states: int, groups: int) -> float:
    """How many independent states these amount to, no more than there are."""
    if groups == states:
        return float(states)
    found = state_mean(below.double(), group)
    plain = found.value * (1 - found.value)
    # Where all or none are below, nothing shows how alike the states of an episode are: episodes are what is counted.
    if plain == 0 or not found.stderr > 0:
        return float(groups)
    return min(plain / found.stderr**2, float(states))


def quantile_ends(ordered: Tensor, share: float, effective: float, level: float = 0.95) -> tuple[float, float]:
    """Order statistics of sorted values [S], worth ``effective`` independent ones, that hold the quantile.

    Example:
        >>> quantile_ends(torch.arange(1.0, 21.0), 0.5, 20.0)
        (6.0, 15.0)
    """
    count = max(round(effective), 1)
    states = len(ordered)
    low, high = (int(binom.ppf(tail, count, share)) for tail in ((1 - level) / 2, (1 + level) / 2))
    # X_(low) ≤ quantile < X_(high + 1) of `count` states; of more, those at the same share.
    lower = -math.inf if low < 1 else float(ordered[max(math.floor(low / count * states), 1) - 1])
    upper = math.inf if high + 1 > count else float(ordered[min(math.ceil((high + 1) / count * states), states) - 1])
    return lower, upper


def _bootstrap(ordered: Tensor, group: Tensor, groups: int, share: float) -> float:
    """Standard deviation of the quantile over resamples of whole episodes."""
    generator = np.random.default_rng(_SEED)
    drawn = generator.multinomial(groups, np.full(groups, 1 / groups), size=_RESAMPLES)
    weight = torch.from_numpy(drawn).double()[:, group].cumsum(1)
    total = weight[:, -1:]
    at = (weight < share * total).sum(1).clamp(max=len(ordered) - 1)
    return float(ordered[at][total[:, 0] > 0].std())
