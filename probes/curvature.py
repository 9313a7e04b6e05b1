"""Probe: mixed partials, action curvature and their ratio, which bounds the policy's sensitivity."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.curvature import sensitivity
from gradlab.measurement import Measurement
from probes.probe import Probe


class Curvature(Probe):
    """M, μ and M/μ of the critic at the actor's actions, at a stated scale (PAVE, arXiv 2601.22970).

    Args:
        every: training steps between two measurements.
        states: number of states.
        scale: length over which second derivatives are taken; a piecewise-linear critic has no others.
    """

    name = "curvature"

    def __init__(self, *, every: int = 1000, states: int = 64, scale: float = 0.1) -> None:
        super().__init__(every=every, states=states)
        self.scale = scale

    def refusal(self, agent: Agent) -> str | None:
        """Needs a critic and continuous actions."""
        if not agent.policy.continuous:
            return "the agent's actions are discrete; there is no action curvature"
        return super().refusal(agent)

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Medians over states, and the shares of states where the ratio means something."""
        summary = sensitivity(agent, obs, scale=self.scale).summary()
        objective = str(agent.objective)
        return Measurement({name: replace(each, objective=objective) for name, each in summary.items()})
