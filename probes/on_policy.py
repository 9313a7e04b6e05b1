"""Probe: how much of an on-policy algorithm's gradient is signal, and how well does V fit?"""

from __future__ import annotations

import torch

from gradlab.agent import Agent
from gradlab.arguments import whole_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.ledger.rollout import term_norms
from gradlab.measurement import Measurement
from gradlab.rollout import Rollout
from gradlab.rollout_advantages import can_be_made_anew
from gradlab.statistics.policy_update import policy_update
from gradlab.statistics.rollout import rollout_gradient, value_fit
from probes.probe import GateClosedError, RolloutProbe
from probes.schedule import Every


class OnPolicy(RolloutProbe):
    """Signal-to-noise ratio and noise scale of the policy gradient, and V's error, on the rollout in use.

    The gradient is the score function's with the rollout's own advantages: that of PPO's first minibatch, of A2C and of
    TRPO's objective, without the entropy bonus. Trajectories, whole or cut off, are the independent samples. V is held
    against the targets that it is trained on, which bootstrap on V: how well it fits, not how true it is.

    Where the rollout holds what they are made from, there are terms of ``gradlab.rollout_ledger``, too, as squared
    norms in the units of ``score-function/gradient_squared``: what λ < 1 adds to the expected gradient, what weighing
    states without γᵗ does, and the entropy bonus. Where it holds the one before, too, ``gradlab.policy_update`` says
    what the update on that one did: which steps and how much of the gradient clipping takes away where the policy has
    come to, and how far that is.

    Args:
        every: training steps between two measurements.
        states: steps of a rollout to measure at; of a longer one the first trajectories that have so many.
        trajectories: how few make a rollout be skipped, 3 at least.
        ledger_states: steps that the ledger and the update are measured at, likewise.

    Example:
        >>> OnPolicy().config()
        {'every': 2000, 'states': 8192, 'trajectories': 8, 'ledger_states': 2048}
    """

    name = "on-policy"

    def __init__(
        self, *, every: Every = 2000, states: int = 8192, trajectories: int = 8, ledger_states: int = 2048
    ) -> None:
        super().__init__(every=every, states=states)
        self.trajectories = whole_number("probe on-policy: trajectories", trajectories, 3)
        self.ledger_states = whole_number("probe on-policy: ledger_states", ledger_states, 1)

    def refusal(self, agent: Agent) -> str | None:
        """Needs a stochastic policy and a value function; a critic of (obs, act) is of no use."""
        if not agent.policy.stochastic:
            return "the agent's policy is deterministic; its actions have no probability to differentiate"
        return None if agent.value is not None else "the agent has no value function of obs"

    def measure_rollout(self, agent: Agent, rollout: Rollout, generator: torch.Generator) -> Measurement:
        """Scalars ``score-function/…``, ``value/…``, ``policy/…``, ``ledger/…`` and ``clipping/…``."""
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
        notes = list(gradient.notes)
        for what, part in (("ledger", self._ledger), ("update", self._update)):
            try:
                found, said = part(agent, rollout)
            except GradlabError as error:
                # What a loop of one's own fills in may not fit together; the numbers above do not depend on it.
                found, said = {}, (f"{what}: {error}",)
            scalars |= found
            notes += said
        return Measurement(scalars, notes=tuple(dict.fromkeys(notes)))

    def _ledger(self, agent: Agent, rollout: Rollout) -> tuple[dict[str, Estimate], tuple[str, ...]]:
        if can_be_made_anew(rollout):
            return {}, ()
        found, notes = term_norms(agent, rollout.first(self.ledger_states, self.trajectories))
        # The shift's expected gradient is as good as zero; it is in the variance.
        shown = ("GAE bias", "state distribution", "entropy bonus", "value loss")
        return {f"ledger/{name.lower().replace(' ', '_')}": found[name] for name in shown if name in found}, notes

    def _update(self, agent: Agent, rollout: Rollout) -> tuple[dict[str, Estimate], tuple[str, ...]]:
        before = rollout.previous
        if before is None or before.log_prob is None or before.loss is None or before.count < self.trajectories:
            return {}, ()
        update = policy_update(agent, before.first(self.ledger_states, self.trajectories))
        found = {"policy/kl": update.kl}
        if before.loss.clip is not None:
            found |= {
                "clipping/share": update.clipped,
                "clipping/removed": update.removed,
                "clipping/unclipped": update.unclipped,
            }
        return found, ()
