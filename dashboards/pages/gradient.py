"""Gradient: how wrong, how noisy and how well directed each estimator's gradient is, and where its error comes from."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update

from dashboards import figures
from dashboards import series as data
from dashboards.answer import least_error
from dashboards.at_step import snapshot
from dashboards.figures.compared import Number
from dashboards.gradient_words import TERMS
from dashboards.over_time import compared_runs, show_compared
from dashboards.pages.gradient_views import VIEWS, register_views, view
from dashboards.pages.page import Page, Query, Seen
from dashboards.pages.parts import of_page
from dashboards.records import Records
from dashboards.rollout_answer import rollout_answer
from dashboards.said import Answer
from dashboards.showing import KINDS, absent_of, last_of, part_of_token, run_of, show, theme_of
from dashboards.words import DEFAULT_METRICS, METRICS, REFERENCES, estimator_label


def answer(seen: Seen) -> Answer:
    """Which estimator has the smallest error, where that of a run comes from, and how much of a rollout is signal."""
    rollout = rollout_answer(seen.series)
    said = [*least_error(seen.series), *_source(seen.series), *_batch(seen.series)]
    if not said:
        return rollout or of_page(seen, "gradient", "the gradient's error")
    return Answer(" ".join([*said, *([rollout.text] if rollout else [])]), rollout.verdict if rollout else "fact")


def _source(series: data.SeriesSet) -> list[str]:
    """The largest term of the error ledger that is told from zero."""
    shown = snapshot(series, "simulator", None, lambda name: name.startswith("ledger/"))
    names = {name: f"ledger/{name}/norm_squared" for name in TERMS}
    there = {name: one for name, one in names.items() if one in shown.points and shown.resolved(one)}
    largest = max(there, key=lambda name: shown.value(there[name]), default=None)
    if largest is None:
        return []
    unsure = [name for name, one in names.items() if one in shown.points and name not in there
              and shown.ends(one)[1] > shown.value(there[largest])]  # fmt: skip
    more = f"; not resolved, and maybe larger: {', '.join(TERMS[name].label for name in unsure)}" if unsure else ""
    return [
        f"Step {shown.step:,}: the largest known term of the applied gradient's error is {TERMS[largest].label}{more}."
    ]


def _batch(series: data.SeriesSet) -> list[str]:
    """The smallest critical batch size."""
    shown = snapshot(series, "estimators", None, lambda name: name.endswith("/noise_scale"))
    there = {name: shown.value(name) for name in shown.points if shown.value(name) > 0}
    least = min(there, key=there.__getitem__, default=None)
    if least is None:
        return []
    low, high = shown.ends(least)
    between = f"{max(low, 1):,.0f} to {high:,.0f}" if math.isfinite(high) else f"{max(low, 1):,.0f} or more"
    label = estimator_label(least.removesuffix("/noise_scale"))
    return [f"A batch has as much noise as signal at {between} states ({label})."]


def layout(query: Query) -> Any:
    """What is on the page: the tabs with all controls, which the address keeps, and what is behind the open tab."""
    chosen = query.one("view", "error", VIEWS)
    controls = dmc.Group(
        [
            # Of several runs the colour is the run's: one estimator is drawn.
            dmc.Select(
                id="estimator", data=[], value=query.one("estimator", "", query.any("estimator")) or None, size="xs",
                w=190, allowDeselect=False, display="none", **{"aria-label": "Estimator to compare"},
            ),
            html.Div(
                dmc.SegmentedControl(
                    id="reference",
                    data=[{"label": f"against the {word.label}", "value": probe} for probe, word in REFERENCES.items()],
                    value=query.one("reference", "gradient", REFERENCES),
                    size="xs",
                    **{"aria-label": "What errors are against"},
                ),
                id="of-errors",
                style=_shown(chosen),
            ),
        ],
        gap="xs",
    )  # fmt: skip
    tabs = dmc.SegmentedControl(
        id="view",
        data=[{"label": label, "value": name} for name, (label, _) in VIEWS.items()],
        value=chosen,
        size="sm",
        **{"aria-label": "View"},
    )
    chips = dmc.ChipGroup(
        id="metrics",
        multiple=True,
        value=query.many("metrics", DEFAULT_METRICS, METRICS),
        children=dmc.Group(
            [dmc.Chip(word.label, value=name, size="xs", variant="light") for name, word in METRICS.items()], gap=6
        ),
    )
    return dmc.Stack(
        [
            dmc.Group([tabs, controls], justify="space-between", gap="xs"),
            html.Div(chips, id="of-lines", style=_shown(chosen)),
            html.Div(view(chosen), id="gradient-view"),
        ],
        gap="sm",
    )


def _shown(view_: str) -> dict[str, str]:
    """Style of the controls that only the first tab has."""
    return {} if view_ == "error" else {"display": "none"}


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""

    @app.callback(
        Output("gradient-view", "children"),
        Output("of-errors", "style"),
        Output("of-lines", "style"),
        Input("view", "value"),
        prevent_initial_call=True,
    )
    def opened(name: str) -> tuple[Any, ...]:
        chosen = name if name in VIEWS else "error"
        return view(chosen), _shown(chosen), _shown(chosen)

    @app.callback(
        Output("estimator", "data"),
        Output("estimator", "value"),
        Output("estimator", "display"),
        Input(part_of_token(KINDS), "data"),
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
        Input("scheme", "data"),
        Input("metrics", "value"),
        Input("reference", "value"),
        Input("estimator", "value"),
        Input("room", "data"),
        State("gradient-shown", "data"),
        *[Input(part_of_token(probe), "data") for probe in REFERENCES],
    )
    def gradient(
        theme: Any, metrics: list[str], probe: str, estimator: str | None, room: Any, shown: Any, token: Any, _: Any
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

    register_views(app, records)


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
    stops=("gradient", "estimators", "simulator", "on-policy"),
    choices={"view": "error", "reference": "gradient", "metrics": ",".join(DEFAULT_METRICS), "estimator": ""},
)
