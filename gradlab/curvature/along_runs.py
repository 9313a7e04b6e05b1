"""Curvature's predictions at states of recorded episodes, next to how smooth the actions of these were."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from gradlab.agent import Agent
from gradlab.arguments import shown, whole_number
from gradlab.curvature.observed import ObservedSmoothness, observed_smoothness
from gradlab.curvature.predictions import Predictions, sensitivity_predictions
from gradlab.errors import GradlabError
from gradlab.trajectories import Trajectories


class AlongRuns(NamedTuple):
    """Predictions at some of the steps, the smoothness of all of them, and which steps were chosen."""

    predictions: Predictions
    observed: ObservedSmoothness
    rows: torch.Tensor


def predictions_along(
    agent: Agent,
    runs: Trajectories,
    *,
    time_step: float,
    states: int = 256,
    scale: float | None = None,
    above: float | None = None,
    seed: int = 0,
    **options: Any,
) -> AlongRuns:
    """``sensitivity_predictions`` at a uniform sample of the steps of episodes, with what was seen on these steps.

    Args:
        agent: the agent that acted.
        runs: its episodes, acting without exploration, such as ``Simulator.episodes(agent, 16, stochastic=False)``:
            noise in the actions would be taken for sensitivity.
        time_step: seconds from one step to the next.
        states: how many steps are looked at; all where there are fewer.
        scale: as in ``sensitivity``.
        above: frequency above which power is high; as in ``observed_smoothness``.
        seed: of the choice.
        **options: more of ``sensitivity_predictions``'s.

    Raises:
        GradlabError: as either raises, or no step has another after it.

    Example:
        >>> from gradlab.worlds import LinearQuadratic
        >>> world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4)
        >>> runs = world.trajectories(8, torch.Generator().manual_seed(0), steps=20)
        >>> found = predictions_along(world.agent(), runs, time_step=0.1, states=32)
        >>> medians = found.predictions.summary()
        >>> [round(medians[name].value, 6) for name in ("ratio", "actor_norm", "observed")]
        [1.473588, 0.4, 0.4]
    """
    states, seed = whole_number("states", states, 1), whole_number("seed", seed, 0)
    if not isinstance(runs, Trajectories):
        raise GradlabError(f"runs: {shown(runs)}; give Trajectories, such as Simulator.episodes(agent, 16) returns")
    smooth = observed_smoothness(runs.obs, runs.act, runs.trajectory, time_step=time_step, above=above)
    followed = (~runs.last).nonzero().flatten()
    if len(followed) == 0:
        raise GradlabError("runs: no step is followed by another; give longer episodes")
    order = torch.randperm(len(followed), generator=torch.Generator().manual_seed(seed))
    rows = followed[order[:states]].sort().values
    predictions = sensitivity_predictions(
        agent,
        runs.obs[rows],
        scale,
        next_obs=runs.next_obs[rows],
        observed=smooth.rate[rows],
        episode=runs.trajectory[rows],
        **options,
    )
    return AlongRuns(predictions, smooth, rows)
