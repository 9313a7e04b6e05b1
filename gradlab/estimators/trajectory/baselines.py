"""Baselines of score-function estimators along episodes; none of them changes what is expected."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.episode_gradients import gradient_chunks
from gradlab.errors import GradlabError
from gradlab.trajectories import Trajectories


class Parts(NamedTuple):
    """What an estimator is made of at every step, before its baseline.

    Attributes:
        psi: Ψ_t, [N].
        scores: w_t ∇_h log π_h(a_t|s_t), with the weight inside, [N, m].
    """

    psi: Tensor
    scores: Tensor


class Baseline(ABC):
    """What is subtracted from Ψ_t: [N, 1], or [N, m] where head coordinates have their own."""

    #: What it adds to an estimator's name.
    suffix: str = ""
    #: How many consecutive episodes share a baseline, so that together they are one sample; None for all of them.
    group: int | None = 1

    @abstractmethod
    def at(self, agent: Agent, trajectories: Trajectories, parts: Parts, of: Callable[[Trajectories], Parts]) -> Tensor:
        """The baseline at every step, [N, 1] or [N, m]; ``of`` gives the same parts for other episodes."""


class Constant(Baseline):
    """One number b for every step; 0 is none."""

    def __init__(self, value: float) -> None:
        if not math.isfinite(value):
            raise GradlabError(f"baseline: {value} is not finite; pass a number")
        self.value = float(value)
        self.suffix = "-constant-baseline" if value else ""

    def at(self, agent: Agent, trajectories: Trajectories, parts: Parts, of: Callable[[Trajectories], Parts]) -> Tensor:
        """The number."""
        return torch.full_like(parts.psi, self.value)[:, None]


class ValueBaseline(Baseline):
    """A function b(s_t) of the state.

    Args:
        value: observations [N, n] → [N].
    """

    suffix = "-value-baseline"

    def __init__(self, value: Callable[[Tensor], Tensor]) -> None:
        self.value = value

    def at(self, agent: Agent, trajectories: Trajectories, parts: Parts, of: Callable[[Trajectories], Parts]) -> Tensor:
        """The function at s_t."""
        out = self.value(agent.observations(trajectories.obs)).detach()
        if out.numel() != len(parts.psi) or not bool(torch.isfinite(out).all()):
            raise GradlabError(
                f"baseline: gave shape {tuple(out.shape)} with {int((~torch.isfinite(out)).sum())} NaN or infinite "
                f"values for {len(parts.psi)} states; it must give one finite number each"
            )
        return out.to(parts.psi).reshape(-1, 1)


class LeaveOneOut(Baseline):
    """The mean of Ψ_t at the same step over the *other* episodes of a group that last that long; 0 if none does.

    It does not depend on the episode it is subtracted from, so nothing is biased. The episodes of a group are
    however correlated: for REINFORCE the covariance of two gradients in a group of K is ‖∇J‖²/(K−1)². Whole groups are
    the independent samples; averages over a group are what ``trajectory_error(..., group=K)`` compares.
    Source: Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".

    Args:
        episodes: K ≥ 2, consecutive episodes of a group; None makes one group of all.

    Raises:
        GradlabError: on use, when the episodes do not divide into such groups.
    """

    suffix = "-leave-one-out"

    def __init__(self, episodes: int | None = None) -> None:
        if episodes is not None and episodes < 2:
            raise GradlabError(f"leave-one-out: groups of {episodes}; two episodes are the fewest to leave one out of")
        self.group = episodes

    def at(self, agent: Agent, trajectories: Trajectories, parts: Parts, of: Callable[[Trajectories], Parts]) -> Tensor:
        """The mean of the others."""
        size = self.group or trajectories.count
        if size < 2 or trajectories.count % size:
            raise GradlabError(
                f"leave-one-out: {trajectories.count} episodes do not make groups of {max(size, 2)}; "
                "give a multiple of it"
            )
        table = trajectories.padded(torch.stack([parts.psi, torch.ones_like(parts.psi)], dim=-1))
        groups = table.unflatten(0, (-1, size))
        others = (groups.sum(1, keepdim=True) - groups).flatten(0, 1)
        mean = others[..., 0] / others[..., 1].clamp_min(1)
        return trajectories.flattened(mean)[:, None]


class OptimalBaseline(Baseline):
    """The constant that makes the variance of an episode's gradient in parameter space the smallest.

    With G = Σ_t w_t Ψ_t J_tᵀ∇log π and S = Σ_t w_t J_tᵀ∇log π of one episode, E‖G − bS‖² is least for
    b = E[G·S]/E[S·S]; for REINFORCE, where G = R S, that is E[‖g‖²R]/E[‖g‖²] with g = ∇_θ log p(episode).
    It is not the mean return: the squared score weighs the returns. With
    ``per_component`` every head coordinate k has its own b_k: S splits into
    the S_k that reach the parameters through coordinate k, and b solves Σ_l E[S_k·S_l] b_l = E[G·S_k]; where each
    parameter belongs to one coordinate that is E[‖g_k‖²R]/E[‖g_k‖²].
    Sources: Greensmith, Bartlett, Baxter 2004, section 4; Peters, Schaal 2008, section 3.2.

    Args:
        pilot: other episodes of the same policy to take the expectations from: the coefficients are then constants,
            the episodes stay independent, nothing is biased. None leaves one out instead: an episode's coefficients
            come from all the others, which is unbiased too, but makes all episodes one correlated group.
        per_component: one b for each head coordinate.

    Raises:
        GradlabError: on use, when there are too few episodes.
    """

    def __init__(self, pilot: Trajectories | None = None, *, per_component: bool = False) -> None:
        self.pilot, self.per_component = pilot, per_component
        self.group = None if pilot is None else 1
        self.suffix = "-optimal-baseline" + ("-per-component" if per_component else "")

    def at(self, agent: Agent, trajectories: Trajectories, parts: Parts, of: Callable[[Trajectories], Parts]) -> Tensor:
        """The coefficients, the same at every step of an episode."""
        if self.pilot is None:
            if trajectories.count < 2:
                raise GradlabError("optimal baseline: one episode leaves none out; give two or more, or a pilot")
            products, target = self._sums(agent, trajectories, parts)
            products, target = products.sum(0) - products, target.sum(0) - target
        else:
            products, target = (x.sum(0) for x in self._sums(agent, self.pilot, of(self.pilot)))
        # A coordinate whose parameters are frozen has no score in parameter space, and any coefficient will do.
        best: Tensor = (torch.linalg.pinv(products, hermitian=True) @ target[..., None])[..., 0]
        per_step = best[trajectories.trajectory] if self.pilot is None else best.expand(len(parts.psi), -1)
        return per_step.to(parts.psi)

    def _sums(self, agent: Agent, trajectories: Trajectories, parts: Parts) -> tuple[Tensor, Tensor]:
        """S_k·S_l and G·S_k of each episode, [R, F, F] and [R, F], float64."""
        masks = torch.eye(parts.scores.shape[1]).to(parts.scores)
        features = [parts.scores * mask for mask in masks] if self.per_component else [parts.scores]
        vectors = [parts.psi[:, None] * parts.scores, *features]
        chunks = zip(*(gradient_chunks(agent, trajectories, v) for v in vectors), strict=True)
        products, targets = [], []
        for chunk in chunks:
            gradient, *scores = (part.double() for _, part in chunk)
            stacked = torch.stack(scores, dim=1)
            products.append(stacked @ stacked.mT)
            targets.append((stacked @ gradient[..., None])[..., 0])
        return torch.cat(products), torch.cat(targets)


#: "none", a number, a function of observations, "leave-one-out", "optimal", "optimal-per-component", or a Baseline.
BaselineLike = (
    Literal["none", "leave-one-out", "optimal", "optimal-per-component"] | float | Callable[[Tensor], Tensor] | Baseline
)


def as_baseline(baseline: BaselineLike) -> Baseline:
    """A baseline out of what a user writes: the optimal ones leave one episode out unless made with a pilot.

    Raises:
        GradlabError: it is none of these.

    Example:
        >>> as_baseline(3.0).suffix, as_baseline("leave-one-out").group
        ('-constant-baseline', None)
    """
    if isinstance(baseline, Baseline):
        return baseline
    if isinstance(baseline, (int, float)):
        return Constant(baseline)
    if callable(baseline):
        return ValueBaseline(baseline)
    named: dict[str, Callable[[], Baseline]] = {
        "none": lambda: Constant(0.0),
        "leave-one-out": LeaveOneOut,
        "optimal": OptimalBaseline,
        "optimal-per-component": lambda: OptimalBaseline(per_component=True),
    }
    if baseline not in named:
        raise GradlabError(f"baseline: {baseline!r} is none of {sorted(named)}, a number or a function of observations")
    return named[baseline]()
