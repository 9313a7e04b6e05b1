"""States whose environment's own random numbers begin from a seed: common random numbers, and averages over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.simulation.simulator import Simulator
from gradlab.simulation.states import States

#: Keeps these streams apart from others that are seeded by a seed and a position.
_PURPOSE = 0x3A7E


def reseeded(simulator: Simulator, states: States, seeds: Sequence[int]) -> States:
    """The same states, each with the environment's generators begun from a seed of its own.

    Rollouts from them share the environment's random numbers with all others that begin with the same seed, for as
    long as both draw equally many; over independent seeds a return's mean is its expectation over the environment.

    Args:
        simulator: the states' own.
        states: B states.
        seeds: B seeds, not negative.

    Raises:
        GradlabError: what the environment draws does not follow from generators that can be seeded at a state.

    Example:
        >>> from gradlab.testing.environments import LinearQuadraticEnvironment
        >>> from gradlab.worlds import LinearQuadratic
        >>> world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4, noise=0.1)
        >>> simulator = Simulator(lambda: LinearQuadraticEnvironment(world))
        >>> states = simulator.visit(world.agent(), 1, seed=0, episodes=1, max_steps=3)[[0, 0, 0]]
        >>> there = reseeded(simulator, states, [1, 1, 2])
        >>> value = simulator.returns(world.agent(), there, -0.4 * there.obs, horizon=5)
        >>> bool(value[0] == value[1]), bool(value[0] == value[2])
        (True, False)
    """
    lanes = simulator._lanes
    if not lanes.reseedable:
        raise GradlabError(
            f"environment {simulator.name}: the random numbers its steps draw do not follow from generators among its "
            "attributes, so they cannot be begun from a seed at a state; let it draw from self.np_random"
        )
    if states.environment != simulator.name or len(seeds) != len(states):
        raise GradlabError(f"reseeding: {len(seeds)} seeds for {len(states)} states of {states.environment!r}")
    lanes.load(states.snapshots)
    lanes.reseed(seeds)
    return replace(states, snapshots=tuple(lanes.capture(i) for i in range(len(states))))


def environment_seeds(seed: int, positions: Tensor, indices: Tensor) -> list[int]:
    """Seeds of the environment's random numbers in the noises number ``indices`` of states at ``positions``, [T] each.

    Example:
        >>> import torch
        >>> both = environment_seeds(0, torch.tensor([7, 7]), torch.tensor([1, 4]))
        >>> both[1:] == environment_seeds(0, torch.tensor([7]), torch.tensor([4])), both[0] == both[1]
        (True, False)
    """
    return [
        int(np.random.SeedSequence([_PURPOSE, seed, position, index]).generate_state(1, np.uint64)[0])
        for position, index in zip(positions.tolist(), indices.tolist(), strict=True)
    ]
