"""Curvature of the critic: mixed partials M, action curvature μ, their ratio, and what they predict of the policy."""

from gradlab.curvature.fields import curvature_field, curvature_field_over_states
from gradlab.curvature.measured import Sensitivity
from gradlab.curvature.sensitivity import sensitivity, sensitivity_by_critic
from gradlab.hessians.hutchinson import hutchinson_frobenius, hutchinson_trace, hutchinson_variance

__all__ = [
    "Sensitivity",
    "curvature_field",
    "curvature_field_over_states",
    "hutchinson_frobenius",
    "hutchinson_trace",
    "hutchinson_variance",
    "sensitivity",
    "sensitivity_by_critic",
]
