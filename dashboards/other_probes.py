"""The part of the page for probes that no figure is made for: a card for each, which appears when the probe does."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import dash_mantine_components as dmc
from dash import MATCH, Dash, Input, Output, State, dcc, no_update

from dashboards import figures
from dashboards.cards import card, graph, number_table
from dashboards.figures.any_probe import height, keys, paged
from dashboards.own import others
from dashboards.records import Records
from dashboards.showing import KINDS, absent_of, info_of, part_of_token, show, theme_of
from gradlab.store import RunInfo


def register_others(app: Dash, records: Records) -> None:
    """Gives an app the cards of other probes.

    Args:
        app: the app.
        records: what is known of the store.
    """

    @app.callback(
        Output("others", "children"),
        Output("others-shown", "data"),
        Input(part_of_token(KINDS), "data"),
        Input("room", "data"),
        State("others-shown", "data"),
    )
    def cards(token: Any, room: int | None, shown: Any) -> tuple[Any, Any]:
        run = info_of(records, token)
        if room is None or run is None:
            return no_update, no_update
        found = [_facts(records, run, name, room) for name in _names(records, run)]
        # A card is made anew where what it holds changed, not with every number that is added.
        if shown == found:
            return no_update, no_update
        return [_card(*facts) for facts in found], found

    @app.callback(
        Output({"kind": "other", "probe": MATCH}, "figure"),
        Output({"kind": "other-shown", "probe": MATCH}, "data"),
        Input("token", "data"),
        Input("scheme", "data"),
        Input({"kind": "other-page", "probe": MATCH}, "value"),
        State({"kind": "other-shown", "probe": MATCH}, "data"),
        State({"kind": "other-shown", "probe": MATCH}, "id"),
        State("room", "data"),
    )
    def picture(token: Any, scheme: Any, page: str, shown: Any, place: dict[str, str], room: int) -> tuple[Any, Any]:
        run = info_of(records, token)
        name = next((one for one in _names(records, run) if _mark(one) == place["probe"]), None)
        if run is None or name is None:
            return no_update, no_update
        known = records.run(run.id)
        summary, number = known.probes.get(name), int(page or 0)
        series = records.series(run.id)
        columns = _columns(len(keys(series, name)), room)
        return show(
            shown,
            [run.id, records.epoch, summary.last if summary is not None else 0, number, columns, scheme],
            lambda: figures.any_probe(
                series,
                name,
                theme_of(scheme),
                f"{name} {run.id} {number} {columns}",
                absent_of(records, run.id, name),
                columns=columns,
                page=number,
            ),
        )


def _names(records: Records, run: RunInfo | None) -> list[str]:
    if run is None:
        return []
    return others(records.series(run.id), run.config, list(records.run(run.id).probes))


def _facts(records: Records, run: RunInfo, name: str, room: int) -> list[Any]:
    """What a probe's card is made of: what it is made anew for, and what ``_card`` is told."""
    series = records.series(run.id)
    known = keys(series, name)
    columns = _columns(len(known), room)
    pages = [f"{page[0].name} … {page[-1].name}" for page in paged(known)]
    summary = records.run(run.id).probes.get(name)
    without = summary is not None and summary.ok > 0 and not known
    return [run.id, name, columns, height(series, name, columns), pages, len(known), without]


def _card(_: int, name: str, columns: int, pixels: int, pages: list[str], count: int, without: bool) -> Any:
    mark = _mark(name)
    select = dmc.Select(
        id={"kind": "other-page", "probe": mark},
        data=[{"label": label, "value": str(index)} for index, label in enumerate(pages or [""])],
        value="0",
        size="xs",
        w=220,
        allowDeselect=False,
        style={} if len(pages) > 1 else {"display": "none"},
        **{"aria-label": f"Numbers of {name}"},
    )
    about = f"{count} numbers of this run's own probe {name}" if count else f"This run's own probe {name}"
    if without:
        about += ": it measured arrays and no numbers; gradlab.store.open_store(…).arrays(id) reads them"
    body = [
        graph({"kind": "other", "probe": mark}, pixels, "over-training"),
        number_table(),
        dcc.Store(id={"kind": "other-shown", "probe": mark}),
    ]
    return card(name, body, select, about=f"{about}.", className=f"card span-{columns}")


def _columns(count: int, room: int) -> int:
    return max(1, min(count, room))


def _mark(name: str) -> str:
    """What stands for a name in an id: names are free, ids are not."""
    return blake2b(name.encode(), digest_size=9).hexdigest()
