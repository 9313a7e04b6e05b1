"""Probe: how much of an on-policy algorithm's gradient is signal, and how well does V fit?"""

from __future__ import annotations

import torch

from gradlab.agent import Agent
from gradlab.arguments import whole_number
from gradlab.measurement import Measurement
from gradlab.rollout import Rollout
from gradlab.statistics.rollout import rollout_gradient, value_fit
from probes.probe import GateClosedError, RolloutProbe
from probes.schedule import Every


class OnPolicy(RolloutProbe):
    """Signal-to-noise ratio and noise scale of the policy gradient, and V's error, on the rollout in use.

    The gradient is the score function's with the rollout's own advantages: that of PPO's first minibatch, of A2C and of
    TRPO's objective, without the entropy bonus. Trajectories, whole or cut off, are the independent samples. V is held
    against the targets that it is trained on, which bootstrap on V: how well it fits, not how true it is.

    Args:
        every: training steps between two measurements.
        states: steps of a rollout to measure at; of a longer one the first trajectories that have so many.
        trajectories: how few make a rollout be skipped, 3 at least.

    Example:
        >>> OnPolicy().config()
        {'every': 2000, 'states': 8192, 'trajectories': 8}
    """

    name = "on-policy"

    def __init__(self, *, every: Every = 2000, states: int = 8192, trajectories: int = 8) -> None:
        super().__init__(every=every, states=states)
        self.trajectories = whole_number("probe on-policy: trajectories", trajectories, 3)

    def refusal(self, agent: Agent) -> str | None:
        """Needs a stochastic policy and a value function; a critic of (obs, act) is of no use."""
        if not agent.policy.stochastic:
            return "the agent's policy is deterministic; its actions have no probability to differentiate"
        return None if agent.value is not None else "the agent has no value function of obs"

    def measure_rollout(self, agent: Agent, rollout: Rollout, generator: torch.Generator) -> Measurement:
        """Scalars ``score-function/…``, ``value/…`` and ``policy/entropy``."""
        if rollout.count < self.trajectories:
            raise GateClosedError(
                f"too few independent samples: trajectories in the rollout's {len(rollout)} steps: {rollout.count}; at "
                f"least {self.trajectories} are needed, which longer rollouts or more environments have"
            )
        gradient = rollout_gradient(agent, rollout, steps=self.states)
        fit = value_fit(rollout)
        scalars = {
            "score-function/snr": gradient.snr,
            "score-function/noise_scale": gradient.noise_scale,
            "score-function/variance": gradient.variance,
            "score-function/gradient_squared": gradient.gradient_squared,
            "value/bias": fit.bias,
            "value/rmse": fit.rmse,
            "value/explained_variance": fit.explained_variance,
            "policy/entropy": gradient.entropy,
        }
        return Measurement(scalars, notes=gradient.notes)
