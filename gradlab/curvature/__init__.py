"""Curvature of the critic: mixed partials M, action curvature μ, their ratio, the policy's sensitivity, and traces."""

from gradlab.curvature.hutchinson import hutchinson_frobenius, hutchinson_trace, hutchinson_variance
from gradlab.curvature.sensitivity import Sensitivity, sensitivity

__all__ = ["Sensitivity", "hutchinson_frobenius", "hutchinson_trace", "hutchinson_variance", "sensitivity"]
