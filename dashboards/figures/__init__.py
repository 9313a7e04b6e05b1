"""One figure, one file: stored measurements in, a plotly Figure out.

In a notebook ``dashboards.of_run("gradlab.db").gradient_error()`` reads them itself; of what has been read already,
``gradient_error(collect(store.scalars(run=1)))`` and ``field(store.arrays(measurement_id))``.
"""

from dashboards.figures.any_probe import any_probe
from dashboards.figures.batch_size import batch_size
from dashboards.figures.bound_and_observed import bound_and_observed
from dashboards.figures.calibration import calibration
from dashboards.figures.compared import compared
from dashboards.figures.cost import cost
from dashboards.figures.curvature import curvature
from dashboards.figures.error_ledger import error_ledger
from dashboards.figures.error_parts import error_parts
from dashboards.figures.field import field
from dashboards.figures.fields import fields
from dashboards.figures.gradient_error import gradient_error
from dashboards.figures.health import health
from dashboards.figures.improvement import improvement
from dashboards.figures.landscape import landscape
from dashboards.figures.layers import layers
from dashboards.figures.ledger_terms import ledger_terms
from dashboards.figures.optima_over_persistence import optima_over_persistence
from dashboards.figures.radius import radius
from dashboards.figures.ranking import ranking
from dashboards.figures.rollout_gradient import rollout_gradient
from dashboards.figures.rollout_ledger import rollout_ledger
from dashboards.figures.rollout_value import rollout_value
from dashboards.figures.slices import action_slice
from dashboards.figures.state_fields import field_over_states
from dashboards.figures.state_look import state_look
from dashboards.figures.surrogates import surrogates
from dashboards.figures.truth_over_training import critic_gradient, phantoms, smoothness, spectrum, value_error
from dashboards.figures.variance_split import variance_split
from dashboards.figures.wrong_direction import wrong_direction

__all__ = [
    "action_slice",
    "any_probe",
    "batch_size",
    "bound_and_observed",
    "calibration",
    "compared",
    "cost",
    "critic_gradient",
    "curvature",
    "error_ledger",
    "error_parts",
    "field",
    "field_over_states",
    "fields",
    "gradient_error",
    "health",
    "improvement",
    "landscape",
    "layers",
    "ledger_terms",
    "optima_over_persistence",
    "phantoms",
    "radius",
    "ranking",
    "rollout_gradient",
    "rollout_ledger",
    "rollout_value",
    "smoothness",
    "spectrum",
    "state_look",
    "surrogates",
    "value_error",
    "variance_split",
    "wrong_direction",
]
