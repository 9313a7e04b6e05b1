"""One figure, one file: stored measurements in, a plotly Figure out.

In a notebook: ``gradient_error(collect(store.scalars(run=1)))`` and ``field(store.arrays(measurement_id))``.
"""

from dashboards.figures.curvature import curvature
from dashboards.figures.field import field
from dashboards.figures.gradient_error import gradient_error
from dashboards.figures.landscape import landscape
from dashboards.figures.slices import action_slice
from dashboards.figures.state_fields import field_over_states
from dashboards.figures.wrong_direction import wrong_direction

__all__ = ["action_slice", "curvature", "field", "field_over_states", "gradient_error", "landscape", "wrong_direction"]
