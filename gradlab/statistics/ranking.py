"""Several estimators in the order of their errors, and which of them are told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.checked import check
from gradlab.statistics.comparison import Paired
from gradlab.statistics.states import errors_without_episodes
from gradlab.tangent import TangentKernel, tangent_kernel


@dataclass(frozen=True)
class Ranking:
    """Estimators by their mean squared error, smallest first.

    Attributes:
        order: names, the smallest point estimate first.
        mse: mean squared error of one minibatch gradient, by name: the point estimate.
        differences: (a, b) → MSE(a) − MSE(b), a before b in the order that they were given in.

    Example:
        >>> ranking = Ranking(("a", "b"), {"a": 1.0, "b": 2.0}, {("a", "b"): Estimate(-1.0, 0.1, 64)})
        >>> ranking.difference("b", "a").value, ranking.told_apart("a", "b")
        (1.0, True)
    """

    order: tuple[str, ...]
    mse: dict[str, float]
    differences: dict[tuple[str, str], Estimate]

    def difference(self, first: str, second: str) -> Estimate:
        """MSE(first) − MSE(second).

        Raises:
            GradlabError: they are not two of the ranking.
        """
        if (first, second) in self.differences:
            return self.differences[first, second]
        if (second, first) not in self.differences:
            raise GradlabError(f"ranking: no difference of {first!r} and {second!r}; it ranks {', '.join(self.order)}")
        return negated(self.differences[second, first])

    def told_apart(self, first: str, second: str) -> bool:
        """Whether the 95 % interval of their difference excludes zero."""
        return self.difference(first, second).resolved

    def __str__(self) -> str:
        best, *others = self.order
        lines = [f"{best}: MSE {self.mse[best]:.3g}"]
        lines += [f"{other}: {self.mse[other]:.3g}, {self.difference(other, best)} above it" for other in others]
        return "\n".join(lines)


def negated(estimate: Estimate) -> Estimate:
    """Minus a number that is symmetric or has ends.

    Example:
        >>> negated(Estimate(2.0, 0.5, 10, ends=(1.0, 4.0))).interval()
        (-4.0, -1.0)
    """
    ends = None if estimate.ends is None else (-estimate.ends[1], -estimate.ends[0])
    return Estimate(
        -estimate.value, estimate.stderr, estimate.samples, estimate.reference, estimate.objective, ends=ends,
        caveat=estimate.caveat,
    )  # fmt: skip


def rank(
    agent: Agent,
    obs: Any,
    draws: Mapping[str, Tensor],
    ref: ReferenceCotangent,
    *,
    episode: Tensor | None = None,
    kernel: TangentKernel | None = None,
    allow_mismatch: bool = False,
) -> Ranking:
    """Rank estimators by the mean squared error of one minibatch gradient, with an interval for each difference.

    Errors of different estimators are anything but independent: they share the states, the reference's noise and, with
    common random numbers, their own. So each difference has its own interval, that of ``gradlab.compare``: the
    jackknife over whole draws, of both estimators at once, and the reference's noise, of which only 4dᵀΩd with
    d = E g_a − E g_b is left. With ``episode`` the states' own sampling error is added to it, by the delete-one-episode
    jackknife of the difference, and the interval holds for the distribution of states; without it, for these states.
    Each interval is 95 % by itself: of many pairs that are equal one in twenty is told apart.

    Args:
        agent: the agent; neither changed nor given gradients. Pass a snapshot.
        obs: observations [B, n].
        draws: name → cotangents [D, B, m], four or more, the d-th of all of them from the same random numbers
            (``gradlab.statistics.paired.common_draws``).
        ref: the reference at the same states.
        episode: which episode each state belongs to, [B] integers.
        kernel: ``tangent_kernel(agent, obs)``, full, to share it.
        allow_mismatch: compare with a reference for another objective all the same, and say so.

    Raises:
        GradlabError: fewer than two estimators or four draws, or what ``gradient_error`` raises.

    Example:
        >>> import torch
        >>> from gradlab.objective import Objective
        >>> agent = Agent(torch.nn.Linear(1, 1, bias=False), [], action_low=[-1], action_high=[1])
        >>> truth = torch.ones(1, 1, dtype=torch.float64)
        >>> ref = ReferenceCotangent(truth, torch.zeros_like(truth), "truth", Objective())
        >>> noise = torch.randn(64, 1, 1, generator=torch.Generator().manual_seed(0))
        >>> ranking = rank(agent, torch.ones(1, 1), {"loud": 1 + 3 * noise, "quiet": 1 + noise}, ref)
        >>> ranking.order, ranking.told_apart("loud", "quiet")
        (('quiet', 'loud'), True)
    """
    sizes = {len(v) for v in draws.values()}
    if len(draws) < 2 or len(sizes) != 1 or min(sizes) < 4:
        raise GradlabError(
            f"rank: {len(draws)} estimators with {sorted(sizes)} draws; give two or more, with as many draws each, "
            "at least four"
        )
    obs = agent.observations(obs)
    kernel = kernel or tangent_kernel(agent, obs)
    given = {name: check(agent, obs, v, ref, kernel=kernel, allow_mismatch=allow_mismatch) for name, v in draws.items()}
    without: dict[str, Tensor] = {}
    if episode is not None:
        without = {name: errors_without_episodes(kernel, v, ref, episode) for name, v in draws.items()}
    mse: dict[str, float] = {}
    differences: dict[tuple[str, str], Estimate] = {}
    for first, second in combinations(given, 2):
        pair = Paired(given[first], given[second])
        mse[first], mse[second] = (whole for whole, _ in pair.mse)
        found = pair.difference
        if without:
            apart = without[first] - without[second]
            count = len(apart)
            spread = (count - 1) / count * float((apart - apart.mean()).square().sum()) if count > 1 else math.nan
            found = found.widened(math.sqrt(spread), count)
        differences[first, second] = found
    return Ranking(tuple(sorted(mse, key=mse.__getitem__)), mse, differences)
