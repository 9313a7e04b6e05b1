"""How regular a critic's action-gradient field is around states: PAVE's three terms and the share of maxima."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, real_tensor, whole_number
from gradlab.curvature.measured import Sensitivity
from gradlab.curvature.sensitivity import sensitivity
from gradlab.curvature.supremum import LargestSeen, largest_seen
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.evaluation_mode import in_evaluation
from gradlab.hessians.differences import action_gradient
from gradlab.statistics.state_means import episode_numbers, state_mean, state_share

#: Signs of this many coordinates are all gone through; of more, this many vectors are drawn.
_ALL_SIGNS, _DRAWN_SIGNS = 10, 512


@dataclass(frozen=True)
class FieldRegularity:
    """What PAVE's losses are in each state, float64, and M, whose supremum its bound takes.

    Attributes:
        mixed_partial: E_ε‖∇_a Q(s + ε, a) − ∇_a Q(s, a)‖², ε ~ N(0, σ²I), the mean of the draws, [B].
        consistency: ‖∇_a Q(s, a) − ∇_a Q(s', a')‖², [B]; NaN where no next state was given.
        curvature_hinge: E_v max(0, vᵀ∇²_aa Q v + δ), v of random signs, [B].
        negative_definite: whether ∇²_aa Q is, [B], bool.
        mixed_norm: M = ‖∇²_as Q‖₂, [B].
        episode: which episode each state was visited in, [B]; None where each is its own sample.
        sigma: σ, in observation units.
        delta: δ.
        scale: the length at which second derivatives were taken, None when exact.
        objective: what Q is a value of, in words.
    """

    mixed_partial: Tensor
    consistency: Tensor
    curvature_hinge: Tensor
    negative_definite: Tensor
    mixed_norm: Tensor
    episode: Tensor | None
    sigma: float
    delta: float
    scale: float | None
    objective: str = field(default="", repr=False)

    def means(self) -> dict[str, Estimate]:
        """Means over states with intervals over episodes; ``negative_definite`` is a share, with Wilson's interval."""
        numbers = {
            "mixed_partial": self.mixed_partial,
            "consistency": self.consistency,
            "curvature_hinge": self.curvature_hinge,
        }
        found = {
            name: state_mean(values, self.episode, objective=self.objective, least=0.0)
            for name, values in numbers.items()
        }
        found["negative_definite"] = state_share(self.negative_definite, self.episode, objective=self.objective)
        return found

    def largest_mixed_norm(self, shares: tuple[float, ...] = (0.5, 0.9, 0.99)) -> LargestSeen:
        """M_sup as far as it was seen: the largest M of these states, a lower bound, and high quantiles."""
        return largest_seen(self.mixed_norm, self.episode, shares, objective=self.objective)


def field_regularity(
    agent: Agent,
    obs: Any,
    scale: float | None = None,
    *,
    act: Any = None,
    next_obs: Any = None,
    next_act: Any = None,
    episode: Any = None,
    sigma: float = 0.01,
    delta: float = 1.0,
    draws: int = 32,
    critic: int | None = None,
    seed: int = 0,
    geometry: Sensitivity | None = None,
) -> FieldRegularity:
    """PAVE's regularisers as measurements (arXiv 2601.22970), of the critic the actor follows.

    The same numbers as ``gradlab.curvature.losses`` in expectation, per state: second derivatives are exact or at a
    scale instead of sampled, and the signs of up to ten action coordinates are all gone through.

    Args:
        agent: the agent; measured on a float64 snapshot.
        obs: observations [B, n].
        scale: None for exact second derivatives, or the step of differences in action units; see ``sensitivity``. A
            piecewise-linear critic has second derivatives at a scale only.
        act: actions [B, p]; the actor's when None.
        next_obs: the observations that followed, [B, n], rows of NaN where an episode ended; None to leave
            ``consistency`` out.
        next_act: the actions there, [B, p], for the change along the trajectory; ``act`` when None, as in PAVE.
        episode: which episode each state was visited in, [B]: the independent samples.
        sigma: standard deviation σ of the disturbance, in observation units.
        delta: the hinge's margin δ.
        draws: disturbances of each state.
        critic: index of one critic instead of the one the actor follows.
        seed: of the draws.
        geometry: what ``sensitivity`` found at these states and of this critic, to save doing it again; its scale and
            its actions are then taken instead of ``scale`` and ``act``.

    Raises:
        GradlabError: as ``sensitivity`` raises; there is no ∂/∂s, ``geometry`` is of other states, a shape does not
            fit, or a number is out of range.

    Example:
        >>> class Bowl(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return -(act - 3 * obs).square().sum(-1)
        >>> agent = Agent(torch.nn.Linear(1, 1), [Bowl()], [-1.0], [1.0])
        >>> found = field_regularity(agent, torch.zeros(4, 1), next_obs=torch.ones(4, 1), delta=3.0)
        >>> found.consistency[0].item(), found.curvature_hinge[0].item(), found.mixed_norm[0].item()
        (36.0, 1.0, 6.0)
    """
    sigma, delta = real_number("sigma", sigma, above=0.0), real_number("delta", delta)
    draws, seed = whole_number("draws", draws, 1), whole_number("seed", seed, 0)
    states = agent.observations(obs).double()
    member = episode_numbers(episode, len(states))
    double = in_evaluation(agent).snapshot(double=True)
    if geometry is None:
        at = double.action(states).detach() if act is None else _rows("act", act, states, agent.action_size)
        geometry = sensitivity(agent, states, scale, act=at, critic=critic, matrices=True)
    hessian, _ = geometry.matrices()
    at = _rows("geometry", geometry.actions, states, agent.action_size)
    generator = torch.Generator().manual_seed(seed)
    here = action_gradient(double, states, at, critic)

    change = torch.zeros(len(states), dtype=torch.float64, device=states.device)
    for _ in range(draws):
        noise = torch.randn(states.shape, generator=generator, dtype=torch.float64).to(states)
        change += (action_gradient(double, states + sigma * noise, at, critic) - here).square().sum(-1)

    consistency = torch.full_like(change, math.nan)
    if next_obs is not None:
        following = _rows("next_obs", next_obs, states, states.shape[1])
        after = at if next_act is None else _rows("next_act", next_act, states, agent.action_size)
        there = torch.isfinite(torch.cat([following, after], -1)).all(-1)
        if bool(there.any()):
            moved = action_gradient(double, following[there], after[there], critic)
            consistency[there] = (moved - here[there]).square().sum(-1)
    elif next_act is not None:
        raise GradlabError("next_act: given without next_obs; give both, or neither")
    return FieldRegularity(
        change / draws,
        consistency,
        _hinge(hessian, delta, generator),
        geometry.valid,
        geometry.mixed_partial,
        member,
        sigma,
        delta,
        geometry.scale,
        str(agent.objective),
    )


def _rows(name: str, given: Any, states: Tensor, size: int) -> Tensor:
    found = real_tensor(name, given).detach().to(states)
    if found.shape != (len(states), size):
        raise GradlabError(f"{name}: shape {tuple(found.shape)}; expected {(len(states), size)}")
    return found


def _hinge(hessian: Tensor, delta: float, generator: torch.Generator) -> Tensor:
    """E_v max(0, vᵀHv + δ) over signs v: [B, p, p] → [B]; exact for a few coordinates."""
    size = hessian.shape[-1]
    if size <= _ALL_SIGNS:
        # v and −v give the same.
        vectors = torch.tensor([(1.0, *rest) for rest in itertools.product((-1.0, 1.0), repeat=size - 1)]).to(hessian)
    else:
        vectors = torch.randint(0, 2, (_DRAWN_SIGNS, size), generator=generator).to(hessian) * 2 - 1
    along = torch.einsum("vi,bij,vj->bv", vectors, hessian, vectors)
    return (along + delta).clamp_min(0).mean(-1)
