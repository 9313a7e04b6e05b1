"""Curvature of the critic: mixed partials M, action curvature μ, their ratio, and what they predict of the policy."""

from gradlab.curvature import losses
from gradlab.curvature.alarms import Alarm, Alarms, volatility_alarms
from gradlab.curvature.along_runs import AlongRuns, predictions_along
from gradlab.curvature.fields import curvature_field, curvature_field_over_states
from gradlab.curvature.measured import Sensitivity
from gradlab.curvature.observed import ObservedSmoothness, observed_smoothness
from gradlab.curvature.predictions import Predictions, sensitivity_predictions
from gradlab.curvature.regularity import FieldRegularity, field_regularity
from gradlab.curvature.roughness import FieldRoughness, field_roughness
from gradlab.curvature.sensitivity import sensitivity, sensitivity_by_critic
from gradlab.curvature.supremum import LargestSeen, largest_seen
from gradlab.hessians.hutchinson import hutchinson_frobenius, hutchinson_trace, hutchinson_variance
from gradlab.inference.rank_correlation import OverTraining, rank_correlation, rank_correlation_over_training

__all__ = [
    "Alarm",
    "Alarms",
    "AlongRuns",
    "FieldRegularity",
    "FieldRoughness",
    "LargestSeen",
    "ObservedSmoothness",
    "OverTraining",
    "Predictions",
    "Sensitivity",
    "curvature_field",
    "curvature_field_over_states",
    "field_regularity",
    "field_roughness",
    "hutchinson_frobenius",
    "hutchinson_trace",
    "hutchinson_variance",
    "largest_seen",
    "losses",
    "observed_smoothness",
    "predictions_along",
    "rank_correlation",
    "rank_correlation_over_training",
    "sensitivity",
    "sensitivity_by_critic",
    "sensitivity_predictions",
    "volatility_alarms",
]
