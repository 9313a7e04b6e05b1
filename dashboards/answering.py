"""The sentence on top of the open page: of the step that the slider shows, or of the newest while it follows."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from dashboards import parts
from dashboards.pages import PAGES, Seen
from dashboards.records import Records
from dashboards.said import Answer
from dashboards.series import until
from dashboards.showing import digest, info_of
from dashboards.timeline import looked_at
from gradlab.store import RunInfo


def register_answer(app: Dash, records: Records) -> None:
    """Gives an app the sentence on top of its pages.

    The slider's place follows from what was measured, and the sentence from both: it is asked for apart from the rest
    of the shell's words, which say what was measured.
    """

    @app.callback(
        Output("answer", "children"),
        Output("answer-shown", "data"),
        Input("at", "data"),
        Input("follow", "checked"),
        Input("token", "data"),
        # What is said of a run's state changes without a measurement.
        Input("known", "data"),
        Input("page", "data"),
        State("answer-shown", "data"),
    )
    def say(at: Any, follow: bool, token: Any, known: Any, place: Any, shown: Any) -> tuple[Any, Any]:
        if place is None or not known:
            # Which run is looked at is not known before the first pulse.
            raise PreventUpdate
        path = place.get("path", "") if isinstance(place, dict) else ""
        said = said_of(records, info_of(records, token), str(path), looked_at(at, follow))
        mark = digest(said)
        return (no_update, no_update) if mark == shown else (parts.answer_card(said), mark)


def said_of(records: Records, run: RunInfo | None, path: str, at: int | None = None) -> Answer:
    """What a page says of a run.

    Args:
        records: what is known of the store.
        run: the run; None while there is none.
        path: of the page; where there is no such page, the first one speaks.
        at: the step that is looked at; the newest when None.
    """
    page = next((page for page in PAGES if page.path == path), PAGES[0])
    number = run.id if run is not None else None
    return page.answer(Seen(run, until(records.series(number), at), records.run(number), at))
