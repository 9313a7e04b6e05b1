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
    from gradlab.episode_error import ParameterReference, trajectory_error
    from gradlab.episode_gradients import trajectory_gradients
    from gradlab.error import GradientError, error_from_gram, gradient_error, gradient_variance
    from gradlab.errors import GradlabError
    from gradlab.estimate import Estimate
    from gradlab.landscape import local_optima
    from gradlab.ledger import ErrorLedger, RolloutLedger, error_ledger, rollout_ledger
    from gradlab.measurement import Measurement
    from gradlab.objective import Objective
    from gradlab.on_policy_loss import OnPolicyLoss
    from gradlab.references import PolicyGradient, policy_gradient
    from gradlab.rollout import Rollout
    from gradlab.statistics.agreement import Agreement, cross_check
    from gradlab.statistics.comparison import Comparison, compare
    from gradlab.statistics.critic import CriticError, critic_error
    from gradlab.statistics.curve import Sweep, sweep
    from gradlab.statistics.improvement import Improvement, realised_improvement
    from gradlab.statistics.minibatch import NoiseScale, noise_scale
    from gradlab.statistics.policy_update import PolicyUpdate, policy_update
    from gradlab.statistics.ranking import Ranking, rank
    from gradlab.statistics.sign import wrong_direction
    from gradlab.statistics.split import VarianceSplit, variance_split
    from gradlab.statistics.states import over_states
    from gradlab.statistics.views import error_by_coordinate, error_by_layer
    from gradlab.store import open_store
    from gradlab.store.across import AcrossRuns, across_runs
    from gradlab.tangent import parameter_gradient, tangent_kernel
    from gradlab.trajectories import Trajectories

__version__ = version("gradlab")

_HOMES = {
    "AcrossRuns": "gradlab.store.across",
    "Agent": "gradlab.agent",
    "Agreement": "gradlab.statistics.agreement",
    "Comparison": "gradlab.statistics.comparison",
    "CriticError": "gradlab.statistics.critic",
    "ErrorLedger": "gradlab.ledger",
    "Estimate": "gradlab.estimate",
    "GradientError": "gradlab.error",
    "GradlabError": "gradlab.errors",
    "Improvement": "gradlab.statistics.improvement",
    "Measurement": "gradlab.measurement",
    "NoiseScale": "gradlab.statistics.minibatch",
    "Objective": "gradlab.objective",
    "OnPolicyLoss": "gradlab.on_policy_loss",
    "ParameterReference": "gradlab.episode_error",
    "PolicyGradient": "gradlab.references",
    "PolicyUpdate": "gradlab.statistics.policy_update",
    "Rollout": "gradlab.rollout",
    "RolloutLedger": "gradlab.ledger",
    "Sweep": "gradlab.statistics.curve",
    "Trajectories": "gradlab.trajectories",
    "VarianceSplit": "gradlab.statistics.split",
    "across_runs": "gradlab.store.across",
    "compare": "gradlab.statistics.comparison",
    "critic_error": "gradlab.statistics.critic",
    "cross_check": "gradlab.statistics.agreement",
    "error_by_coordinate": "gradlab.statistics.views",
    "error_by_layer": "gradlab.statistics.views",
    "error_from_gram": "gradlab.error",
    "error_ledger": "gradlab.ledger",
    "gradient_error": "gradlab.error",
    "gradient_variance": "gradlab.error",
    "load": "gradlab.adapters",
    "local_optima": "gradlab.landscape",
    "noise_scale": "gradlab.statistics.minibatch",
    "open_store": "gradlab.store",
    "over_states": "gradlab.statistics.states",
    "parameter_gradient": "gradlab.tangent",
    "policy_gradient": "gradlab.references",
    "policy_update": "gradlab.statistics.policy_update",
    "rank": "gradlab.statistics.ranking",
    "realised_improvement": "gradlab.statistics.improvement",
    "rollout_ledger": "gradlab.ledger",
    "sensitivity": "gradlab.curvature",
    "sweep": "gradlab.statistics.curve",
    "tangent_kernel": "gradlab.tangent",
    "trajectory_error": "gradlab.episode_error",
    "trajectory_gradients": "gradlab.episode_gradients",
    "variance_split": "gradlab.statistics.split",
    "view": "gradlab.adapters",
    "wrong_direction": "gradlab.statistics.sign",
}

__all__ = [
    "AcrossRuns",
    "Agent",
    "Agreement",
    "Comparison",
    "CriticError",
    "ErrorLedger",
    "Estimate",
    "GradientError",
    "GradlabError",
    "Improvement",
    "Measurement",
    "NoiseScale",
    "Objective",
    "OnPolicyLoss",
    "ParameterReference",
    "PolicyGradient",
    "PolicyUpdate",
    "Ranking",
    "Rollout",
    "RolloutLedger",
    "Sweep",
    "Trajectories",
    "VarianceSplit",
    "across_runs",
    "compare",
    "critic_error",
    "cross_check",
    "error_by_coordinate",
    "error_by_layer",
    "error_from_gram",
    "error_ledger",
    "gradient_error",
    "gradient_variance",
    "load",
    "local_optima",
    "noise_scale",
    "open_store",
    "over_states",
    "parameter_gradient",
    "policy_gradient",
    "policy_update",
    "rank",
    "realised_improvement",
    "rollout_ledger",
    "sensitivity",
    "sweep",
    "tangent_kernel",
    "trajectory_error",
    "trajectory_gradients",
    "variance_split",
    "view",
    "wrong_direction",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gradlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
