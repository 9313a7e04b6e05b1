"""Means and shares over states, with intervals that hold for the distribution the states came from."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradlab.arguments import shown
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.bounded import bounded_mean
from gradlab.statistics.by_episode import EpisodeSums


def state_mean(
    values: Tensor,
    episode: Any = None,
    reference: str = "",
    objective: str = "",
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> Estimate:
    """The mean of a number per state, [S]; its interval allows for skewness and heavy tails.

    States where the number is NaN, which is how "there is none here" is said, are left out. The interval comes from
    how the states scatter, so it is a point where all agree: it is for numbers that vary from state to state. For
    counts there is ``count_mean``, for numbers with bounds ``bounded_state_mean``.

    Args:
        values: the number, [S], of any real dtype or bool.
        episode: which episode each state was visited in, [S] integers; every state is its own sample when None.
        reference: what the number is measured against, in words.
        objective: the objective it belongs to, in words.
        least: the least that the mean can be, such as 0 of a gap: the interval ends there.
        most: the most, likewise.

    Returns:
        The mean, in float64, with the delete-one-episode jackknife's standard error; NaN where no state is left.

    Raises:
        GradlabError: ``values`` is not [S], or ``episode`` not one number a state.

    Example:
        >>> print(state_mean(torch.tensor([1.0, 2.0, float("nan"), 3.0, 4.0])).value)
        2.5
    """
    numbers, member = _seen(values, episode)
    if len(numbers) == 0:
        return Estimate(math.nan, math.nan, 0, reference, objective)
    sums = EpisodeSums.of({"x": numbers}, member, reference, objective)
    found = sums.estimate(lambda s: s["x"] / s["count"])
    if found.ends is None:
        return found
    low, high = (min(max(end, least), most) for end in found.ends)
    return replace(found, ends=(low, high))


def bounded_state_mean(
    values: Tensor, episode: Any = None, reference: str = "", objective: str = "", *, least: float, most: float
) -> Estimate:
    """The mean of a number per state with bounds, [S]; its interval, of ``bounded_mean``, has a width where all agree.

    Args:
        values: the number, [S], of any real dtype or bool; states where it is NaN are left out.
        episode: which episode each state was visited in, [S] integers; every state is its own sample when None.
        reference: what the number is measured against, in words.
        objective: the objective it belongs to, in words.
        least: the least that the number can be in any state, and not above what was seen.
        most: the most, likewise.

    Raises:
        GradlabError: shapes do not fit, or a number is beyond its bounds.

    Example:
        >>> low, high = bounded_state_mean(torch.zeros(64), least=0.0, most=0.5).interval()
        >>> low, round(high, 2)
        (0.0, 0.03)
    """
    numbers, member = _seen(values, episode)
    if len(numbers) == 0:
        return Estimate(math.nan, math.nan, 0, reference, objective)
    bottom, top = torch.tensor([[least], [most]], dtype=torch.float64)
    mean, stderr, ends, samples = bounded_mean(numbers[:, None], bottom, top, member)
    low, high = (float(end) for end in ends[:, 0])
    return Estimate(float(mean[0]), float(stderr[0]), samples, reference, objective, ends=(low, high))


def count_mean(
    counts: Tensor, episode: Any = None, reference: str = "", objective: str = "", *, least: float = 0.0
) -> Estimate:
    """The mean of a count per state, [S], which may be the same in most of them.

    How states scatter says little of counts: where one state in a hundred has a second optimum, half of all samples of
    64 states show none. The interval is that of ``bounded_mean``. Nothing bounds a count from above, so it is
    *assumed* that no state has more than the largest count seen plus one. Where rare states have many more, the upper
    end is too low, whatever the method; n states that all agree exclude one more in a share of 1 − .025^{1/n} of the
    states (6 % at 64, 41 % at 7).

    Args:
        counts: the count, [S], of any real dtype or bool; states where it is NaN are left out.
        episode: which episode each state was visited in, [S] integers; every state is its own sample when None.
        reference: what the number is measured against, in words.
        objective: the objective it belongs to, in words.
        least: the least that the count can be in any state.

    Raises:
        GradlabError: shapes do not fit, or a count is below the least.

    Example:
        >>> low, high = count_mean(torch.ones(64), least=1).interval()
        >>> low, round(high, 2)
        (1.0, 1.06)
    """
    largest = float(_seen(counts, episode)[0].max()) if counts.numel() and not bool(counts.isnan().all()) else least
    return bounded_state_mean(counts, episode, reference, objective, least=least, most=largest + 1)


def optima_mean(counts: Tensor, episode: Any = None, reference: str = "", objective: str = "") -> Estimate:
    """The mean number of optima of a critic, [S], by ``count_mean``.

    A continuous Q has a highest optimum unless its top is level, as where it is constant. Where every state seen has
    one, every state is taken to: the interval starts at 1. Otherwise, and of persistences above 1, at 0.

    Raises:
        GradlabError: shapes do not fit, or a count is negative.
    """
    least = 1.0 if counts.numel() and bool((counts >= 1).all()) else 0.0
    return count_mean(counts, episode, reference, objective, least=least)


def episode_numbers(episode: Any, states: int) -> Tensor | None:
    """Which episode each of S states is from, [S], from a tensor, an array or a list; None stays None.

    Raises:
        GradlabError: there is not one number a state.
    """
    if episode is None:
        return None
    try:
        numbers = torch.as_tensor(episode).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise GradlabError(f"episode: {shown(episode)}; give one whole number a state, [S]") from None
    if numbers.shape != (states,):
        what = f"{len(numbers)} numbers" if numbers.ndim == 1 else f"shape {tuple(numbers.shape)}"
        raise GradlabError(f"episode: {what} for {states} states; give one each")
    return numbers


def _seen(values: Tensor, episode: Any) -> tuple[Tensor, Tensor]:
    """The numbers that are there, float64, and their episodes."""
    if episode is not None:
        try:
            episode = torch.as_tensor(episode)
        except (TypeError, ValueError, RuntimeError):
            raise GradlabError(f"episode: {shown(episode)}; give one whole number a state, [S]") from None
    if values.ndim != 1 or (episode is not None and episode.shape != values.shape):
        got = "" if episode is None else f" and episodes {tuple(torch.as_tensor(episode).shape)}"
        raise GradlabError(f"means over states: values {tuple(values.shape)}{got}; give one of each a state, [S]")
    numbers = values.detach().cpu().double()
    member = torch.arange(len(numbers)) if episode is None else torch.as_tensor(episode).cpu()
    there = ~numbers.isnan()
    return numbers[there], member[there]


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
