"""What can be taken home from a run: its numbers in several forms, its report, and how its figures are saved."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboards.cards import card
from dashboards.downloads import EXPORTS, register_downloads
from dashboards.making import Making, Reports
from dashboards.records import Records
from dashboards.showing import KINDS, digest, part_of_token, run_of

_WORDS = {
    "scalars": ("Every number", "with its interval, n, reference and objective, a row each"),
    "measurements": ("Every measurement", "skipped and failed ones too: when, where, at what cost, why"),
    "configuration": ("Configuration", "the run and its settings"),
}
_FORMS = {"csv": "CSV", "parquet": "Parquet", "jsonl": "JSON lines", "json": "JSON"}


def exports_card() -> Any:
    """The panel."""
    return card(
        "Take home",
        [
            html.Div(id="exports", className="exports"),
            html.Div(id="export-said", className="said", role="status"),
            dmc.Divider(),
            dmc.Group(
                [
                    dmc.Button("Make the report", id="report-make", size="xs", variant="light"),
                    html.Span(id="report-link"),
                    html.Div(id="report-said", className="said", role="status"),
                ],
                gap="sm",
            ),
            dmc.Text(
                "One HTML file to keep or to send: the answer first, then every figure with what its numbers mean, "
                "what measuring cost, and how to make it again.",
                size="xs",
                c="dimmed",
            ),
            dmc.Divider(),
            dmc.Text(
                ["Figures: the button ", html.Span(className="icon save-icon", role="img", **{"aria-label": "save"}),
                 " at the top of each, on every page, saves it as PNG, SVG or JSON as it is seen."],
                size="xs", c="dimmed",
            ),
            dcc.Interval(id="report-beat", interval=300, disabled=True),
            dcc.Store(id="report-asked", data=None),
            dcc.Store(id="report-ready", data=None),
        ],
        about="Of this run, as the store has it when the file is made.",
    )  # fmt: skip


def register_exports(app: Dash, records: Records) -> None:
    """Gives the app this panel's callbacks, and its server the files."""
    reports = Reports(records)
    register_downloads(app.server, records, reports)
    app.clientside_callback(ClientsideFunction("gradlabSave", "report"), Input("report-ready", "data"))

    @app.callback(
        Output("exports", "children"),
        Output("exports-shown", "data"),
        Input(part_of_token(KINDS), "data"),
        State("exports-shown", "data"),
    )
    def offered(token: Any, shown: Any) -> tuple[Any, Any]:
        run = run_of(token)
        mark = digest(run)
        return (no_update, no_update) if mark == shown else (_offered(run), mark)

    @app.callback(
        Output("report-said", "children"),
        Output("report-link", "children"),
        Output("report-make", "disabled"),
        Output("report-beat", "disabled"),
        Output("report-asked", "data"),
        Output("report-ready", "data"),
        Output("report-shown", "data"),
        Input("report-make", "n_clicks"),
        Input("report-beat", "n_intervals"),
        Input(part_of_token(KINDS), "data"),
        State("report-asked", "data"),
        State("report-shown", "data"),
    )
    def report(_: Any, __: Any, token: Any, asked: Any, shown: Any) -> tuple[Any, ...]:
        run = run_of(token)
        if ctx.triggered_id == "report-make" and run is not None:
            asked = reports.make(run).number
        found = reports.of(run)
        mark = digest((run, found.number, found.said, found.busy, asked))
        if mark == shown:
            return (no_update,) * 7
        # The file comes by itself to whoever asked for it, once.
        ready = found.content and asked == found.number
        return (
            found.said,
            _link(run, found),
            found.busy or run is None,
            not found.busy,
            None if ready else asked,
            found.number if ready else no_update,
            digest((run, found.number, found.said, found.busy, None if ready else asked)),
        )


def _offered(run: int | None) -> list[Any]:
    if run is None:
        return [dmc.Text("no run yet", size="xs", c="dimmed")]
    rows = []
    for what, (_, forms) in EXPORTS.items():
        title, about = _WORDS[what]
        links = [
            _file(f"/export/{what}.{form}?run={run}", _FORMS[form], f"{title} as {_FORMS[form]}") for form in forms
        ]
        said = html.Div([dmc.Text(title, size="sm", fw=600), dmc.Text(about, size="xs", c="dimmed")])
        rows.append(html.Div([said, html.Div(links, className="files")], className="export"))
    return rows


def _link(run: int | None, made: Making) -> Any:
    if not made.content:
        return None
    return html.Span(_file(f"/report.html?run={run}", "Report", "The report"), id="report-file")


def _file(address: str, word: str, label: str) -> Any:
    """A link that assets/save.js follows: what cannot be made is said on the page."""
    return html.A(word, href=address, className="file", **{"data-export": "", "aria-label": label})
