"""The policy's noise, one stream a state: the same whatever is simulated along with it, and in whatever order."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent

#: Keeps these streams apart from others that are seeded by a seed and a position.
_PURPOSE = 0x5E6D


def policy_noise(pilot: Agent, seed: int, horizon: int, positions: Tensor, indices: Tensor) -> Tensor | None:
    """Noise ε for T rollouts, [H, T, p]; None for a deterministic policy.

    Column t is the noise number ``indices[t]`` of the state at position ``positions[t]``. It depends on the seed, the
    position, the number and the horizon alone, so that a rollout can be repeated, left for later or made elsewhere.

    Args:
        pilot: the agent that acts; the noise has its dtype and device.
        seed: of all streams.
        horizon: number H of actions.
        positions: [T] int64, positions of states.
        indices: [T] int64, numbers of noises within each state's stream.

    Example:
        >>> from gradlab.policies import Gaussian
        >>> agent = Agent(torch.nn.Linear(3, 2), [], action_low=[-1], action_high=[1], policy=Gaussian())
        >>> both = policy_noise(agent, 0, 5, torch.tensor([7, 7]), torch.tensor([1, 4]))
        >>> alone = policy_noise(agent, 0, 5, torch.tensor([7]), torch.tensor([4]))
        >>> both.shape, torch.equal(both[:, 1:], alone)
        (torch.Size([5, 2, 1]), True)
    """
    if not pilot.policy.stochastic:
        return None
    columns = pilot.action_low.new_empty(len(positions), horizon, pilot.action_size)
    for position in positions.unique().tolist():
        wanted = (positions == position).nonzero()[:, 0].tolist()
        words = np.random.SeedSequence([_PURPOSE, seed, position]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(words[0]))
        rows = {int(indices[column]): column for column in wanted}
        for index in range(max(rows) + 1):
            # Drawn even where nobody wants it: the ones after it come from further on in the stream.
            noise = pilot.policy.noise((horizon, pilot.action_size), generator, pilot.action_low)
            if index in rows:
                columns[rows[index]] = noise
    return columns.transpose(0, 1)
