"""The agent as it acts in an environment, checked to fit it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError, first_line
from gradlab.simulation.actions import bounds, count_actions, is_discrete
from gradlab.simulation.given import check_agent
from gradlab.simulation.lanes.base import Floats


class Pilots:
    """Copies of one pilot, one for each thread that asks: a module may write to itself while it computes."""

    def __init__(self, pilot: Agent) -> None:
        self._pilot = pilot
        self._own = threading.local()

    def mine(self) -> Agent:
        """The calling thread's copy, for this thread to use alone."""
        if not hasattr(self._own, "pilot"):
            self._own.pilot = self._pilot.snapshot()
        pilot: Agent = self._own.pilot
        return pilot


def receiver(pilot: Agent) -> Callable[[Floats], Tensor]:
    """The map from observations [N, n] of the environment to a tensor as the pilot takes it."""
    # Asked for once: to find an actor's dtype and device takes longer than to convert its observations.
    like = torch.empty(0, dtype=pilot.dtype, device=pilot.device)
    return lambda obs: torch.from_numpy(obs).to(like)


def without_critics(agent: Agent) -> Agent:
    """The same agent, sharing its actor, for what only acts: critics take time to copy."""
    check_agent(agent)
    bare = copy.copy(agent)
    bare.critics = bare.target_critics = ()
    bare.value = None
    return bare


def make_pilot(name: str, env: Any, agent: Agent) -> Agent:
    """A float64 copy of the agent in evaluation mode.

    Args:
        name: name of the environment, for messages.
        env: the bare environment, with vectors for observations and vectors or numbers for actions.
        agent: the agent; left alone.

    Raises:
        GradlabError: observations, actions or the action box do not fit, only one of the two is discrete, or the actor
            fails or gives a head of another size than its policy's.
    """
    check_agent(agent)
    obs_size, space = env.observation_space.shape[0], env.action_space
    action_size = count_actions(space)
    discrete = is_discrete(space)
    if agent.policy.continuous == discrete:
        kinds = ("points of a box", "discrete") if discrete else ("discrete", f"the box {space}")
        raise GradlabError(f"environment {name}: the agent's actions are {kinds[0]}, the environment's are {kinds[1]}")
    if agent.obs_size not in (None, obs_size):
        raise GradlabError(
            f"environment {name}: its observations have {obs_size} numbers, but this agent takes "
            f"{agent.obs_size}; is this the environment it was trained on?"
        )
    if agent.action_size != action_size:
        raise GradlabError(
            f"environment {name}: its actions have {action_size} coordinates, but this agent's have "
            f"{agent.action_size}; is this the environment it was trained on?"
        )
    pilot = agent.snapshot(double=True)
    pilot.actor.eval()
    if not discrete:
        _fit_box(name, space, pilot)
    _check_head(name, pilot, obs_size)
    return pilot


@torch.no_grad()
def _check_head(name: str, pilot: Agent, obs_size: int) -> None:
    """Asks the actor about two observations: what it does is seen here, and not in the middle of a simulation."""
    try:
        head = pilot.head(torch.zeros(2, obs_size, dtype=pilot.dtype, device=pilot.device))
    except GradlabError:
        raise
    except Exception as error:
        raise GradlabError(
            f"environment {name}: the actor cannot take its {obs_size}-number observations ({first_line(error)})"
        ) from error
    expected = (2, pilot.policy.head_size(pilot.action_size))
    if tuple(head.shape) != expected:
        raise GradlabError(
            f"environment {name}: the actor gives {tuple(head.shape)} for two observations; "
            f"{type(pilot.policy).__name__} of {pilot.action_size} action(s) needs {expected}"
        )


def _fit_box(name: str, space: Any, agent: Agent) -> None:
    low, high = bounds(space)
    for ours, theirs in ((low, agent.env_low), (high, agent.env_high)):
        other = theirs.detach().cpu().double().numpy()
        if not np.allclose(other, ours, rtol=1e-5, atol=1e-6, equal_nan=True) and np.isfinite(ours).all():
            raise GradlabError(
                f"environment {name}: its action box is {low.tolist()} to {high.tolist()}, "
                f"the agent's {agent.env_low.tolist()} to {agent.env_high.tolist()}; set env_low, env_high"
            )
    if np.isfinite(low).all() and np.isfinite(high).all():
        # The environment's float32 bounds to the last bit: a box a rounding wider would be clipped at its edge.
        agent.env_low, agent.env_high = (torch.from_numpy(bound).to(agent.env_low) for bound in (low, high))
