"""Which panels of a page a run has use for; where it has for none, why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, no_update

from dashboards.own import CARDS, needed
from dashboards.records import Records
from dashboards.showing import KINDS, info_of, part_of_token, together
from gradlab.store import RunInfo


def register_presence(app: Dash, records: Records, page: str, cards: Sequence[str]) -> None:
    """Hides the panels that a run has no use for, and says so where none is left.

    The page has the panels ``card-{name}``, the store ``{page}-there`` and the place ``{page}-none``.

    Args:
        app: the app.
        records: what is known of the store.
        page: name of the page.
        cards: keys of ``dashboards.own.CARDS``.
    """

    @app.callback(
        *[Output(f"card-{name}", "style") for name in cards],
        Output(f"{page}-none", "children"),
        Output(f"{page}-there", "data"),
        Input(part_of_token(KINDS), "data"),
        State(f"{page}-there", "data"),
    )
    def presence(token: Any, shown: Any) -> tuple[Any, ...]:
        run = info_of(records, token)
        there = [any(_needed(records, name, one) for one in _looked_at(records, run, token)) for name in cards]
        if there == shown:
            return (no_update,) * (len(cards) + 2)
        nothing = [] if any(there) else _why(run, cards)
        return (*({} if one else {"display": "none"} for one in there), nothing, there)


def _looked_at(records: Records, run: RunInfo | None, token: Any) -> list[RunInfo | None]:
    """The run that is looked at and those beside it."""
    return [run, *(one for one in records.view().runs if one.id in together(token))]


def _needed(records: Records, name: str, run: RunInfo | None) -> bool:
    number = run.id if run is not None else None
    config = run.config if run is not None else {}
    return needed(name, records.series(number), config, list(records.run(number).probes))


def _why(run: RunInfo | None, cards: Sequence[str]) -> Any:
    left_out = run.config.get("left_out") if run is not None else None
    said = left_out if isinstance(left_out, dict) else {}
    probes = list(dict.fromkeys(probe for name in cards for probe in CARDS[name]))
    reasons = [f"{probe}: {said[probe]}" for probe in probes if probe in said]
    text = f"This run has none of the probes that are drawn here ({', '.join(probes)})."
    return dmc.Alert(
        [text, *(dmc.Text(reason, size="sm", mt=4) for reason in reasons)],
        title="Nothing is measured for this page",
        color="blue",
        variant="light",
        **{"aria-live": "off"},
    )
