"""What depends on which probes a run has: which panels there are, and what measuring cost."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, no_update

from dashboards import figures
from dashboards.cost_rows import cost_rows
from dashboards.costs import Costs, costs
from dashboards.own import CARDS, needed
from dashboards.records import Records
from dashboards.showing import info_of, show, theme_of


def register_cards(app: Dash, records: Records) -> None:
    """Gives an app its panels' presence and the costs.

    Args:
        app: the app.
        records: what is known of the store.
    """

    @app.callback(
        *[Output(f"card-{name}", "style") for name in CARDS],
        Output("cards-shown", "data"),
        Input("token", "data"),
        State("cards-shown", "data"),
    )
    def presence(token: Any, shown: Any) -> tuple[Any, ...]:
        run = info_of(records, token)
        known = records.run(run.id if run is not None else None)
        config = run.config if run is not None else {}
        series = records.series(run.id if run is not None else None)
        there = [needed(name, series, config, list(known.probes)) for name in CARDS]
        if there == shown:
            return (no_update,) * (len(CARDS) + 1)
        return (*({} if one else {"display": "none"} for one in there), there)

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
        graph, seen = show(
            shown, [token, scheme], lambda: figures.cost(found, theme_of(scheme), f"cost {run.id if run else 0}")
        )
        return graph, cost_rows(found) if seen is not no_update else no_update, seen
