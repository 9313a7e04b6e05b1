"""The learned field less the simulated one, and how sure the simulated one is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from dashboards.figures.field_panel import Floats, Panel, panel, simulated_panel

#: How many standard errors a difference must be from zero to be told from it.
_TOLD = 1.96


def difference_panel(
    arrays: Mapping[str, xr.DataArray], state: int = 0, critic: int = 0, title: str = ""
) -> Panel | None:
    """Q less the simulated Q^π on the simulated grid, each less its mean; None where it was not simulated.

    Between the points of its own grid Q is taken as linear in each action. Arrows are differences on the grid.

    Args:
        arrays: from ``store.arrays(measurement_id)``.
        state: which of the stored states.
        critic: which of the stored critics.
        title: what the panel is called.
    """
    truth = simulated_panel(arrays, state)
    if truth is None:
        return None
    learned = panel(arrays, state, critic)
    values = replace(truth, values=_at(learned, truth.sides)).centred().values - truth.centred().values
    # Where one of both is not known their means are of different places.
    values = values - (float(np.nanmean(values)) if np.isfinite(values).any() else 0.0)
    if truth.flat:
        slopes = np.gradient(values, truth.sides[0])
    else:
        slopes = np.stack(np.gradient(values, *truth.sides[::-1])[::-1], -1)
    none = np.empty((0, len(truth.sides)))
    empty = np.empty(0)
    return replace(
        truth, title=title, values=values, slopes=slopes, optima=none, heights=empty, shares=empty, distances=empty,
        diverging=True,
    )  # fmt: skip


def sureness(difference: Panel, noises: int = 0) -> str:
    """What is said of a difference: how sure the simulated values are, and where it is told from zero.

    Args:
        difference: from ``difference_panel``.
        noises: how many noises each simulated value is the mean of; 0 where that is not known.

    Example:
        >>> from dashboards.figures.field_panel import panel
        >>> axes = {"x": [0.0, 1.0], "y": [0.0, 1.0]}
        >>> q = xr.DataArray(np.zeros((1, 1, 2, 2)), dims=("critic", "state", "y", "x"), coords=axes)
        >>> truth = xr.DataArray([[[0.0, 1.0], [2.0, 3.0]]], dims=("state", "y", "x"), coords=axes)
        >>> noise = xr.full_like(truth, 0.3)
        >>> sureness(difference_panel({"q": q, "simulated_q": truth, "simulated_stderr": noise}))
        'The simulated values have a standard error of 0.3 (median), at most 0.3; the difference is told from zero on
        50 % of the plane.'
    """
    stderr = difference.stderr
    known = stderr[np.isfinite(stderr)] if stderr is not None else np.empty(0)
    if stderr is None or not known.size:
        return "How sure the simulated values are was not stored."
    if not known.any():
        return "Neither the policy nor the task draws random numbers: the simulated values are exact."
    there = np.isfinite(difference.values) & np.isfinite(stderr)
    told = float((np.abs(difference.values) > _TOLD * stderr)[there].mean()) if there.any() else 0.0
    place = "line" if difference.flat else "plane"
    count = f", n = {noises} noises" if noises else ""
    return (
        f"The simulated values have a standard error of {np.median(known):.2g} (median), at most {known.max():.2g}"
        f"{count}; the difference is told from zero on {100 * told:.0f} % of the {place}."
    )


def _at(learned: Panel, sides: tuple[Floats, ...]) -> Floats:
    """Values of a panel at other coordinates, [y, x] or [x], linear between its own."""
    along = np.atleast_2d(learned.values)
    found = np.stack([np.interp(sides[0], learned.sides[0], line) for line in along])
    if learned.flat:
        return np.asarray(found[0])
    return np.stack([np.interp(sides[1], learned.sides[1], line) for line in found.T], -1)
