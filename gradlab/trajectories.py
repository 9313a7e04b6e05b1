"""Whole episodes of a policy, step by step: what trajectory estimators are made from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.errors import GradlabError


@dataclass(frozen=True)
class Trajectories:
    """R episodes, flattened: row k is one step, episodes one after the other, steps in order.

    Attributes:
        obs: s_t, [N, n].
        act: a_t in the critic's coordinates, [N, p]; one-hot for discrete actions.
        reward: r_t, [N].
        next_obs: s_{t+1}, [N, n].
        terminated: whether the task ended with this step, so that nothing follows, [N] bool. An episode whose last
            step is not terminated was cut off: its tail is missing from its return unless it is bootstrapped.
        trajectory: which episode a step belongs to, [N] int64: 0 … R−1, not decreasing.
        discount: γ of the objective.
        noise: ε the policy drew the actions with, as ``Policy.sample`` takes it, [N, p]; None if unknown.

    Raises:
        GradlabError: lengths differ, an episode is empty, or the episodes are not in order.

    Example:
        >>> one, reward = torch.ones(4, 1), torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> ended, episode = torch.tensor([False, True, False, True]), torch.tensor([0, 0, 1, 1])
        >>> runs = Trajectories(one, one, reward, one, ended, episode, discount=0.5)
        >>> runs.count, runs.step.tolist(), runs.returns().tolist(), runs.rewards_to_go().tolist()
        (2, [0, 1, 0, 1], [2.0, 5.0], [2.0, 2.0, 5.0, 4.0])
    """

    obs: Tensor
    act: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    trajectory: Tensor
    discount: float
    noise: Tensor | None = None

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.obs, self.act, self.reward, self.next_obs, self.terminated)}
        if lengths != {len(self.trajectory)} or len(self.trajectory) == 0:
            raise GradlabError(
                f"trajectories: parts of {sorted(lengths | {len(self.trajectory)})} steps; they must be equal, not 0"
            )
        jumps = self.trajectory.diff()
        if int(self.trajectory[0]) != 0 or not bool(((jumps == 0) | (jumps == 1)).all()):
            raise GradlabError("trajectories: episode numbers must be 0 … R−1, each episode's steps together, in order")

    @property
    def count(self) -> int:
        """Number R of episodes, the independent samples."""
        return int(self.trajectory[-1]) + 1

    @property
    def lengths(self) -> Tensor:
        """Steps of each episode, [R]."""
        return torch.bincount(self.trajectory, minlength=self.count)

    @property
    def step(self) -> Tensor:
        """The step t within the episode, [N]."""
        lengths = self.lengths
        starts = lengths.cumsum(0) - lengths
        return torch.arange(len(self.trajectory), device=self.trajectory.device) - starts[self.trajectory]

    @property
    def weights(self) -> Tensor:
        """The discount γᵗ of each step, [N]."""
        return self.discount ** self.step.to(self.reward.dtype)

    def total(self, per_step: Tensor) -> Tensor:
        """Sums of [N, ...] over each episode, [R, ...]."""
        out = per_step.new_zeros(self.count, *per_step.shape[1:])
        return out.index_add_(0, self.trajectory, per_step)

    def returns(self) -> Tensor:
        """Discounted return Σ_t γᵗ r_t of each episode, [R]."""
        return self.total(self.weights * self.reward)

    def rewards_to_go(self) -> Tensor:
        """Discounted reward-to-go Σ_{k≥t} γ^{k−t} r_k from each step, [N]."""
        return self.accumulate(self.reward, self.discount)

    def accumulate(self, per_step: Tensor, factor: float) -> Tensor:
        """Σ_{k≥t} factor^{k−t} x_k within each episode, [N] → [N]."""
        out = per_step.clone()
        step, last = self.step, int(self.lengths.max())
        # Backward over t, all episodes at once.
        for t in range(last - 2, -1, -1):
            rows = (step == t).nonzero().squeeze(-1)
            rows = rows[rows + 1 < len(step)]
            rows = rows[self.trajectory[rows + 1] == self.trajectory[rows]]
            out[rows] = out[rows] + factor * out[rows + 1]
        return out
