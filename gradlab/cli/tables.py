"""Measurements as rich tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.table import Table

from gradlab.estimate import Estimate
from gradlab.measurement import Measurement

if TYPE_CHECKING:
    from gradlab.store import MeasurementInfo, Store
    from probes.offline import Result

_COLUMNS = {
    "bias_squared": "bias²",
    "variance": "variance",
    "mse": "MSE",
    "cosine": "cosine",
    "norm_ratio": "norm ratio",
    "snr": "SNR",
}
#: Numbers a person looks at first: probe, scalar, and what it is called.
_HEADLINES = (
    ("simulator", "deterministic/wrong_direction", "wrong direction"),
    ("gradient", "zeroth-order-2/snr", "SNR"),
    ("landscape", "gap", "gap"),
    ("curvature", "ratio", "M/μ"),
)


def headlines(results: Sequence[Result]) -> dict[str, str]:
    """The numbers a person looks at first, of those that were measured, by what they are called.

    Example:
        >>> from gradlab.measurement import Measurement
        >>> from probes.offline import Result
        >>> headlines([Result("landscape", "ok", 1.0, Measurement({"gap": Estimate(0.5, 0.1, samples=16)}))])
        {'gap': '0.5 ± 0.1'}
    """
    found = {result.probe: result.measurement.scalars for result in results if result.measurement is not None}
    return {word: cell(found[probe][name]) for probe, name, word in _HEADLINES if name in found.get(probe, {})}


def results_of(store: Store, run: int, measured: Sequence[MeasurementInfo]) -> list[Result]:
    """Measurements of a run as the store has them, without their arrays."""
    from probes.offline import Result

    table = store.scalars(run=run)
    scalars: dict[int, dict[str, Estimate]] = {one.id: {} for one in measured}
    for row in np.flatnonzero(np.isin(table.id, list(scalars))):
        ends = (float(table.low[row]), float(table.high[row]))
        scalars[int(table.id[row])][str(table.name[row])] = Estimate(
            float(table.value[row]),
            float(table.stderr[row]),
            int(table.samples[row]),
            str(table.reference[row]),
            str(table.objective[row]),
            scale=table.scale[row],
            ends=None if math.isnan(ends[0]) else ends,
        )
    return [
        Result(
            one.probe,
            one.status,
            one.cost,
            Measurement(scalars[one.id], notes=one.notes) if one.status == "ok" else None,
            one.message,
        )
        for one in measured
    ]


def error_table(results: Sequence[Result]) -> Iterator[Table]:
    """One table a reference: estimators down, their errors across."""
    for result in results:
        if result.measurement is None or not any("/" in name for name in result.measurement.scalars):
            continue
        scalars = result.measurement.scalars
        reference = next(iter(scalars.values())).reference
        objective = next(iter(scalars.values())).objective
        table = Table(title=f"against {reference} ({objective})", title_justify="left", box=box.SIMPLE_HEAD, padding=0)
        # Names cut short would no longer tell estimators apart; on a narrow screen the numbers take two lines.
        table.add_column("estimator", no_wrap=True)
        for title in _COLUMNS.values():
            table.add_column(title, justify="right", min_width=8)
        estimators = dict.fromkeys(name.split("/")[0] for name in scalars)
        for estimator in estimators:
            cells = [cell(scalars.get(f"{estimator}/{metric}")) for metric in _COLUMNS]
            table.add_row(estimator, *cells)
        table.caption = "± is one standard error; ~ marks what is not resolved from zero at 95 %"
        table.caption_justify = "left"
        yield table


def scalar_table(results: Sequence[Result]) -> Table:
    """Everything that is not an estimator's error: landscape and curvature, a row a number."""
    table = Table(title="landscape and curvature", title_justify="left", box=box.SIMPLE_HEAD)
    for title, justify in (("probe", "left"), ("number", "left"), ("value", "right"), ("n", "right")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for result in results:
        for name, estimate in (result.measurement.scalars if result.measurement else {}).items():
            if "/" not in name:
                table.add_row(result.probe, name.replace("_", " "), cell(estimate), str(estimate.samples))
    return table


def finding(results: Sequence[Result]) -> str:
    """The one sentence a person came for."""
    for result in results:
        wrong = (result.measurement.scalars if result.measurement else {}).get("deterministic/wrong_direction")
        if wrong is not None:
            return (
                f"The critic's action gradient points the wrong way on {cell(wrong)} of the states visited "
                f"({wrong.reference}, {wrong.objective}; {wrong.samples} episodes)."
            )
    return "There is no simulator reference, so the critic itself is not judged; see below why."


def cell(estimate: Estimate | None) -> str:
    """A value with its standard error, short; ``~`` marks one whose interval spans zero; a share with its interval.

    Example:
        >>> cell(Estimate(2.0, 0.5, samples=64)), cell(Estimate(2.0, math.nan, samples=1))
        ('2 ± 0.5', '2 (no interval)')
    """
    if estimate is None or math.isnan(estimate.value):
        return "unresolved"
    if math.isnan(estimate.stderr):
        return f"{_number(estimate.value, 3)} (no interval)"
    if estimate.scale == "share":
        low, high = estimate.interval()
        return f"{estimate.value:.0%} ({low:.0%} to {high:.0%})"
    mark = "" if estimate.resolved or estimate.stderr == 0 else "~"
    return f"{mark}{_number(estimate.value, 3)} ± {_number(estimate.stderr, 1)}"


def _number(value: float, digits: int) -> str:
    """Rounded to so many significant digits; powers of ten only where zeros would be many."""
    return f"{float(f'{value:.{digits}g}'):g}"
