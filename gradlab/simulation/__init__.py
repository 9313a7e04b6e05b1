"""Tasks with exact state: capture, restore, and closed-loop returns.

The names below are loaded when first used: a worker process that only steps environments needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradlab.simulation.chain import Chain, chain_rule
    from gradlab.simulation.discounted import DiscountedStates, visit_discounted
    from gradlab.simulation.simulator import Rollouts, Simulator
    from gradlab.simulation.states import States

_HOMES = {
    "Chain": "gradlab.simulation.chain",
    "DiscountedStates": "gradlab.simulation.discounted",
    "Rollouts": "gradlab.simulation.simulator",
    "Simulator": "gradlab.simulation.simulator",
    "States": "gradlab.simulation.states",
    "chain_rule": "gradlab.simulation.chain",
    "visit_discounted": "gradlab.simulation.discounted",
}

__all__ = ["Chain", "DiscountedStates", "Rollouts", "Simulator", "States", "chain_rule", "visit_discounted"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
