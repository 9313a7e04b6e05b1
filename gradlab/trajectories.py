"""Whole episodes of a policy, step by step: what trajectory estimators are made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        GradlabError: lengths differ, an episode is empty or goes on after it terminated, the episodes are not in
            order, or a number is NaN or infinite; such steps are counted, and the first is named.

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
        noise = () if self.noise is None else (self.noise,)
        parts = (self.obs, self.act, self.reward, self.next_obs, self.terminated, *noise)
        lengths = {len(part) for part in parts}
        if lengths != {len(self.trajectory)} or len(self.trajectory) == 0:
            raise GradlabError(
                f"trajectories: parts of {sorted(lengths | {len(self.trajectory)})} steps; they must be equal, not 0"
            )
        if self.obs.ndim != 2 or self.next_obs.shape != self.obs.shape or self.act.ndim != 2 or self.reward.ndim != 1:
            shapes = [tuple(part.shape) for part in (self.obs, self.act, self.reward, self.next_obs)]
            raise GradlabError(
                f"trajectories: obs, act, reward, next_obs have shapes {shapes}; expected [N, n], [N, p], [N], [N, n]"
            )
        jumps = self.trajectory.diff()
        if int(self.trajectory[0]) != 0 or not bool(((jumps == 0) | (jumps == 1)).all()):
            raise GradlabError("trajectories: episode numbers must be 0 … R−1, each episode's steps together, in order")
        if self.terminated.dtype != torch.bool:
            raise GradlabError(f"trajectories: terminated is {self.terminated.dtype}; pass a mask of bool")
        self._check_values()

    def _check_values(self) -> None:
        named = {"obs": self.obs, "act": self.act, "reward": self.reward, "next_obs": self.next_obs}
        if self.noise is not None:
            named["noise"] = self.noise
        for name, part in named.items():
            finite = torch.isfinite(part).reshape(len(part), -1).all(-1)
            if not bool(finite.all()):
                raise GradlabError(
                    f"trajectories: NaN or infinite {name} in {self._located(~finite)}; leave those episodes out"
                )
        after = self.terminated & ~self.last
        if bool(after.any()):
            raise GradlabError(
                f"trajectories: an episode goes on after it terminated, in {self._located(after)}; "
                "number what follows as another episode"
            )

    def _located(self, rows: Tensor) -> str:
        first = int(rows.nonzero()[0])
        return (
            f"{int(rows.sum())} of {len(rows)} steps, first in episode {int(self.trajectory[first])}, "
            f"step {int(self.step[first])}"
        )

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
    def last(self) -> Tensor:
        """Whether a step is the last one of its episode, [N] bool."""
        last = torch.ones_like(self.trajectory, dtype=torch.bool)
        last[:-1] = self.trajectory.diff() == 1
        return last

    @property
    def cut_off(self) -> Tensor:
        """Whether a step is the last of an episode that had not terminated, [N] bool."""
        return self.last & ~self.terminated

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
        # Zeros after an episode's end, so that nothing leaks into it.
        out = self.padded(per_step)
        for t in range(out.shape[1] - 2, -1, -1):
            out[:, t] += factor * out[:, t + 1]
        return self.flattened(out)

    def padded(self, per_step: Tensor) -> Tensor:
        """[N, ...] as a table of episodes by steps, [R, T, ...] with T the longest; zeros after an episode's end."""
        out = per_step.new_zeros(self.count, int(self.lengths.max()), *per_step.shape[1:])
        out[self.trajectory, self.step] = per_step
        return out

    def flattened(self, table: Tensor) -> Tensor:
        """What ``padded`` has made, back as [N, ...]."""
        return table[self.trajectory, self.step]

    def select(self, episodes: Tensor) -> Trajectories:
        """Some of the episodes, given as a mask [R] or as increasing indices, numbered anew.

        Raises:
            GradlabError: no episode is left.
        """
        keep = torch.zeros(self.count, dtype=torch.bool, device=self.trajectory.device)
        keep[episodes] = True
        if not bool(keep.any()):
            raise GradlabError(f"trajectories: none of the {self.count} episodes is selected; select one at least")
        rows = keep[self.trajectory]
        return replace(
            self,
            obs=self.obs[rows],
            act=self.act[rows],
            reward=self.reward[rows],
            next_obs=self.next_obs[rows],
            terminated=self.terminated[rows],
            trajectory=(keep.cumsum(0) - 1)[self.trajectory[rows]],
            noise=None if self.noise is None else self.noise[rows],
        )
