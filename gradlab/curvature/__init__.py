"""Curvature of the critic: mixed partials M, action curvature μ, their ratio, and the policy's sensitivity."""

from gradlab.curvature.sensitivity import Sensitivity, sensitivity

__all__ = ["Sensitivity", "sensitivity"]
