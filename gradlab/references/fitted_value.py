"""A value baseline fitted to other episodes of the same policy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimators.trajectory.baselines import Baseline, Parts
from gradlab.trajectories import Trajectories

#: Ridge, as a share of the features' mean square: features outnumber a few short episodes' steps.
_RIDGE = 1e-3


class FittedValue(Baseline):
    """b(s, t): ridge regression of Ψ_t on the time, the observation and their squares, fitted to pilot episodes.

    The pilot is independent of the episodes it is subtracted from, so that nothing is biased and they stay independent.

    Args:
        pilot: other episodes of the same policy.
    """

    suffix = "-fitted-value"

    def __init__(self, pilot: Trajectories) -> None:
        self.pilot = pilot

    def at(self, agent: Agent, trajectories: Trajectories, parts: Parts, of: Callable[[Trajectories], Parts]) -> Tensor:
        """The fit at s_t and t."""
        target = of(self.pilot).psi.double()
        raw = _features(self.pilot)
        mean, spread = raw.mean(0), raw.std(0).clamp_min(1e-9)
        known, level = (raw - mean) / spread, target.mean()
        penalty = _RIDGE * len(known) * torch.eye(known.shape[1]).to(known)
        weights = torch.linalg.solve(known.T @ known + penalty, known.T @ (target - level))
        fit: Tensor = level + ((_features(trajectories) - mean) / spread) @ weights
        return fit.to(parts.psi)[:, None]


def _features(trajectories: Trajectories) -> Tensor:
    obs, time = trajectories.obs.double(), trajectories.step.double()[:, None]
    weight = trajectories.discount**time
    return torch.cat([time, time.square(), weight, obs, obs.square(), weight * obs], dim=1)
