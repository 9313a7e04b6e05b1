"""One kind of rollout: where from, by whom, how far, and with which noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.references.rollouts.noise import policy_noise
from gradlab.references.rollouts.records import Block, Outcome
from gradlab.references.rollouts.schemes import Scheme
from gradlab.simulation.chain import Chain, chain_rule
from gradlab.simulation.pilot import without_critics
from gradlab.simulation.reseeding import environment_seeds, reseeded
from gradlab.simulation.simulator import Rollouts, Simulator
from gradlab.simulation.states import States


@dataclass(frozen=True)
class Course:
    """What is the same for every rollout of a reference.

    Attributes:
        simulator: it rolls out.
        pilot: the agent that acts.
        states: B states to begin from.
        horizon: number of rewards.
        seed: of the policy's noise.
        entropy: coefficient of the entropy bonus.
        respect_time_limit: whether rewards beyond the time limit are lost.
    """

    simulator: Simulator
    pilot: Agent
    states: States
    horizon: int
    seed: int
    entropy: float
    respect_time_limit: bool

    @property
    def stochastic(self) -> bool:
        """Whether returns differ from noise to noise: the policy's, the environment's, or both."""
        return self.pilot.policy.stochastic or self.simulator.random

    def noise(self, block: Block) -> Tensor | None:
        """Its policy's noise [H, T, p]."""
        return policy_noise(self.pilot, self.seed, self.horizon, block.positions, block.indices)

    def outcome(self, scheme: Scheme, block: Block) -> Outcome:
        """Roll out one block."""
        noise = self.noise(block)
        act, bonus = scheme.first_actions(block.positions, None if noise is None else noise[0])
        rollouts = self.rollouts(block, act, noise)
        return Outcome.of(rollouts, bonus)

    def rollouts(self, block: Block, act: Tensor, noise: Tensor | None) -> Rollouts:
        """From first actions [..., T, p] on; where the environment draws random numbers, with those of the noise."""
        states = self.states[block.positions]
        if self.simulator.random:
            states = reseeded(self.simulator, states, environment_seeds(self.seed, block.positions, block.indices))
        return self.simulator.rollouts(
            self.pilot,
            states,
            act,
            horizon=self.horizon,
            noise=noise,
            entropy=self.entropy,
            respect_time_limit=self.respect_time_limit,
        )

    def chain(self, positions: Tensor) -> Chain:
        """The chain rule at some states, with the first noise of each."""
        noise = self.noise(Block(positions, torch.zeros_like(positions)))
        return chain_rule(
            self.simulator,
            without_critics(self.pilot),
            self.states[positions],
            horizon=self.horizon,
            noise=None if noise is None else noise[None],
            entropy=self.entropy,
            respect_time_limit=self.respect_time_limit,
        )
