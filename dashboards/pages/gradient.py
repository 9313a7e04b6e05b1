"""Gradient: how wrong, how noisy and how well directed each estimator's gradient is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, no_update

from dashboards import figures
from dashboards import series as data
from dashboards.answer import least_error
from dashboards.cards import card, graph
from dashboards.figures.compared import Number
from dashboards.over_time import compared_runs, register_over_time, show_compared
from dashboards.pages.page import Page, Query, Seen
from dashboards.pages.parts import frame, of_page
from dashboards.presence import register_presence
from dashboards.records import Records
from dashboards.rollout_answer import rollout_answer
from dashboards.said import Answer
from dashboards.showing import absent_of, last_of, run_of, show, theme_of
from dashboards.terms import register_terms
from dashboards.words import DEFAULT_METRICS, METRICS, ON_POLICY, REFERENCES, estimator_label

_ROLLOUT = {name: word for name, word in ON_POLICY.items() if name.startswith("score-function/")}
_LEDGER = {name: word for name, word in ON_POLICY.items() if name.startswith(("ledger/", "clipping/", "policy/kl"))}


#: The cards of this page, by the id of their figures.
_CARDS = ("gradient", "rollout-gradient", "rollout-ledger")


def answer(seen: Seen) -> Answer:
    """Which estimator has the smallest error, and how much of a rollout's gradient is signal."""
    rollout = rollout_answer(seen.series)
    least = least_error(seen.series)
    if not least:
        return rollout or of_page(seen, "gradient", "the gradient's error")
    return Answer(" ".join([*least, *([rollout.text] if rollout else [])]), rollout.verdict if rollout else "fact")


def layout(query: Query) -> Any:
    """What is on the page."""
    return frame(
        "gradient",
        list(_CARDS),
        _errors(query),
        card(
            "Policy gradient of a rollout",
            graph("rollout-gradient", 520, "over-training"),
            about="How much of it is signal; dotted and hollow where that is not resolved from zero.",
            name="rollout-gradient",
            defined="rollout-gradient",
        ),
        card(
            "Bias and clipping of a rollout's gradient",
            graph("rollout-ledger", 480, "over-training"),
            about="What is in its mean that is not the return's gradient; what the last update's clipping took off, "
            "and how far it went.",
            name="rollout-ledger",
            defined="rollout-ledger",
        ),
    )


def _errors(query: Query) -> Any:
    controls = dmc.Group(
        [
            # Of several runs the colour is the run's: one estimator is drawn.
            dmc.Select(
                id="estimator", data=[], value=query.one("estimator", "", query.any("estimator")) or None, size="xs",
                w=190, allowDeselect=False, display="none", **{"aria-label": "Estimator to compare"},
            ),
            dmc.SegmentedControl(
                id="reference",
                data=[{"label": f"against the {word.label}", "value": probe} for probe, word in REFERENCES.items()],
                value=query.one("reference", "gradient", REFERENCES),
                size="xs",
            ),
        ],
        gap="xs",
    )  # fmt: skip
    chips = dmc.ChipGroup(
        id="metrics",
        multiple=True,
        value=query.many("metrics", DEFAULT_METRICS, METRICS),
        children=dmc.Group(
            [dmc.Chip(word.label, value=name, size="xs", variant="light") for name, word in METRICS.items()], gap=6
        ),
    )
    return card(
        "Gradient error of each estimator",
        [chips, graph("gradient", 660, "over-training")],
        controls,
        about="Bands are 95 % intervals; hollow marks are not resolved from zero.",
        name="gradient",
        defined="gradient",
    )


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""

    @app.callback(
        Output("estimator", "data"),
        Output("estimator", "value"),
        Output("estimator", "display"),
        Input("token", "data"),
        Input("reference", "value"),
        State("estimator", "data"),
        State("estimator", "value"),
        State("estimator", "display"),
    )
    def offered(token: Any, probe: str, known: Any, value: str | None, display: str) -> tuple[Any, ...]:
        several = compared_runs(token)
        runs = Counter(name for run in several for name in _estimators(records, run, probe))
        names = sorted(runs)
        after = (
            [{"label": estimator_label(name), "value": name} for name in names],
            value if value in names or not names else _usual(runs),
            "block" if several else "none",
        )
        before = (known, value, display)
        return tuple(new if new != old else no_update for new, old in zip(after, before, strict=True))

    @app.callback(
        Output("gradient", "figure"),
        Output("gradient-shown", "data"),
        Input("token", "data"),
        Input("scheme", "data"),
        Input("metrics", "value"),
        Input("reference", "value"),
        Input("estimator", "value"),
        Input("room", "data"),
        State("gradient-shown", "data"),
    )
    def gradient(
        token: Any, theme: Any, metrics: list[str], probe: str, estimator: str | None, room: Any, shown: Any
    ) -> tuple[Any, Any]:
        if several := compared_runs(token):
            numbers = [
                Number(f"{estimator}/{name}", word) for name, word in METRICS.items() if name in (metrics or [])
            ]  # fmt: skip
            return show_compared(records, shown, f"gradient {probe}", several, probe, numbers, theme, room)
        run = run_of(token)
        key = [run, last_of(records, run, probe), metrics, probe, room == 1, theme]
        return show(
            shown,
            key,
            lambda: figures.gradient_error(
                records.series(run),
                metrics,
                probe,
                theme_of(theme),
                f"gradient {run} {probe} {metrics}",
                absent=absent_of(records, run, probe),
                narrow=room == 1,
            ),
        )

    numbers = [Number(name, word) for name, word in _ROLLOUT.items()]
    register_over_time(
        app, records, "rollout-gradient", "on-policy", figures.rollout_gradient, numbers, says_absent=True
    )
    register_over_time(
        app,
        records,
        "rollout-ledger",
        "on-policy",
        figures.rollout_ledger,
        [Number(name, word) for name, word in _LEDGER.items()],
    )
    register_presence(app, records, "gradient", list(_CARDS))
    register_terms(app, records, "gradient", {"gradient": METRICS, "simulator": METRICS})
    register_terms(app, records, "rollout-gradient", {"on-policy": _ROLLOUT})
    register_terms(app, records, "rollout-ledger", {"on-policy": _LEDGER})


def _estimators(records: Records, run: int, probe: str) -> list[str]:
    return data.estimators(records.series(run), probe, METRICS)


def _usual(runs: Counter[str]) -> str:
    """The one that most of the runs have; the deterministic one has no variance to compare against its own critic."""
    return max(sorted(runs), key=lambda name: (runs[name], name != "deterministic", name.startswith("zeroth-order")))


PAGE = Page(
    "gradient",
    "Gradient",
    answer,
    layout,
    register,
    stops=("gradient", "simulator", "on-policy"),
    choices={"reference": "gradient", "metrics": ",".join(DEFAULT_METRICS), "estimator": ""},
)
