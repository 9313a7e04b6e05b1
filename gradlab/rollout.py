"""Rollout: the steps an on-policy algorithm acted with its policy, and what it makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.on_policy_loss import OnPolicyLoss

#: What every rollout has, and what it may have besides: one row a step.
_ALWAYS = ("obs", "act", "advantage", "target", "value", "trajectory")
_PER_STEP = ("reward", "raw_advantage", "log_prob", "age")


@dataclass(frozen=True)
class Rollout:
    """N steps in R trajectories: row k is one step, trajectories one after the other, steps in order.

    A trajectory is an episode, or the part of one that lies in the rollout.

    Attributes:
        obs: s_t as the networks get it, [N, n].
        act: a_t in the critic's coordinates, [N, p]; one-hot for discrete actions.
        advantage: Â_t as the actor's loss weighs log π(a_t|s_t) with, [N].
        target: what the loss of V draws V(s_t) to, [N].
        value: V(s_t) when the step was taken, [N].
        trajectory: which trajectory a step belongs to, [N] int64: 0 … R−1, not decreasing.
        notes: where this is not to the letter what the algorithm used, a line each.
        reward: r_t as the advantages were made from it, [N]; None where unknown, as all that follows.
        bootstrap: what stands for the rewards after a trajectory's last step, γV(s_T) where it was cut off and 0 where
            the task ended, [R].
        raw_advantage: Â_t before it was normalised, in units of the reward, [N].
        log_prob: log π(a_t|s_t) when the step was taken, [N].
        age: t, the steps of its episode before this one, [N] int64; −1 where that is unknown.
        loss: what the algorithm makes of it.
        previous: the rollout before this one, where the policy that acted in this one is what the update on that one
            ended with.

    Raises:
        GradlabError: shapes do not fit, trajectories are not in order, or a number is NaN or infinite.

    Example:
        >>> one = torch.ones(3)
        >>> rollout = Rollout(one[:, None], one[:, None], one, one, one, torch.tensor([0, 0, 1]))
        >>> len(rollout), rollout.count, rollout.lengths.tolist(), len(rollout.first(1))
        (3, 2, [2, 1], 2)
    """

    obs: Tensor
    act: Tensor
    advantage: Tensor
    target: Tensor
    value: Tensor
    trajectory: Tensor
    notes: tuple[str, ...] = ()
    reward: Tensor | None = None
    bootstrap: Tensor | None = None
    raw_advantage: Tensor | None = None
    log_prob: Tensor | None = None
    age: Tensor | None = None
    loss: OnPolicyLoss | None = None
    previous: Rollout | None = None

    def __post_init__(self) -> None:
        named = {name: getattr(self, name) for name in _ALWAYS}
        shapes = {name: tuple(part.shape) for name, part in named.items()}
        steps = len(self.trajectory)
        dimensions = [part.ndim for part in named.values()]
        if dimensions != [2, 2, 1, 1, 1, 1] or {len(part) for part in named.values()} != {steps}:
            raise GradlabError(f"rollout: shapes {shapes}; expected [N, n], [N, p] and [N] of the same N steps")
        if steps == 0:
            raise GradlabError("rollout: it holds no step; measure at the end of one")
        jumps = self.trajectory.diff()
        if int(self.trajectory[0]) != 0 or not bool(((jumps == 0) | (jumps == 1)).all()):
            raise GradlabError("rollout: trajectories must be numbered 0 … R−1, the steps of each together, in order")
        for name in (*_PER_STEP, "bootstrap"):
            part, size = getattr(self, name), self.count if name == "bootstrap" else steps
            if part is None:
                continue
            if part.shape != (size,):
                of = "trajectories" if name == "bootstrap" else "steps"
                raise GradlabError(
                    f"rollout: {name} has shape {tuple(part.shape)}; expected [{size}], one of {size} {of}"
                )
            named[name] = part
        for name, part in named.items():
            bad = ~torch.isfinite(part).reshape(len(part), -1).all(-1)
            if bool(bad.any()):
                raise GradlabError(
                    f"rollout: NaN or infinite {name} at {int(bad.sum())} of {len(part)} "
                    f"{'trajectories' if name == 'bootstrap' else 'steps'}, first at row "
                    f"{int(bad.nonzero()[0])}; mend what made it"
                )

    def __len__(self) -> int:
        return len(self.trajectory)

    @property
    def count(self) -> int:
        """Number R of trajectories, the independent samples."""
        return int(self.trajectory[-1]) + 1

    @property
    def lengths(self) -> Tensor:
        """Steps of each trajectory, [R]."""
        return torch.bincount(self.trajectory, minlength=self.count)

    def first(self, steps: int, trajectories: int = 1) -> Rollout:
        """Its first trajectories, at least so many, that have ``steps`` steps; all of it where it has fewer."""
        steps = max(steps, int(self.lengths[:trajectories].sum()))
        if len(self) <= steps:
            return self
        last = self.trajectory[steps - 1]
        keep = self.trajectory <= last
        parts = [*_ALWAYS, *(name for name in _PER_STEP if getattr(self, name) is not None)]
        bootstrap = None if self.bootstrap is None else self.bootstrap[: int(last) + 1]
        return replace(self, **{name: getattr(self, name)[keep] for name in parts}, bootstrap=bootstrap)
