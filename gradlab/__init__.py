"""gradlab: how good is this policy gradient, really?

The names below are loaded when first used, so that ``import gradlab`` and the command line stay quick.

Example:
    >>> import gradlab
    >>> gradlab.Estimate(0.5, 0.1, samples=64).resolved
    True
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradlab.adapters import load, view
    from gradlab.agent import Agent
    from gradlab.curvature import sensitivity
    from gradlab.error import GradientError, gradient_error
    from gradlab.errors import GradlabError
    from gradlab.estimate import Estimate
    from gradlab.landscape import local_optima
    from gradlab.measurement import Measurement
    from gradlab.objective import Objective
    from gradlab.store import open_store
    from gradlab.tangent import parameter_gradient, tangent_kernel
    from gradlab.trajectories import Trajectories
    from gradlab.trajectory_error import ParameterReference, trajectory_error
    from gradlab.trajectory_gradients import trajectory_gradients

__version__ = version("gradlab")

_HOMES = {
    "Agent": "gradlab.agent",
    "Estimate": "gradlab.estimate",
    "GradientError": "gradlab.error",
    "GradlabError": "gradlab.errors",
    "Measurement": "gradlab.measurement",
    "Objective": "gradlab.objective",
    "ParameterReference": "gradlab.trajectory_error",
    "Trajectories": "gradlab.trajectories",
    "gradient_error": "gradlab.error",
    "load": "gradlab.adapters",
    "local_optima": "gradlab.landscape",
    "open_store": "gradlab.store",
    "parameter_gradient": "gradlab.tangent",
    "sensitivity": "gradlab.curvature",
    "tangent_kernel": "gradlab.tangent",
    "trajectory_error": "gradlab.trajectory_error",
    "trajectory_gradients": "gradlab.trajectory_gradients",
    "view": "gradlab.adapters",
}

__all__ = [
    "Agent",
    "Estimate",
    "GradientError",
    "GradlabError",
    "Measurement",
    "Objective",
    "ParameterReference",
    "Trajectories",
    "gradient_error",
    "load",
    "local_optima",
    "open_store",
    "parameter_gradient",
    "sensitivity",
    "tangent_kernel",
    "trajectory_error",
    "trajectory_gradients",
    "view",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gradlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
