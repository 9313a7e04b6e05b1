"""How far an agent's gradient estimators are from a reference, relative to the true gradient: the table of biases."""

from gradlab.bias.by_state import StateError, state_error
from gradlab.bias.measure import BiasReport, long_horizon, measure_bias, usual_estimators
from gradlab.bias.ratios import RelativeError, RelativeErrors

__all__ = [
    "BiasReport",
    "RelativeError",
    "RelativeErrors",
    "StateError",
    "long_horizon",
    "measure_bias",
    "state_error",
    "usual_estimators",
]
