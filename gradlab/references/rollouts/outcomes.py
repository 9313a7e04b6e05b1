"""What one step of the policy leads to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.simulation.lanes.base import Bools, Floats, Lanes
from gradlab.simulation.simulator import Simulator
from gradlab.simulation.states import States
from gradlab.simulation.torch_threads import one_torch_thread

_Part = tuple[Floats, Floats, Bools]


@dataclass(frozen=True)
class StepOutcomes:
    """Where one step leads from B states.

    Attributes:
        obs: observations [B, n], float64, as the environment gave them.
        reward: [B], float64.
        terminated: [B], bool.
    """

    obs: Tensor
    reward: Tensor
    terminated: Tensor


def one_step(simulator: Simulator, pilot: Agent, states: States) -> StepOutcomes:
    """One step of the environment from each of B states, under the policy's mode.

    Random numbers that the environment draws begin from seeds of their own, the same each time. For an action that is
    not a number zero is taken: nothing but the agent is to blame for it.

    Args:
        simulator: of the states' environment.
        pilot: the agent as it acts; for the calling thread alone.
        states: B states.

    Raises:
        GradlabError: the environment fails.

    Example:
        >>> from torch import nn
        >>> actor = nn.Sequential(nn.Linear(3, 1), nn.Tanh())
        >>> _ = nn.init.constant_(actor[0].weight, 0.1), nn.init.zeros_(actor[0].bias)
        >>> simulator = Simulator("Pendulum-v1")
        >>> pilot = simulator.pilot(Agent(actor, [], action_low=-2, action_high=2))
        >>> found = one_step(simulator, pilot, simulator.visit(pilot, 2, episodes=1, max_steps=5))
        >>> found.obs.shape, bool((found.reward < 0).all())
        (torch.Size([2, 3]), True)
    """
    # How many threads a product is shared between may change its last bit.
    with torch.no_grad(), one_torch_thread():
        act = pilot.policy.mode(pilot.head(states.obs.to(dtype=pilot.dtype, device=pilot.device)))
    taken = simulator._to_env(pilot, torch.nan_to_num(act))

    def work(lanes: Lanes, at: slice) -> _Part:
        lanes.load(states.snapshots[at])
        if simulator.random:
            lanes.reseed(range(at.start, at.stop))
        return lanes.step(taken[at], np.ones(at.stop - at.start, dtype=bool))

    parts = simulator.spread(len(states), work)
    return StepOutcomes(*(torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)))
