"""What an error at fixed states says of all states: intervals over the episodes the states were visited in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.error import GradientError
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.products import all_same
from gradlab.references.base import ReferenceCotangent
from gradlab.tangent import TangentKernel, tangent_kernel


@dataclass(frozen=True)
class _Sums:
    """Inner products of the mean gradient, its error and the reference, of all states or with an episode left out."""

    gradient: Tensor  # ‖g‖²
    reference: Tensor  # ‖r‖²
    cross: Tensor  # g·r
    error: Tensor  # ‖g − r‖²
    variance: Tensor  # tr Var of one draw's minibatch gradient


_STATISTICS: dict[str, Callable[[_Sums], Tensor]] = {
    "bias_squared": lambda s: s.error,
    "variance": lambda s: s.variance,
    "mse": lambda s: s.error + s.variance,
    "cosine": lambda s: s.cross / (s.gradient * s.reference).sqrt(),
    "norm_ratio": lambda s: (s.gradient / s.reference).sqrt(),
    "snr": lambda s: s.gradient / s.variance,
    "reference_norm_squared": lambda s: s.reference,
}


def over_states(
    error: GradientError,
    agent: Agent,
    obs: Any,
    v: Tensor,
    ref: ReferenceCotangent,
    episode: Tensor,
    *,
    kernel: TangentKernel | None = None,
) -> GradientError:
    """The same error with intervals that hold for the distribution of states, not only for these states.

    ``gradient_error`` answers for one minibatch: a deterministic estimator against an exact reference has no error
    left there, however few states were looked at. Here the states' own sampling error is added in quadrature, by
    the delete-one-episode jackknife (states of one episode are not independent), and the number of samples becomes
    the number of episodes. The values stay what they are.

    Args:
        error: ``gradient_error(agent, obs, v, ref)``.
        agent: the agent.
        obs: observations [B, n].
        v: the cotangents [D, B, m] that ``error`` is of.
        ref: the reference that ``error`` is against.
        episode: which episode each state belongs to, [B] integers.
        kernel: ``tangent_kernel(agent, obs)``, full, to share it.

    Raises:
        GradlabError: the kernel is not full, shapes do not fit, or the reference is not the error's.

    Example:
        >>> from gradlab.error import gradient_error
        >>> from gradlab.objective import Objective
        >>> agent = Agent(torch.nn.Linear(1, 1), [], action_low=[-1], action_high=[1])
        >>> obs, truth = torch.randn(8, 1, generator=torch.Generator().manual_seed(0)), torch.ones(8, 1).double()
        >>> ref = ReferenceCotangent(truth, torch.zeros_like(truth), "truth", Objective())
        >>> v = (1 + 0.5 * obs).expand(4, 8, 1)
        >>> fixed = gradient_error(agent, obs, v, ref)
        >>> wider = over_states(fixed, agent, obs, v, ref, torch.arange(8))
        >>> fixed.cosine.stderr < 1e-6, wider.cosine.stderr > 1e-3, wider.cosine.samples
        (True, True, 8)
    """
    obs = agent.observations(obs)
    if ref.name != error.mse.reference or ref.mean.shape != v.shape[1:]:
        raise GradlabError(
            f"over_states: the error is against {error.mse.reference} but the reference is {ref.name} "
            f"{tuple(ref.mean.shape)}, and the cotangents are {tuple(v.shape)}; give what gradient_error was given"
        )
    kernel = kernel or tangent_kernel(agent, obs)
    if kernel.matrix is None or len(episode) != len(obs):
        raise GradlabError(f"over_states: needs a full tangent kernel and one episode for each of {len(obs)} states")
    keep, truth, episode = (part.to(obs.device) for part in (ref.valid, ref.mean, episode))
    kernel = kernel if bool(keep.all()) else kernel.select(keep)
    draws = v.detach().to(obs.device, torch.float64)[:, keep]
    sums, count = _leave_out(kernel, draws, truth[keep].double(), episode[keep])
    without = {name: statistic(sums) for name, statistic in _STATISTICS.items()}
    without |= _cosines_left_out(kernel, draws, truth[keep].double(), episode[keep])
    widened: dict[str, Any] = {}
    for name, values in without.items():
        estimate: Estimate = getattr(error, name)
        jackknife = float((count - 1) / count * (values - values.mean()).square().sum()) if count > 1 else math.nan
        widened[name] = estimate.widened(math.sqrt(jackknife), count)
    return replace(error, **widened)


def errors_without_episodes(kernel: TangentKernel, v: Tensor, ref: ReferenceCotangent, episode: Tensor) -> Tensor:
    """The mean squared error of one minibatch gradient with each episode left out, [episodes], float64.

    As ``over_states`` has it: biased by the draws' own noise, which is the same whichever episode is left out, so that
    it is for the spread over episodes.

    Args:
        kernel: ``tangent_kernel(agent, obs)``, full.
        v: cotangents [D, B, m].
        ref: the reference; states where it is not valid are left out.
        episode: which episode each state belongs to, [B] integers.

    Raises:
        GradlabError: the kernel is not full, or there is not one episode for each state.

    Example:
        >>> from gradlab.objective import Objective
        >>> kernel = TangentKernel(torch.ones(2, 1, 1), torch.eye(2).double())
        >>> ref = ReferenceCotangent(torch.zeros(2, 1), torch.zeros(2, 1), "none", Objective())
        >>> errors_without_episodes(kernel, torch.tensor([[[1.0], [3.0]]]), ref, torch.arange(2)).tolist()
        [9.0, 1.0]
    """
    if kernel.matrix is None or len(episode) != kernel.states:
        raise GradlabError(
            f"episodes: needs a full tangent kernel and one episode for each of its {kernel.states} states, "
            f"there are {len(episode)}"
        )
    keep, truth, episode = (part.to(kernel.blocks.device) for part in (ref.valid, ref.mean, episode))
    kernel = kernel if bool(keep.all()) else kernel.select(keep)
    draws = v.detach().to(kernel.blocks)[:, keep]
    sums, _ = _leave_out(kernel, draws, truth[keep].double(), episode[keep])
    return sums.error + sums.variance


def _leave_out(kernel: TangentKernel, v: Tensor, r: Tensor, episode: Tensor) -> tuple[_Sums, int]:
    """The sums with each episode left out, [episodes], and how many there are."""
    labels, member = episode.unique(return_inverse=True)
    count, states = len(labels), len(r)
    groups = torch.nn.functional.one_hot(member, count).double()
    left = states - groups.sum(0)
    mean = v.mean(0)

    def without(a: Tensor, b: Tensor) -> Tensor:
        # Σ a_iᵀ K_ij b_j between any two episodes; leaving one out takes its row and its column off.
        per_state = (kernel.product(b * groups.T[:, :, None]) * a).sum(-1)
        between = per_state @ groups
        return (between.sum() - between.sum(0) - between.sum(1) + between.diagonal()) / left**2

    spread = torch.zeros(states, dtype=torch.float64, device=r.device)
    if len(v) > 1:
        centred = v - mean
        spread = torch.einsum("dim,imn,din->i", centred, kernel.blocks, centred) / (len(v) - 1)
    sums = _Sums(
        gradient=without(mean, mean),
        reference=without(r, r),
        cross=without(mean, r),
        error=without(mean - r, mean - r),
        variance=(spread.sum() - groups.T @ spread) / left / states,
    )
    return sums, count


def _cosines_left_out(kernel: TangentKernel, v: Tensor, r: Tensor, episode: Tensor) -> dict[str, Tensor]:
    """Mean cosines of single draws with the reference and with each other, with each episode left out, [episodes]."""
    v = v[:1] if all_same(v) else v
    vectors = torch.cat([v, r[None]])
    products = kernel.product(vectors)
    whole = vectors.flatten(1) @ products.flatten(1).T
    minibatch, pairwise = [], []
    for label in episode.unique():
        inside = episode == label
        # Inner products of gradients without the episode: its rows and its columns go, its own block was taken twice.
        part, row = vectors[:, inside], products[:, inside].flatten(1) @ vectors[:, inside].flatten(1).T
        gram = whole - row - row.T + part.flatten(1) @ kernel.select(inside).product(part).flatten(1).T
        lengths = gram.diagonal().clamp_min(0).sqrt()
        cosines = gram / lengths[:, None] / lengths[None, :]
        minibatch.append(cosines[-1, :-1].mean())
        alike, draws = cosines[:-1, :-1], len(v)
        pairs = (alike.sum() - alike.trace()) / (draws * (draws - 1)) if draws > 1 else torch.ones_like(alike[0, 0])
        pairwise.append(pairs)
    return {"minibatch_cosine": torch.stack(minibatch), "pairwise_cosine": torch.stack(pairwise)}
