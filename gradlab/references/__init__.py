"""References: trustworthy cotangents with their own standard error."""

from gradlab.references.base import ReferenceCotangent
from gradlab.references.critic import CriticReference
from gradlab.references.simulator import SimulatorReference

__all__ = ["CriticReference", "ReferenceCotangent", "SimulatorReference"]
