"""Means and shares over states, with intervals that hold for the distribution the states came from."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.statistics.by_episode import EpisodeSums


def state_mean(
    values: Tensor, episode: Any = None, reference: str = "", objective: str = "", *, least: float = -math.inf
) -> Estimate:
    """The mean of a number per state, [S]; its interval allows for skewness and heavy tails.

    States where the number is NaN, which is how "there is none here" is said, are left out.

    Args:
        values: the number, [S], of any real dtype or bool.
        episode: which episode each state was visited in, [S] integers; every state is its own sample when None.
        reference: what the number is measured against, in words.
        objective: the objective it belongs to, in words.
        least: the least that the mean can be, such as 0 of a gap or a count: the interval ends there.

    Returns:
        The mean, in float64, with the delete-one-episode jackknife's standard error; NaN where no state is left.

    Raises:
        GradlabError: ``values`` is not [S], or ``episode`` not one number a state.

    Example:
        >>> print(state_mean(torch.tensor([1.0, 2.0, float("nan"), 3.0, 4.0])).value)
        2.5
    """
    if values.ndim != 1 or (episode is not None and torch.as_tensor(episode).shape != values.shape):
        got = "" if episode is None else f" and episodes {tuple(torch.as_tensor(episode).shape)}"
        raise GradlabError(f"means over states: values {tuple(values.shape)}{got}; give one of each a state, [S]")
    numbers = values.detach().cpu().double()
    member = torch.arange(len(numbers)) if episode is None else torch.as_tensor(episode).cpu()
    there = ~numbers.isnan()
    if not bool(there.any()):
        return Estimate(math.nan, math.nan, 0, reference, objective)
    sums = EpisodeSums.of({"x": numbers[there]}, member[there], reference, objective)
    found = sums.estimate(lambda s: s["x"] / s["count"])
    if found.ends is None:
        return found
    return replace(found, ends=(max(found.ends[0], least), max(found.ends[1], least)))


def state_share(holds: Tensor, episode: Any = None, reference: str = "", objective: str = "") -> Estimate:
    """The share of states where something holds, or the mean of a share per state, [S]; arguments as ``state_mean``.

    Wilson's interval: it stays inside [0, 1] and has a width where all states agree.

    Raises:
        GradlabError: shapes do not fit.

    Example:
        >>> low, high = state_share(torch.zeros(30)).interval()
        >>> low, round(high, 2)
        (0.0, 0.12)
    """
    found = state_mean(holds, episode, reference, objective)
    return replace(found, scale="share", ends=None)
