"""The nested analysis of variance behind a split: its parts, with each group of states left out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.confidence import skewed_interval, variance_interval
from gradlab.inference.intervals import Interval, sum_interval
from gradlab.products import check_cotangents, kernel_product
from gradlab.tangent import TangentKernel, tangent_kernel


@dataclass(frozen=True)
class LeftOutParts:
    """The parts of a variance split by name: of all groups of states, and with each left out.

    Attributes:
        value: name → number.
        without: name → [groups].
        groups: number of groups.
        states: number of states.
        shape: actions and trajectories at a state; trajectories 0 where there is no such dimension.
        each: name → [groups], the sample variances that the action and trajectory parts are means of: of the draws'
            means over trajectories, and of trajectories.
    """

    value: dict[str, float]
    without: dict[str, Tensor]
    groups: int
    states: int
    shape: tuple[int, int]
    each: dict[str, Tensor]

    def covariance(self, a: str, b: str) -> float:
        """Of two parts, by the jackknife; NaN for fewer than three groups."""
        if self.groups < 3:
            return math.nan
        one, two = (self.without[name] - self.without[name].mean() for name in (a, b))
        return (self.groups - 1) / self.groups * float(one @ two)

    def estimate(self, name: str) -> Estimate:
        """One part, with the jackknife's standard error."""
        value, stderr = self.value[name], math.sqrt(self.covariance(name, name))
        ends = self._ends(name, value, stderr) if math.isfinite(value + stderr) else None
        return Estimate(value, stderr, self.groups, ends=ends)

    def _ends(self, name: str, value: float, stderr: float) -> Interval | None:
        """Sample variances are skewed; so are the action and state parts, differences of two."""
        if name == "gradient_squared":
            return skewed_interval(value, stderr, self._pseudo(name))
        if name == "total":
            # A mean over groups of the jackknife's pseudo-values, squared deviations all but for a 1/S of them.
            return variance_interval(value, stderr, self._pseudo(name))
        if name == "trajectory":
            return self._sample_variance(name)
        if name == "state":
            # The variance of the states' means over draws, whose noise, outer/A, is taken off. The two err together, so
            # that the difference has a standard error of its own; the scale of the tails is that of the whole.
            noise = self.value["outer"] / self.shape[0]
            low, high = variance_interval(value + noise, stderr, self._pseudo(name))
            return None if math.isnan(low) else (low - noise, high - noise)
        if self.shape[1] < 2:
            return self._sample_variance("outer")
        below = self.value["trajectory"] / self.shape[1]
        low, high = (end / self.shape[1] for end in self._sample_variance("trajectory"))
        return sum_interval(value + below, self._sample_variance("outer"), -below, (-high, -low))

    def _sample_variance(self, name: str) -> Interval:
        """Of a sample variance at a state, averaged over states."""
        stderr = math.sqrt(self.covariance(name, name))
        return variance_interval(
            self.value[name], stderr, self.each["trajectory" if name == "trajectory" else "action"]
        )

    def _pseudo(self, name: str) -> Tensor:
        return self.groups * self.value[name] - (self.groups - 1) * self.without[name]


@dataclass(frozen=True)
class _Levels:
    """Sums over the states of each group, [groups]: what the parts are made of, and who is paired with whom."""

    size: Tensor  # number of states
    squared: Tensor  # Σ_i ‖J_iᵀ v̄_i‖², debiased
    action: Tensor
    trajectory: Tensor
    outer: Tensor  # action + trajectory/T, the sample variance of means over trajectories
    within: Tensor  # ‖G_e‖², G_e = Σ_{i∈e} J_iᵀ v̄_i
    across: Tensor  # G_e·Σ_f G_f


def leave_groups_out(
    agent: Agent, obs: Any, v: Tensor, *, episode: Tensor | None = None, kernel: TangentKernel | None = None
) -> LeftOutParts:
    """What ``variance_split`` is made of; its arguments and errors."""
    obs = agent.observations(obs)
    nested = v[:, None] if v.ndim == 3 else v
    if nested.ndim != 4 or 0 in nested.shape:
        raise GradlabError(
            f"nested draws: shape {tuple(v.shape)}; expected [actions, states, m] or [actions, trajectories, states, m]"
        )
    _check_finite(nested)
    kernel = kernel or tangent_kernel(agent, obs)
    check_cotangents(nested, kernel.states, kernel.head_size)
    if kernel.states != len(obs) or (episode is not None and len(episode) != len(obs)):
        raise GradlabError(
            f"variance split: {len(obs)} observations, a kernel of {kernel.states} states"
            + ("" if episode is None else f" and {len(episode)} episode numbers")
            + "; they must be of the same states"
        )
    member = torch.arange(len(obs)) if episode is None else episode.unique(return_inverse=True)[1]
    levels = _levels(agent, obs, nested.detach().to(kernel.blocks), kernel, member.to(kernel.blocks.device))
    groups = len(levels.size)
    everything, without = (_parts(levels, len(obs), removed) for removed in (0.0, 1.0))
    return LeftOutParts(
        {name: float(numbers[0]) for name, numbers in everything.items()},
        without,
        groups,
        len(obs),
        (nested.shape[0], nested.shape[1] if v.ndim == 4 else 0),
        {"action": levels.outer / levels.size, "trajectory": levels.trajectory / levels.size},
    )


def _parts(levels: _Levels, states: int, removed: float) -> dict[str, Tensor]:
    """The parts with each group removed once, or not at all (0.0), [groups]."""

    def left(x: Tensor) -> Tensor:
        return x.sum() - removed * x

    def pairs(x: Tensor) -> Tensor:
        # Over pairs of different groups: a group takes its row and its column with it.
        return x.sum() - 2 * removed * x

    size = left(levels.size)
    gradient = pairs(levels.across - levels.within) / pairs(levels.size * (states - levels.size))
    action, trajectory = left(levels.action) / size, left(levels.trajectory) / size
    state = left(levels.squared) / size - gradient
    return {
        "state": state,
        "action": action,
        "trajectory": trajectory,
        "outer": left(levels.outer) / size,
        "total": state + action + trajectory,
        "gradient_squared": gradient,
    }


def _check_finite(v: Tensor) -> None:
    bad = ~torch.isfinite(v).all(-1)
    if bool(bad.any()):
        action, _, state = (int(x) for x in bad.nonzero()[0])
        raise GradlabError(
            f"nested draws: NaN or infinite in {int(bad.sum())} of {bad.numel()} samples at "
            f"{int(bad.flatten(0, 1).any(0).sum())} of {v.shape[2]} states, first at action {action}, state {state}; "
            "mend the estimator or leave those states out"
        )


def _levels(agent: Agent, obs: Tensor, v: Tensor, kernel: TangentKernel, member: Tensor) -> _Levels:
    actions, trajectories = v.shape[:2]
    of_action = v.mean(1)
    of_state = of_action.mean(0)

    def squared(x: Tensor) -> Tensor:
        """Σ over draws of ‖J_iᵀ x_i‖², per state."""
        return torch.einsum("dim,imn,din->i", x, kernel.blocks, x)

    nothing = torch.full_like(of_state[:, 0], math.nan)
    inner = nothing
    if trajectories > 1:
        deviations = (v - of_action[:, None]).flatten(0, 1)
        inner = squared(deviations) / (actions * (trajectories - 1))
    outer = squared(of_action - of_state) / (actions - 1) if actions > 1 else nothing
    # Without a dimension for trajectories (one of each) the action part holds them, and nothing is taken off.
    below = inner if trajectories > 1 else torch.zeros_like(inner)
    action = outer - below / trajectories
    at_state = squared(of_state[None]) - (action / actions + below / (actions * trajectories))
    count = int(member.max()) + 1
    groups = torch.zeros(count, len(obs), dtype=v.dtype, device=v.device)
    groups[member, torch.arange(len(obs), device=member.device)] = 1.0
    within, across = _between(agent, obs, of_state, kernel, groups)
    return _Levels(
        size=groups.sum(1),
        squared=groups @ at_state,
        action=groups @ action,
        trajectory=groups @ below,
        outer=groups @ outer,
        within=within,
        across=across,
    )


def _between(agent: Agent, obs: Tensor, v: Tensor, kernel: TangentKernel, groups: Tensor) -> tuple[Tensor, Tensor]:
    """‖G_e‖² and G_e·Σ_f G_f for each group."""
    product = kernel.product if kernel.matrix is not None else lambda x: kernel_product(agent, obs, x)
    per_state = (product(v[None])[0] * v).sum(-1)
    if len(groups) == len(obs):
        return groups @ torch.einsum("im,imn,in->i", v, kernel.blocks, v), groups @ per_state
    masked = groups[:, :, None] * v
    return (product(masked) * masked).sum((1, 2)), groups @ per_state
