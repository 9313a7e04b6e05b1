"""From the actor's head to a distribution over actions.

The *head* h = h_θ(s) is everything the action distribution is built from. A policy is stateless: every method
takes the head, so that one object serves every state, every draw and every copy of the agent. Shapes: ``head``
[..., B, m], ``act`` and ``noise`` [..., B, p]; leading dimensions broadcast. Every continuous policy maps standard
normal noise, so that quadrature and low-discrepancy references work for all of them.
"""

from gradlab.policies.base import Deterministic, Policy
from gradlab.policies.clamped_gaussian import ClampedGaussian
from gradlab.policies.gaussian import Around, Gaussian, SquashedGaussian
from gradlab.policies.kumaraswamy import Kumaraswamy
from gradlab.policies.softmax import Softmax
from gradlab.policies.truncated_normal import TruncatedNormal

__all__ = [
    "Around",
    "ClampedGaussian",
    "Deterministic",
    "Gaussian",
    "Kumaraswamy",
    "Policy",
    "Softmax",
    "SquashedGaussian",
    "TruncatedNormal",
]
