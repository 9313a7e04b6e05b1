"""Run: what it is and how it was configured, every record it has, and what can be taken home from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update

from dashboards import parts
from dashboards.cards import card
from dashboards.costs import costs
from dashboards.known_run import RunRecords
from dashboards.pages.page import Page, Query, Seen
from dashboards.pages.parts import frame
from dashboards.pages.run_config import config_card, register_config
from dashboards.pages.run_exports import exports_card, register_exports
from dashboards.pages.run_records import USUAL, records_card, register_records
from dashboards.records import Records
from dashboards.said import Answer, percent
from dashboards.showing import digest, info_of
from gradlab.store import RunInfo


def answer(seen: Seen) -> Answer:
    """How far the run is, what was measured, and what that cost it."""
    run, probes = seen.run, seen.records.probes
    if run is None:
        return Answer("No run has started yet.", "unknown")
    word = parts.status(run, parts.now())
    word = "silent" if word == "stale" else word
    ok, skipped, failed = (sum(getattr(one, name) for one in probes.values()) for name in ("ok", "skipped", "failed"))
    counts = (
        f"{ok:,} measured" + (f", {skipped:,} skipped" if skipped else "") + (f", {failed:,} failed" if failed else "")
    )
    found = costs(run, probes)
    budget = f" of {percent(found.budget)} % allowed" if found.budget is not None else ""
    # A run that ended within its first second has no shares that mean anything.
    waited = f" Training waited for probes {percent(found.spent('inline'))} %{budget} of its time." if ok else ""
    return Answer(f"{run.name} is {word} at step {run.step:,}: {counts}.{waited}", "doubtful" if failed else "fact")


def layout(query: Query) -> Any:
    """What is on the page."""
    return frame(
        "run",
        ["run", "config", "records", "exports", "report"],
        html.Div(
            [
                card("This run", html.Dl(id="run-facts", className="facts")),
                card("Probes of this run", dmc.Stack(id="probes", gap=10)),
            ],
            className="pair",
        ),
        records_card(query),
        html.Div([config_card(), exports_card()], className="pair"),
    )


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""
    register_config(app, records)
    register_records(app, records)
    register_exports(app, records)

    @app.callback(
        Output("run-facts", "children"),
        Output("probes", "children"),
        Output("run-shown", "data"),
        Input("token", "data"),
        Input("seen", "data"),
        State("run-shown", "data"),
    )
    def words(token: Any, _: Any, shown: Any) -> tuple[Any, ...]:
        run = info_of(records, token)
        known = records.run(run.id if run is not None else None)
        facts = _facts(run, known)
        mark = digest((facts, [(name, repr(one)) for name, one in known.probes.items()]))
        if mark == shown:
            return (no_update,) * 3
        elapsed = max(0.0, run.last_seen - run.started) if run is not None else 0.0
        rows = [part for label, value in facts for part in (html.Dt(label), html.Dd(value))]
        return rows, parts.probe_rows(dict(known.probes), elapsed), mark


def _facts(run: RunInfo | None, known: RunRecords) -> list[tuple[str, str]]:
    if run is None:
        return []
    found = [
        ("name", run.name),
        ("number in the store", str(run.id)),
        ("algorithm", run.algorithm),
        ("environment", run.environment),
        ("library", run.library),
        ("seed", "" if run.seed is None else str(run.seed)),
        ("status", parts.status(run, parts.now()).replace("stale", "silent")),
        ("why it ended", run.message),
        ("step", f"{run.step:,}"),
        ("started", _moment(run.started)),
        ("last sign of life", _moment(run.last_seen)),
        ("measurements", f"{sum(one.ok + one.skipped + one.failed for one in known.probes.values()):,}"),
    ]
    return [(label, value) for label, value in found if value]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


PAGE = Page("run", "Run", answer, layout, register, choices=USUAL)
