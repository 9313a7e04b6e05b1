"""What the shell asks for, and what it gets: a pulse with what changed in words, the open page, and the chosen step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from dashboards import parts
from dashboards.answering import register_answer
from dashboards.moving import STEP, TEXT, moved, told
from dashboards.pages import PAGES, Page, Query
from dashboards.records import Records, View
from dashboards.rows import changed
from dashboards.showing import KINDS, TOKENS, digest, known_of, part_of_token, run_of
from gradlab.store import RunInfo

#: Runs that can be told apart in one figure.
COMPARED = 8
#: Cards of runs in the sidebar; of more, the newest that the search finds.
_LISTED = 100


def register(app: Dash, records: Records) -> None:
    """Gives an app its callbacks over these records."""
    _clientside(app)
    _pulse(app, records)
    register_answer(app, records)
    _body(app)
    _step(app, records)
    for page in PAGES:
        page.register(app, records)


def _clientside(app: Dash) -> None:
    kept = [Input("run", "value"), Input("compare", "value"), Input("at", "data"), Input("follow", "checked")]
    call: list[tuple[str, str, Output | None, list[Input | State]]] = [
        ("gradlab", "menu", Output("shell", "navbar"), [Input("burger", "opened"), State("shell", "navbar")]),
        ("gradlab", "pause", None, [Input("live-on", "checked")]),
        # No Output: it switches "follow" off, which itself moves the slider; Dash would call that a circle.
        ("gradlab", "unfollow", None, [Input("slider", "value"), State("slider", "max"), State("follow", "checked")]),
        ("gradlabWatch", "remember", None, [Input("token", "data")]),
        ("gradlabAddress", "keep", None, kept),
        ("gradlabStep", "know", None, [Input("at", "data")]),
        ("gradlabStep", "ask", Output("asked", "data"), [Input("slider", "value"), State("at", "data")]),
        ("gradlabTokens", "moment", Output("moment", "data"), [Input("at", "data"), Input("follow", "checked")]),
        ("gradlabCursor", "mark", None, [Input("at", "data"), Input("follow", "checked")]),
        *[
            ("gradlabAddress", "choose", None, [Input(name, "value") for name in page.choices])
            for page in PAGES
            if page.choices
        ],
    ]
    app.clientside_callback(
        ClientsideFunction("gradlabTokens", "split"),
        [Output(part_of_token(name), "data") for name in TOKENS],
        Input("token", "data"),
    )
    for space, name, output, rest in call:
        function = ClientsideFunction(space, name)
        if output is None:
            app.clientside_callback(function, *rest)
        else:
            app.clientside_callback(function, output, *rest)


def _pulse(app: Dash, records: Records) -> None:
    names = ("notice", "live", "runs", "compared")

    @app.callback(
        *[Output(name, "children") for name in names],
        Output("run", "value"),
        Output("compare", "value"),
        Output("token", "data"),
        Output("seen", "data"),
        Output("known", "data"),
        Output("stops", "data"),
        *[Output(*one) for one in STEP],
        Input("pulse", "n_intervals"),
        Input("run", "value"),
        Input("compare", "value"),
        Input("search", "value"),
        Input("page", "data"),
        State("token", "data"),
        State("seen", "data"),
        State("follow", "checked"),
        *[State(*one) for one in STEP if one != TEXT],
    )
    def pulse(
        _: int | None,
        chosen: str | None,
        ticked: list[str] | None,
        search: str,
        place: Any,
        token: Any,
        seen: Any,
        follow: bool,
        *step: Any,
    ) -> tuple[Any, ...]:
        if place is None:
            # The address may name a run: what it says comes first.
            raise PreventUpdate
        view, now = records.view(), parts.now()
        run = chosen_run(view, chosen)
        beside = compared(view, ticked or [])
        view = records.looking_at([*([run.id] if run is not None else []), *beside])
        content = contents(records, view, run, now, beside, search or "")
        marks = {name: digest(facts) for name, (facts, _) in content.items()}
        seen = seen or {}
        cards = [digest(one) for one in content["runs"][0]]
        made = [content[name][1]() if marks[name] != seen.get(name) else no_update for name in names]
        if made[2] is not no_update:
            made[2] = changed(made[2], cards, seen.get("cards"))
        marks["cards"] = cards
        marks["known"] = known_of(records, view, run, now)
        number, page = run.id if run is not None else None, page_of(place)
        added, marks["stops"] = told(records, number, page, seen.get("stops"))
        fresh = token_of(records, run, beside)
        value, kept = str(run.id) if run is not None else None, [str(one) for one in beside]
        # While there is no store there are no runs, but those that were chosen may be in the next one that is read.
        known = bool(view.runs)
        return (
            *made,
            value if known and value != chosen else no_update,
            kept if known and kept != (ticked or []) else no_update,
            fresh if fresh != token else no_update,
            marks if marks != seen else no_update,
            marks["known"] if marks["known"] != seen.get("known") else no_update,
            added,
            # In the same answer: a question of its own for it would cost as much as this one.
            *moved(records, number, page, follow, *step),
        )


def contents(
    records: Records,
    view: View,
    run: RunInfo | None,
    now: float,
    beside: Sequence[int] = (),
    search: str = "",
) -> dict[str, tuple[Any, Callable[[], Any]]]:
    """For each part of the shell in words: the facts it says, and what makes it from them."""
    number = run.id if run is not None else None
    found = [one for one in view.runs if matches(one, search)]
    listed = [(one, parts.status(one, now)) for one in found[:_LISTED]]
    trouble = parts.notice(view, records.name, run, now)
    return {
        "notice": (str(trouble), lambda: trouble),
        "live": (
            (run and (parts.status(run, now), parts.ago(now - run.last_seen))),
            lambda: parts.live(run, now),
        ),
        "runs": (
            [
                *((one.id, one.name, one.step, word, one.message) for one, word in listed),
                (records.epoch, len(found), "" if found else search),
            ],
            lambda: parts.run_cards([one for one, _ in listed], now, len(found), search),
        ),
        "compared": ((number, list(beside)), lambda: parts.compared_note(number, beside, COMPARED)),
    }


def matches(run: RunInfo, search: str) -> bool:
    """Whether every word of a search is in what the list says of a run.

    Example:
        >>> run = RunInfo(3, "first", "TD3", "Reacher-v5", "sb3", 7, {}, 0.0, 0.0, 5, "running", "")
        >>> matches(run, "td3 seed 7"), matches(run, "sac")
        (True, False)
    """
    said = f"{run.name} {run.algorithm} {run.environment} {run.library} seed {run.seed} {run.status}".lower()
    return all(word in said for word in search.lower().split())


def chosen_run(view: View, chosen: str | None) -> RunInfo | None:
    """The run that was picked; the newest when none was, or when it is not there any more."""
    picked = [run for run in view.runs if str(run.id) == chosen]
    return picked[0] if picked else (view.runs[0] if view.runs else None)


def compared(view: View, ticked: Sequence[str]) -> list[int]:
    """The runs that are ticked and there, as many as can be told apart, in the order of ticking."""
    known = {str(run.id): run.id for run in view.runs}
    return list(dict.fromkeys(known[one] for one in map(str, ticked) if one in known))[:COMPARED]


def token_of(records: Records, run: RunInfo | None, beside: Sequence[int] = ()) -> dict[str, Any] | None:
    """What the figures of a run, and of those beside it, depend on: changes only when one of them must."""
    if run is None:
        return None

    def last(number: int) -> dict[str, int]:
        known = records.run(number)
        found = {name: probe.last for name, probe in sorted(known.probes.items())}
        measured = sum(probe.ok > 0 for probe in known.probes.values())
        return {**found, KINDS: len(known.probes) + len(known.series) + measured}

    others = [number for number in sorted(beside) if number != run.id][: COMPARED - 1]
    more = {"compared": {str(number): last(number) for number in others}} if others else {}
    return {"run": run.id, "epoch": records.epoch, "last": last(run.id), **more}


def page_of(place: Any) -> Page | None:
    """The page at an address; None where there is none."""
    path = place.get("path", "") if isinstance(place, dict) else ""
    return next((page for page in PAGES if page.path == path), None)


def _body(app: Dash) -> None:
    @app.callback(Output("page-body", "children"), Input("page", "data"))
    def body(place: Any) -> Any:
        if place is None:
            raise PreventUpdate
        page = page_of(place)
        if page is None:
            return dmc.Alert(
                "Choose one of the pages above.", title=f"There is no page {place.get('path', '')!r}", color="blue"
            )
        return [html.H1(page.label, className="unseen"), page.layout(Query(place.get("query")))]

    @app.callback(Output("help", "opened"), Input("help-button", "n_clicks"), prevent_initial_call=True)
    def explain(clicks: int | None) -> bool:
        return bool(clicks)


def _step(app: Dash, records: Records) -> None:
    @app.callback(
        *[Output(*one, allow_duplicate=True) for one in STEP],
        # What the slider was moved to by hand; what it follows by itself comes with the pulse.
        Input("asked", "data"),
        Input("follow", "checked"),
        State("token", "data"),
        State("page", "data"),
        *[State(*one) for one in STEP if one != TEXT],
        prevent_initial_call=True,
    )
    def place(_: Any, follow: bool, token: Any, page: Any, *step: Any) -> tuple[Any, ...]:
        found = moved(records, run_of(token), page_of(page), follow, *step)
        # The hand that holds the slider has it: new ends would move the step under it, and wait for the next pulse.
        return (no_update,) * 3 + found[3:] if ctx.triggered_id == "asked" else found
