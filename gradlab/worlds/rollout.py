"""Episodes simulated in step, put one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.trajectories import Trajectories


@dataclass(frozen=True)
class Step:
    """One step of R episodes at once.

    Attributes:
        obs: s_t, [R, n].
        act: a_t, [R, p].
        reward: r_t, [R].
        next_obs: s_{t+1}, [R, n].
        terminated: whether the episode's task ends here, [R] bool.
        alive: whether the episode still ran at this step, [R] bool; rows of others are dropped.
        noise: ε that the action was drawn with, [R, p]; None if there was none.
    """

    obs: Tensor
    act: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    alive: Tensor
    noise: Tensor | None = None


def gather(steps: Sequence[Step], discount: float) -> Trajectories:
    """The episodes behind simultaneous steps, flattened: episode after episode, steps in order.

    Args:
        steps: every step t = 0, 1, …; all episodes are alive in the first.
        discount: γ of the objective that the rewards belong to.

    Example:
        >>> one, yes = torch.ones(2, 1), torch.tensor([True, True])
        >>> first = Step(one, one, torch.tensor([1.0, 2.0]), one, torch.tensor([True, False]), yes)
        >>> second = Step(one, one, torch.tensor([3.0, 4.0]), one, yes, torch.tensor([False, True]))
        >>> runs = gather([first, second], discount=1.0)
        >>> runs.reward.tolist(), runs.trajectory.tolist()
        ([1.0, 2.0, 4.0], [0, 1, 1])
    """
    alive = torch.stack([step.alive for step in steps], 1)

    def flat(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts), 1)[alive]

    noise = [step.noise for step in steps if step.noise is not None]
    episodes = torch.arange(len(alive)).unsqueeze(1).expand_as(alive)
    return Trajectories(
        obs=flat([step.obs for step in steps]),
        act=flat([step.act for step in steps]),
        reward=flat([step.reward for step in steps]),
        next_obs=flat([step.next_obs for step in steps]),
        terminated=flat([step.terminated for step in steps]),
        trajectory=episodes[alive],
        discount=discount,
        noise=flat(noise) if len(noise) == len(steps) else None,
    )
