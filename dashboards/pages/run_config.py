"""What a run was configured with, as a list that can be searched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update

from dashboards.cards import card
from dashboards.records import Records
from dashboards.showing import KINDS, digest, info_of, part_of_token

#: Entries that are shown at once.
_MOST = 400


def config_card() -> Any:
    """The panel."""
    return card(
        "Configuration",
        [
            dmc.Text(id="config-count", size="xs", c="dimmed", className="number"),
            html.Dl(id="run-config", className="facts config", tabIndex=0),
        ],
        dmc.TextInput(
            id="config-search", placeholder="Search the configuration", size="xs", value="", debounce=150, w=220,
            **{"aria-label": "Search the configuration"},
        ),
        about="As the training process stored it when the run began.",
    )  # fmt: skip


def register_config(app: Dash, records: Records) -> None:
    """Gives the app this panel's callback."""

    @app.callback(
        Output("run-config", "children"),
        Output("config-count", "children"),
        Output("config-shown", "data"),
        # A run's settings are those that it began with.
        Input(part_of_token(KINDS), "data"),
        Input("config-search", "value"),
        State("config-shown", "data"),
    )
    def listed(token: Any, search: str, shown: Any) -> tuple[Any, ...]:
        run = info_of(records, token)
        every = entries(run.config) if run is not None else []
        found = [one for one in every if matching(one, search or "")]
        mark = digest((run and run.id, found))
        if mark == shown:
            return (no_update,) * 3
        rows = [part for path, value in found[:_MOST] for part in (html.Dt(_name(path)), html.Dd(value))]
        return rows, _count(len(every), len(found)), mark


def entries(config: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Every setting by its path, in the order of paths; what is in lists stays in a line.

    Example:
        >>> entries({"probes": {"field": {"every": 500}}, "net": [64, 64], "note": "a", "none": {}})
        [('net', '[64, 64]'), ('none', '{}'), ('note', 'a'), ('probes.field.every', '500')]
    """
    found = []
    for name, value in sorted(config.items(), key=lambda one: str(one[0])):
        path = f"{before}{name}"
        if isinstance(value, Mapping) and value:
            found += entries(value, f"{path}.")
        else:
            found.append(
                (path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
            )
    return found


def matching(entry: tuple[str, str], search: str) -> bool:
    """Whether every word of a search is in a setting's path or value.

    Example:
        >>> matching(("probes.field.every", "500"), "FIELD 500"), matching(("seed", "3"), "field")
        (True, False)
    """
    said = " ".join(entry).lower()
    return all(word in said for word in search.lower().split())


def _name(path: str) -> list[Any]:
    """A path whose last name is what is looked for."""
    *before, last = path.split(".")
    # A narrow screen breaks it after a dot.
    return [html.Span([part for name in before for part in (f"{name}.", html.Wbr())], className="path"), last]


def _count(every: int, found: int) -> str:
    if not every:
        return "nothing was stored"
    if not found:
        return f"none of {every:,} settings has all of these words"
    shown = f", the first {_MOST} of them here" if found > _MOST else ""
    return f"{every:,} settings{shown}" if every == found else f"{found:,} of {every:,} settings{shown}"
