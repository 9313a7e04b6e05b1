"""References: trustworthy cotangents with their own standard error."""

from gradlab.references.base import ReferenceCotangent
from gradlab.references.bootstrapped import BootstrappedReference
from gradlab.references.critic import CriticReference
from gradlab.references.gradient_samples import PolicyGradient
from gradlab.references.monte_carlo import MonteCarloReference
from gradlab.references.parameter import policy_gradient
from gradlab.references.simulator import SimulatorReference
from gradlab.references.smoothed import SmoothedSimulatorReference

__all__ = [
    "BootstrappedReference",
    "CriticReference",
    "MonteCarloReference",
    "PolicyGradient",
    "ReferenceCotangent",
    "SimulatorReference",
    "SmoothedSimulatorReference",
    "policy_gradient",
]
