"""What the numbers of a figure mean and how many samples they rest on: behind a small button under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from dashboards import series as data
from dashboards.records import Records
from dashboards.showing import run_of
from dashboards.words import Word, samples

#: Probe → its numbers by name, whole or after the last slash; a probe without a name has words alone.
Terms = Mapping[str, Mapping[str, Word]]


def what(name: str) -> Any:
    """The button under a figure, and the definitions that it opens; ``register_terms`` fills them.

    Args:
        name: id of the figure.
    """
    return dmc.Popover(
        [
            dmc.PopoverTarget(
                dmc.Button("What is this?", id=f"what-{name}", variant="subtle", color="gray", size="compact-xs"),
                boxWrapperProps={"className": "what"},
            ),
            dmc.PopoverDropdown(
                html.Div(id=f"terms-{name}", className="terms", tabIndex=0, children=dcc.Loading(html.Span()))
            ),
        ],
        width=420,
        position="top-start",
        shadow="md",
        withArrow=True,
        trapFocus=False,
        # After the button for the Tab key, too; and no roles of a dialog on what only wraps the button.
        withinPortal=False,
        withRoles=False,
    )


def register_terms(app: Dash, records: Records, name: str, terms: Terms) -> None:
    """Gives an app the definitions under a figure; they are made when they are asked for.

    Args:
        app: the app.
        records: what is known of the store.
        name: id of the figure.
        terms: what is in it.
    """

    @app.callback(
        Output(f"terms-{name}", "children"),
        Input(f"what-{name}", "n_clicks"),
        State("token", "data"),
        prevent_initial_call=True,
    )
    def say(clicks: int | None, token: Any) -> Any:
        if not clicks:
            raise PreventUpdate
        return definitions(records.series(run_of(token)), terms)


def definitions(series: data.SeriesSet, terms: Terms) -> list[Any]:
    """Each number's name, definition and n."""
    rows = [
        html.Div(
            [
                dmc.Text([html.Strong(word.label), f": {word.meaning}"], size="sm", lh=1.45),
                *([dmc.Text(counted, size="xs", c="dimmed", className="number")] if counted else []),
            ]
        )
        for probe, words in terms.items()
        for name, word in words.items()
        for counted in [counted_of(series, probe, name)]
    ]
    note = "Bands are 95 % intervals; hollow marks are not resolved from zero."
    return [*rows, *([dmc.Text(note, size="xs", c="dimmed")] if any(terms) else [])]


def counted_of(series: data.SeriesSet, probe: str, name: str) -> str:
    """How many samples the newest value of a number rests on; of several estimators the least and the most.

    Example:
        >>> counted_of({}, "landscape", "optima"), counted_of({}, "", "arrow")
        ('not measured yet', '')
    """
    if not probe:
        return ""
    found = [
        (point, key)
        for key, one in series.items()
        if key.probe == probe and (key.name == name or key.name.rpartition("/")[2] == name)
        if (point := data.last(one)) is not None
    ]
    if not found:
        return "not measured yet"
    unit = samples(probe, found[0][1].reference)
    numbers = [int(point.samples[0]) for point, _ in found]
    return f"n = {_between(numbers)} {unit} at step {max(int(point.step[0]) for point, _ in found):,}"


def _between(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
