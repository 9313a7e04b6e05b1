"""What a probe returns at one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import xarray as xr

from gradlab.estimate import Estimate


@dataclass(frozen=True)
class Measurement:
    """Numbers with their uncertainty, and labelled arrays for figures.

    Attributes:
        scalars: name → Estimate; parts of a name are separated by slashes (``zeroth-order/cosine``).
        arrays: name → labelled array, dimensions named and coordinates attached where an axis has values.
        notes: what a person should know about this measurement, one line each (left-out states, closed gates).

    Example:
        >>> Measurement({"gap": Estimate(0.1, 0.01, samples=64)}).scalars["gap"].value
        0.1
    """

    scalars: Mapping[str, Estimate] = field(default_factory=dict)
    arrays: Mapping[str, xr.DataArray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
