"""Telling whether two references are the same: of one agent, at the same states, made in the same way."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.simulation.states import States


def fingerprints(pilot: Agent, states: States, settings: Mapping[str, Any]) -> dict[str, str]:
    """A digest of everything that decides a reference's numbers, by what it is of: agent, states, settings, versions.

    Example:
        >>> import torch
        >>> actor = nn.Linear(1, 1)
        >>> agent = Agent(actor, [], action_low=-1, action_high=1)
        >>> states = States(torch.zeros(1, 1), ("a",), torch.tensor([0]), torch.tensor([0]), "X")
        >>> one, two = (fingerprints(agent, states, {"horizon": h}) for h in (5, 6))
        >>> [name for name in one if one[name] != two[name]]
        ['settings']
    """
    return {
        "agent": _digest(_agent(pilot)),
        "states": _digest([states.environment, states.obs, states.episode, states.step, list(states.snapshots)]),
        "settings": _digest(json.dumps(dict(settings), sort_keys=True, default=str)),
        "versions": ", ".join(
            f"{name} {sys.modules[name].__version__}"
            for name in ("gymnasium", "mujoco", "torch")
            if name in sys.modules
        ),
    }


def _agent(pilot: Agent) -> list[Any]:
    corners = (pilot.action_low, pilot.action_high, pilot.env_low, pilot.env_high)
    policy = pilot.policy
    parts: list[Any] = [type(policy).__qualname__, _plain(vars(policy)), pilot.discount, pilot.entropy, *corners]
    # What an actor computes is in its code as well; its structure as printed is as much of that as can be told.
    parts.append(repr(pilot.actor))
    parts += [item for named in pilot.actor.state_dict().items() for item in named]
    return parts


def _plain(value: Any) -> Any:
    """Nested attributes as lists, so that an object of our own counts by what it is made of."""
    if isinstance(value, Mapping):
        return [[str(name), _plain(part)] for name, part in sorted(value.items())]
    if hasattr(value, "__dict__") and not isinstance(value, (Tensor, nn.Module)):
        return [type(value).__qualname__, _plain(vars(value))]
    return value


def _digest(value: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, (list, tuple)):
        digest.update(f"[{len(value)}".encode())
        for part in value:
            _feed(digest, part)
    elif isinstance(value, (str, int, float, bool, type(None))):
        digest.update(f"{type(value).__name__}:{value!r};".encode())
    elif hasattr(value, "__dataclass_fields__"):
        digest.update(type(value).__qualname__.encode())
        for name in value.__dataclass_fields__:
            _feed(digest, getattr(value, name))
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            _feed(digest, [str(name), value[name]])
    else:
        # The bytes of other objects (an engine's, a generator's) need not be the same for equal ones; a state is
        # told from others by its observation, its episode and its step all the same.
        digest.update(type(value).__qualname__.encode())


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
