"""One figure, one file: stored measurements in, a plotly Figure out.

In a notebook: ``gradient_error(collect(store.scalars(run=1)))`` and ``field(store.arrays(measurement_id))``.
"""

from dashboards.figures.curvature import curvature
from dashboards.figures.field import field
from dashboards.figures.gradient_error import gradient_error
from dashboards.figures.landscape import landscape
from dashboards.figures.wrong_direction import wrong_direction

__all__ = ["curvature", "field", "gradient_error", "landscape", "wrong_direction"]
