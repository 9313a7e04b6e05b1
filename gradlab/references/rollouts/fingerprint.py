"""Telling whether two references are the same: of one agent, in one environment, at the same states, made alike."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.digests import digest
from gradlab.references.rollouts.outcomes import one_step
from gradlab.simulation.pilot import without_critics
from gradlab.simulation.simulator import Simulator
from gradlab.simulation.states import States
from gradlab.simulation.torch_threads import one_torch_thread

#: Most states from which the environment is stepped once to be told from others.
_STEPPED = 64
#: Packages whose versions decide the last bits, or what is computed at all.
_PACKAGES = ("gradlab", "gymnasium", "mujoco", "numpy", "torch")


def fingerprints(simulator: Simulator, pilot: Agent, states: States, settings: Mapping[str, Any]) -> dict[str, str]:
    """Digests of all that decides a reference's numbers, by what each is of.

    What an actor or an environment computes is in its code as well, of which there is no telling; so they count by
    what they do, too: the actor's outputs at every state, what a step under the policy leads to from up to 64 of them,
    evenly spaced (reward, observation, end), and the actor's outputs there, all to the last bit. What shows only
    further along the rollouts (a threshold that no step from these states comes to) is not seen, unless it is among
    what is compared as it is written: the actor's parameters and buffers, the policy's attributes, the environment's
    compiled model and the options of gymnasium's own tasks (``simulation.origin``).

    Args:
        simulator: of the environment; its lanes are afterwards in some state of their own.
        pilot: the agent as it acts.
        states: B states.
        settings: the reference's, by name.

    Raises:
        GradlabError: the environment fails when it is stepped.

    Example:
        >>> actor = nn.Sequential(nn.Linear(3, 1), nn.Tanh())
        >>> _ = nn.init.constant_(actor[0].weight, 0.1), nn.init.zeros_(actor[0].bias)
        >>> simulator = Simulator("Pendulum-v1")
        >>> pilot = simulator.pilot(Agent(actor, [], action_low=-2, action_high=2))
        >>> states = simulator.visit(pilot, 2, episodes=1, max_steps=5)
        >>> one, two = (fingerprints(simulator, pilot, states, {"horizon": h}) for h in (5, 6))
        >>> [name for name in one if one[name] != two[name]]
        ['settings']
    """
    # A copy: a module may write to itself while it computes.
    actor = without_critics(pilot).snapshot()
    some = states[torch.linspace(0, len(states) - 1, min(_STEPPED, len(states)), dtype=torch.float64).round().long()]
    outcome = one_step(simulator, actor, some)
    # In this order, since what comes first may well be why what comes later differs.
    return {
        "versions": ", ".join(f"{name} {sys.modules[name].__version__}" for name in _PACKAGES if name in sys.modules),
        "settings": digest(json.dumps(dict(settings), sort_keys=True, default=str)),
        "environment": simulator.origin,
        "states": digest([states.environment, states.obs, states.episode, states.step, list(states.snapshots)]),
        "agent": digest([_written(pilot), _head(actor, states.obs)]),
        "outcomes of a step": digest([outcome, _head(actor, outcome.obs)]),
    }


def _head(actor: Agent, obs: Tensor) -> Tensor:
    # How many threads a product is shared between may change its last bit.
    with torch.no_grad(), one_torch_thread():
        return actor.head(obs.to(dtype=actor.dtype, device=actor.device))


def _written(pilot: Agent) -> list[Any]:
    """All of an agent that can be read off it."""
    corners = (pilot.action_low, pilot.action_high, pilot.env_low, pilot.env_high)
    policy = pilot.policy
    parts: list[Any] = [type(policy).__qualname__, _plain(vars(policy)), pilot.discount, pilot.entropy, *corners]
    # Addresses that are printed along are others in another process.
    parts.append(re.sub(r" at 0x[0-9a-f]+", "", repr(pilot.actor)))
    # Not the state_dict, which leaves out buffers that are not persistent.
    parts += [[name, tensor] for name, tensor in (*pilot.actor.named_parameters(), *pilot.actor.named_buffers())]
    return parts


def _plain(value: Any) -> Any:
    """Nested attributes as lists, so that an object of our own counts by what it is made of."""
    if isinstance(value, Mapping):
        return [[str(name), _plain(part)] for name, part in sorted(value.items())]
    if hasattr(value, "__dict__") and not isinstance(value, (Tensor, nn.Module, np.ndarray)):
        return [type(value).__qualname__, _plain(vars(value))]
    return value


def first_difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """What differs first, in words; empty where nothing does.

    Example:
        >>> first_difference({"agent": "a", "versions": "mujoco 4"}, {"agent": "a", "versions": "mujoco 3"})
        'versions (mujoco 3, now mujoco 4)'
    """
    for name, value in ours.items():
        other = theirs.get(name)
        if other != value:
            return f"{name} ({other}, now {value})" if name == "versions" else name
    return ""
