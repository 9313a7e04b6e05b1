"""Figure: which of the actor's layers the signal, the noise and the bias of a gradient sit in."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.at_step import Snapshot, snapshot
from dashboards.figures.composition import Row, composition
from dashboards.gradient_words import LAYERS
from dashboards.series import Series
from dashboards.style import PALETTE, Theme
from dashboards.words import escape, estimator_label

_MEANING = (
    "Parts of all layers add up to the whole, exactly: parameters of different layers are different coordinates of "
    "the gradient."
)


def layers(
    series: data.SeriesSet, step: int | None = None, theme: Theme = "light", uirevision: str = "layers"
) -> go.Figure:
    """Shares of the layers, from the input on: of the reference's ‖g‖², and of each estimator's variance.

    Where noise sits in other layers than signal does, those layers learn the least from a step.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        step: the newest measurement at this training step; the newest of all when None.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> layers({}).layout.annotations[0].text
        'waiting for the first measurement'
    """
    shown = snapshot(series, "estimators", step, lambda name: name.startswith("layer/"))
    keys = [name.split("/", 2) for name in shown.points if name.endswith("/variance")]
    places = sorted({int(place) for _, place, _ in keys if place.isdecimal()})
    modules, estimators = _modules(shown)
    points: dict[str, Series] = dict(shown.points)
    rows: list[Row] = []
    for estimator in estimators:
        for metric in ("reference_squared", "variance"):
            label = f"{LAYERS[metric].label}, {escape(estimator_label(estimator))}"
            if metric == "reference_squared":
                if rows:
                    continue
                label = "signal: the reference's ‖g‖²"
            parts = [f"layer/{place}/{modules[place]}/{estimator}/{metric}" for place in places]
            if not all(part in points for part in parts):
                continue
            whole = sum(shown.value(part) for part in parts)
            remark = "" if whole > 0 else "none: it has no variance at given states"
            rows.append(Row(label, "", parts, remark))
    return composition(
        Snapshot(shown.step, points),
        rows,
        [(escape(modules[place]), PALETTE[place % len(PALETTE)][theme == "dark"]) for place in places],
        ("Where it sits", _MEANING),
        ("", ""),
        theme,
        uirevision,
        "waiting for the first measurement",
    )


def _modules(shown: Snapshot) -> tuple[dict[int, str], list[str]]:
    """Names of the layers by their place, and the estimators."""
    modules: dict[int, str] = {}
    estimators: dict[str, None] = {}
    for name in shown.points:
        _, place, rest = name.split("/", 2)
        module, estimator, _ = rest.rsplit("/", 2)
        modules[int(place)] = module
        estimators[estimator] = None
    return modules, sorted(estimators)
