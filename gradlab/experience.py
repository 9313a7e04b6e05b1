"""Experience: what a run's replay holds, beside what the run has visited of late."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.errors import GradlabError


@dataclass(frozen=True)
class Transitions:
    """Steps of a task, a row each.

    Attributes:
        obs: s as the networks get it, [B, n].
        act: a in the critic's coordinates, [B, p].
        reward: r as the critic's targets have it, [B].
        next_obs: s', [B, n].
        terminated: whether the task ended there, so that nothing follows, [B] bool; not where it was cut off.

    Raises:
        GradlabError: the rows do not fit each other.

    Example:
        >>> one = torch.ones(3)
        >>> len(Transitions(one[:, None], one[:, None], one, one[:, None], one.bool()))
        3
    """

    obs: Tensor
    act: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor

    def __post_init__(self) -> None:
        rows = [len(part) for part in (self.obs, self.act, self.reward, self.next_obs, self.terminated)]
        if len(set(rows)) > 1 or self.obs.shape != self.next_obs.shape:
            raise GradlabError(
                f"transitions: {rows} rows of obs {tuple(self.obs.shape)}, act, reward, next_obs "
                f"{tuple(self.next_obs.shape)} and terminated; give one of each a step"
            )

    def __len__(self) -> int:
        return len(self.obs)

    def first(self, count: int) -> Transitions:
        """The first ``count`` of them."""
        parts = (self.obs, self.act, self.reward, self.next_obs, self.terminated)
        return Transitions(*(part[:count] for part in parts))

    def with_more(self, other: Transitions) -> Transitions:
        """These, and others after them."""
        mine, more = ((one.obs, one.act, one.reward, one.next_obs, one.terminated) for one in (self, other))
        return Transitions(*(torch.cat(both) for both in zip(mine, more, strict=True)))

    def to(self, dtype: torch.dtype, device: torch.device) -> Transitions:
        """Copies of a type and on a device; whether the task ended stays a truth."""
        parts = (self.obs, self.act, self.reward, self.next_obs)
        obs, act, reward, next_obs = (part.to(device, dtype, copy=True) for part in parts)
        return Transitions(obs, act, reward, next_obs, self.terminated.to(device, copy=True))


@dataclass(frozen=True)
class Experience:
    """What training learns from, and what the run does.

    Attributes:
        replay: steps that the replay holds, drawn from it at random.
        visited: steps that the run has taken of late, in the order it took them, evenly spaced; None where nothing
            keeps them.
        entered: share of the run's latest steps that are in the replay; None where that is not known.
    """

    replay: Transitions
    visited: Transitions | None = None
    entered: float | None = None

    def to(self, dtype: torch.dtype, device: torch.device) -> Experience:
        """Copies of a type and on a device."""
        visited = None if self.visited is None else self.visited.to(dtype, device)
        return Experience(self.replay.to(dtype, device), visited, self.entered)
