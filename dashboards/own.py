"""Which figures a run has use for, and which of its probes have no figure of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dashboards import series as data
from dashboards.gradient_words import PARTS
from dashboards.health_words import HEALTH
from dashboards.truth_words import PHANTOM, SMOOTHNESS, VALUE
from dashboards.words import CURVATURE, LANDSCAPE, METRICS, ON_POLICY

#: Probes that a figure is made for → names of the numbers that say it is that probe, whole or after the last slash.
_KNOWN: dict[str, Collection[str]] = {
    "field": (),
    "gradient": METRICS,
    "estimators": (*PARTS, *METRICS),
    "simulator": (*METRICS, "wrong_direction"),
    "landscape": LANDSCAPE,
    "curvature": CURVATURE,
    "on-policy": ON_POLICY,
    "health": HEALTH,
    "smoothness": SMOOTHNESS,
    "returns": (*VALUE, *PHANTOM, "predicted", "realised"),
}
#: Figures of the page → the probes whose numbers they draw.
CARDS = {
    "field": ("field",),
    "gradient": ("gradient", "simulator"),
    "error-parts": ("gradient", "simulator"),
    # Their records are later than the probes beside them, whose runs they say it of where they are missing.
    "ranking": ("gradient", "estimators", "simulator"),
    "error-ledger": ("simulator",),
    "ledger-terms": ("simulator",),
    "variance-split": ("gradient", "estimators"),
    "batch-size": ("gradient", "estimators"),
    "radius": ("gradient", "estimators"),
    "layers": ("gradient", "estimators"),
    "wrong": ("simulator",),
    "health": ("health",),
    "landscape": ("landscape",),
    "curvature": ("curvature",),
    # What later probes measure is beside what earlier ones do, and says where it is missing.
    "persistence": ("landscape",),
    "surrogates": ("landscape",),
    "phantoms": ("landscape", "returns"),
    "spectrum": ("curvature",),
    "smoothness": ("curvature", "smoothness"),
    "bound": ("curvature", "smoothness"),
    "value-error": ("simulator", "returns"),
    "calibration": ("simulator", "returns"),
    "critic-gradient": ("simulator",),
    "improvement": ("simulator", "returns"),
    "rollout-gradient": ("on-policy",),
    "rollout-value": ("on-policy",),
    "rollout-ledger": ("on-policy",),
}
#: Figures of numbers that not every run of their probe has.
_ONLY_WITH = {
    "rollout-ledger": frozenset(name for name in ON_POLICY if name.startswith(("ledger/", "clipping/", "policy/kl")))
}
#: Of a run that does not say what it measures, and has not measured yet.
_USUAL = ("field", "gradient", "simulator", "landscape", "curvature")


def planned(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a run says it measures, by probe; empty where it does not say.

    Example:
        >>> planned({"probes": {"field": {"every": 500}}}), planned({})
        ({'field': {'every': 500}}, {})
    """
    found = config.get("probes")
    if not isinstance(found, Mapping):
        return {}
    return {str(name): dict(one) if isinstance(one, Mapping) else {} for name, one in found.items()}


def others(series: data.SeriesSet, config: Mapping[str, Any], measured: Collection[str]) -> list[str]:
    """Probes without a figure of their own, in the order of their names: names are free, and so is what they measure.

    A probe that has the name of one of gradlab's and none of its numbers is one of these.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        config: what the run was configured with.
        measured: names of the probes that have measured, or tried to.

    Example:
        >>> others({}, {"probes": {"field": {}, "mine": {}}}, ["gradient", "yours"])
        ['mine', 'yours']
    """
    return [name for name in sorted({*planned(config), *measured}) if not has_figure(series, name)]


def needed(card: str, series: data.SeriesSet, config: Mapping[str, Any], measured: Collection[str]) -> bool:
    """Whether a figure has, or may get, something to show in this run.

    Args:
        card: a key of ``CARDS``.
        series: the scalars of one run.
        config: what the run was configured with.
        measured: names of the probes that have measured, or tried to.

    Example:
        >>> needed("field", {}, {"probes": {"on-policy": {}}}, []), needed("field", {}, {}, [])
        (False, True)
    """
    if card in _ONLY_WITH and not any(key.probe in CARDS[card] and key.name in _ONLY_WITH[card] for key in series):
        return False
    expected = {*planned(config), *measured} or set(_USUAL)
    return any(probe in expected and has_figure(series, probe) for probe in CARDS[card])


def has_figure(series: data.SeriesSet, probe: str) -> bool:
    """Whether a figure is made for a probe: it is gradlab's by its name and, if it has numbers, by one of them.

    Example:
        >>> has_figure({}, "landscape"), has_figure({}, "mine")
        (True, False)
    """
    if probe not in _KNOWN:
        return False
    names = [key.name for key in series if key.probe == probe]
    known = _KNOWN[probe]
    return not names or not known or any(name in known or name.rpartition("/")[2] in known for name in names)
