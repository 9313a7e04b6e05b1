"""Overview: the answer, the numbers at a glance, what stands out, the runs' health and what measuring costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update

from dashboards import figures, parts
from dashboards.answer import answer as said_of
from dashboards.answer import tiles
from dashboards.cards import card, graph
from dashboards.cost_rows import cost_rows
from dashboards.costs import Costs, costs
from dashboards.figures.compared import Number
from dashboards.finding import Facts
from dashboards.finding_rows import finding_rows
from dashboards.findings import findings
from dashboards.health_words import HEALTH
from dashboards.other_probes import register_others
from dashboards.over_time import register_over_time
from dashboards.pages.page import Page, Query, Seen
from dashboards.pages.parts import frame
from dashboards.presence import register_presence
from dashboards.records import Records
from dashboards.rows import rows
from dashboards.said import Answer
from dashboards.series import until
from dashboards.showing import HEALTHY, info_of, run_of, show, theme_of
from dashboards.terms import register_terms
from dashboards.words import COST
from gradlab.store import RunInfo

_COMPARED = (
    "actor/saturated_share",
    "actor/passed",
    "critic/change",
    "actor/change",
    "replay/novel_share",
    "replay/td_error",
)


def answer(seen: Seen) -> Answer:
    """Whether it is the gradient, and which part of it."""
    return said_of(seen.series)


def layout(_: Query) -> Any:
    """What is on the page."""
    return frame(
        "overview",
        ["cost", "others", "health-course"],
        dcc.Store(id="overview-shown"),
        dmc.SimpleGrid(id="tiles", cols={"base": 2, "sm": 3, "lg": 5}, spacing="sm"),
        html.Div(
            [
                card(
                    "Findings",
                    html.Div(id="findings", className="findings", role="list"),
                    about="What stands out in this run, worst first, with what was measured for it.",
                ),
                card("Runs and their health", dmc.Stack(id="health", gap=8), about="The newest runs of this store."),
            ],
            className="pair",
        ),
        card(
            "Actor, critics and replay",
            graph("health-course", 640, "over-training"),
            about="Whether the actor can move, whether it and the critics do, and whether the replay is what the run "
            "visits.",
            name="health",
            defined="health-course",
        ),
        html.Div(id="others", className="others"),
        card(
            "What measuring costs",
            html.Div([graph("cost", 400), html.Div(id="cost-rows")], className="costs"),
            about="Time that probes took, beside what they were planned to take and may take. The budget also pays "
            "for copies of the agent and for writing, which are not in these numbers.",
            defined="cost",
        ),
    )


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""
    names = ("tiles", "findings", "health")
    verdicts: dict[tuple[str, int, int], Answer] = {}

    def verdict(run: RunInfo) -> Answer:
        if not records.knows(run.id):
            # The figures of the page are not to wait for runs that nobody looks at.
            records.read_later(run.id)
            why = records.why_unread(run.id)
            return Answer(f"It cannot be read: {why}." if why else "Being read …", "unknown")
        # Of runs that measured nothing since, it is known.
        mark = (records.epoch, run.id, records.run(run.id).counted)
        if mark not in verdicts:
            if len(verdicts) > 4 * HEALTHY:
                verdicts.clear()
            verdicts[mark] = said_of(records.series(run.id))
        return verdicts[mark]

    @app.callback(
        *[Output(name, "children") for name in names],
        Output("overview-shown", "data"),
        Input("token", "data"),
        Input("known", "data"),
        Input("moment", "data"),
        State("overview-shown", "data"),
    )
    def words(token: Any, _: Any, step: Any, shown: Any) -> tuple[Any, ...]:
        run, now = run_of(token), parts.now()
        there, probes = until(records.series(run), step), dict(records.run(run).probes)
        stands_out = findings(Facts(there, probes, info_of(records, token)))
        runs = [(one, parts.status(one, now), verdict(one)) for one in records.view().runs[:HEALTHY]]
        lists: list[tuple[Sequence[Any], Callable[[Any], Any]]] = [
            (tiles(there), parts.tile_card),
            # Where there are none, what is said instead depends on whether there is a run.
            (stands_out or [run], lambda one: finding_rows([one] if stands_out else [], run is not None)[0]),
            ([(one.id, one.name, one.step, *more) for one, *more in runs] or [None], _health),
        ]
        before = shown or [None] * len(lists)
        found = [rows(facts, make, old) for (facts, make), old in zip(lists, before, strict=True)]
        marks = [mark for _, mark in found]
        return (*(made for made, _ in found), marks if marks != shown else no_update)

    @app.callback(
        Output("cost", "figure"),
        Output("cost-rows", "children"),
        Output("cost-shown", "data"),
        Input("token", "data"),
        Input("scheme", "data"),
        State("cost-shown", "data"),
    )
    def cost(token: Any, scheme: Any, shown: Any) -> tuple[Any, Any, Any]:
        run = info_of(records, token)
        found = costs(run, dict(records.run(run.id).probes)) if run is not None else Costs()
        drawn, seen = show(
            shown,
            [run_of(token), (token or {}).get("last"), scheme],
            lambda: figures.cost(found, theme_of(scheme), f"cost {run.id if run else 0}"),
        )
        return drawn, cost_rows(found, _traces(records, found)) if seen is not no_update else no_update, seen

    register_presence(app, records, "overview", ["health"])
    compared = [Number(name, HEALTH[name]) for name in _COMPARED]
    register_over_time(app, records, "health-course", "health", figures.health, compared)
    register_terms(app, records, "health-course", {"health": HEALTH})
    register_others(app, records)
    register_terms(app, records, "cost", {"": COST})


def _traces(records: Records, found: Costs) -> dict[int, str]:
    """Tracebacks of what is told of as failed."""
    newest = [one.failures[-1].id for one in found.probes if one.failures]
    return {one: trace for one in newest if (trace := records.traceback(one))}


def _health(run: tuple[int, str, int, str, Answer] | None) -> Any:
    """What is said of a run: its number, name, step, status and what its measurements say."""
    if run is None:
        return dmc.Text("no run yet", size="sm", c="dimmed")
    _, name, step, word, said = run
    return dmc.Group(
        [
            parts.verdict_sign(said.verdict, "sm"),
            dmc.Stack(
                [
                    dmc.Text(name, size="sm", fw=600, truncate=True),
                    dmc.Text(said.text.replace(" %", "\u00a0%"), size="xs", c="dimmed", lineClamp=2),
                ],
                gap=0,
                flex=1,
                miw=0,
            ),
            dmc.Text(f"step {step:,}", size="xs", c="dimmed", className="number"),
            parts.status_badge(word),
        ],
        wrap="nowrap",
        align="flex-start",
        gap="sm",
    )


PAGE = Page("", "Overview", answer, layout, register)
