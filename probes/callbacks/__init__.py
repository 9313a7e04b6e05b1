"""The few lines each library wants to call us, one file per library."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Protocol, cast

from probes.monitor import Monitor
from probes.source import Source


class Door(Protocol):
    """What one library's module has. It is imported only where the library has been, and may import it."""

    #: What attach returns.
    MONITOR: type[Monitor]

    def knows(self, model: object) -> bool:
        """Whether the object is one of the library's training objects."""

    def source(self, model: Any, environment: str = "") -> Source:
        """The run as a monitor sees it."""


#: The module of each library's door, by the library's own package.
DOORS = {
    "d3rlpy": "probes.callbacks.d3rlpy",
    "ray": "probes.callbacks.rllib",
    "skrl": "probes.callbacks.skrl",
    "stable_baselines3": "probes.callbacks.stable_baselines3",
    "torchrl": "probes.callbacks.torchrl",
    "tianshou": "probes.callbacks.tianshou",
}


def door_of(model: object) -> Door | None:
    """The door for a training object; None where no library that has been imported knows it.

    Example:
        >>> door_of("a string") is None
        True
    """
    for package, module in DOORS.items():
        if package in sys.modules:
            door = cast(Door, importlib.import_module(module))
            if door.knows(model):
                return door
    return None
