"""Probe: how many local optima the critic has, and how far the actor is from the best of them."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimate import Estimate, Scale
from gradlab.landscape import gap, local_optima
from gradlab.measurement import Measurement
from probes.probe import Probe


class Landscape(Probe):
    """Local optima of Q(s, ·), the actor's gap to the best, and whether ascent from the actor reaches it.

    The search takes longer than the other measurements together, so it runs in the background process.

    Args:
        every: training steps between two measurements.
        states: number of states.
        starts: starts of the search at each state.
        threshold: persistence, as a share of Q's range over the box, from which an optimum counts.
    """

    name = "landscape"
    background = True

    def __init__(self, *, every: int = 2000, states: int = 16, starts: int = 32, threshold: float = 0.01) -> None:
        super().__init__(every=every, states=states)
        self.starts = starts
        self.threshold = threshold

    def refusal(self, agent: Agent) -> str | None:
        """Needs a critic and continuous actions."""
        if not agent.policy.continuous:
            return "the agent's actions are discrete; there is no action landscape"
        return super().refusal(agent)

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Means over states with their standard errors."""
        optima = local_optima(agent, obs, starts=self.starts, generator=generator)
        standing = gap(agent, obs, optima=optima)
        best_on_boundary = torch.stack([found[:1].any() for found in optima.on_boundary])
        objective = str(agent.objective)
        return Measurement(
            {
                "optima": mean_over_states(optima.count(self.threshold), objective),
                "gap": mean_over_states(standing.gap, objective),
                "relative_gap": mean_over_states(standing.relative, objective),
                "best_basin_share": mean_over_states(standing.reaches_best, objective, "share"),
                "boundary_share": mean_over_states(best_on_boundary, objective, "share"),
            }
        )


def mean_over_states(values: Tensor, objective: str = "", scale: Scale = "linear") -> Estimate:
    """The mean of a per-state number [B] with its standard error; states are the samples.

    Example:
        >>> print(mean_over_states(torch.tensor([1.0, 2.0, 3.0, 4.0])))
        2.50 ± 0.65 (n=4)
    """
    numbers = values.double()
    count = numbers.numel()
    stderr = float(numbers.std() / count**0.5) if count > 1 else float("nan")
    return Estimate(float(numbers.mean()), stderr, count, objective=objective, scale=scale)
