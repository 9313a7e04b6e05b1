"""What pages of numbers over training share: a figure of the run, or of several beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
from dash import Dash, Input, Output, State

from dashboards import figures
from dashboards.figures.compared import Numbers
from dashboards.known_run import PRUNED
from dashboards.records import Records
from dashboards.showing import absent_of, last_of, part_of_token, run_of, show, theme_of, together


def register_over_time(
    app: Dash,
    records: Records,
    name: str,
    probe: str,
    figure: Callable[..., go.Figure],
    numbers: Numbers,
    *,
    says_absent: bool = False,
) -> None:
    """Gives an app a figure of one run over training, which is one of all compared runs where there are several.

    The page has the graph ``name`` and the store ``{name}-shown``.

    Args:
        app: the app.
        records: what is known of the store.
        name: id of the graph.
        probe: whose numbers they are.
        figure: draws one run's: ``(series, theme, uirevision)``, and ``absent`` where it says that.
        numbers: what is drawn of several runs.
        says_absent: whether the figure marks measurements that gave no number.
    """

    @app.callback(
        Output(name, "figure"),
        Output(f"{name}-shown", "data"),
        Input(part_of_token(probe), "data"),
        Input("scheme", "data"),
        Input("room", "data"),
        State(f"{name}-shown", "data"),
    )
    def update(token: Any, theme: Any, room: Any, shown: Any) -> tuple[Any, Any]:
        if several := compared_runs(token):
            return show_compared(records, shown, name, several, probe, numbers, theme, room)
        run = run_of(token)
        more = {"absent": absent_of(records, run, probe)} if says_absent else {}
        return show(
            shown,
            [run, last_of(records, run, probe), theme],
            lambda: figure(records.series(run), theme_of(theme), f"{name} {run}", **more),
        )


def register_at_step(
    app: Dash, records: Records, name: str, probe: str, figure: Callable[..., go.Figure], *, arrays: bool = False
) -> None:
    """Gives an app a figure of one moment of training, that which the slider shows, of the run or of all compared.

    The page has the graph ``name`` and the store ``{name}-shown``.

    Args:
        app: the app.
        records: what is known of the store.
        name: id of the graph.
        probe: whose numbers they are.
        figure: draws it: ``(runs, step, theme, uirevision, narrow=…)`` of scalars, ``(runs, theme, uirevision)`` of
            arrays.
        arrays: whether it is made of arrays: those of the newest measurement up to the step.
    """

    @app.callback(
        Output(name, "figure"),
        Output(f"{name}-shown", "data"),
        Input("moment", "data"),
        Input(part_of_token(probe), "data"),
        Input("scheme", "data"),
        Input("room", "data"),
        State(f"{name}-shown", "data"),
    )
    def update(step: Any, token: Any, theme: Any, room: Any, shown: Any) -> tuple[Any, Any]:
        known = {run.id: run.name for run in records.view().runs}
        runs = [run for run in together(token) if run in known]
        key = [runs, step, [last_of(records, run, probe) for run in runs], room == 1, theme]

        def draw() -> go.Figure:
            said = f"{name} {runs}"
            if arrays:
                tables = {(run, known[run]): records.table(run, probe, step) for run in runs}
                pruned = any(records.run(run).pruned(probe) for run in runs)
                return figure(tables, theme_of(theme), said, **({"nothing": PRUNED} if pruned else {}))
            found = {(run, known[run]): records.series(run) for run in runs}
            return figure(found, step, theme_of(theme), said, narrow=room == 1)

        return show(shown, key, draw)


def compared_runs(token: Any) -> list[int]:
    """The runs to draw beside each other; none where there are not two."""
    several = together(token)
    return several if len(several) > 1 else []


def show_compared(
    records: Records,
    shown: Any,
    name: str,
    runs: Sequence[int],
    probe: str,
    numbers: Numbers,
    theme: Any,
    room: Any,
) -> tuple[Any, Any]:
    """The figure of several runs, or what changed in it; as ``dashboards.showing.show``.

    Args:
        records: what is known of the store.
        shown: what this said was shown the last time.
        name: what the figure is, for zoom to be kept.
        runs: ids of the runs.
        probe: whose numbers they are.
        numbers: which.
        theme: the browser's colour scheme.
        room: how many panels the browser has room for beside each other.
    """
    columns = min(2, int(room or 1))
    known = {run.id: run.name for run in records.view().runs}
    there = [run for run in runs if run in known]
    key = [there, [last_of(records, run, probe) for run in there], [number.name for number in numbers], columns, theme]
    return show(
        shown,
        key,
        lambda: figures.compared(
            {(run, known[run]): records.series(run) for run in there},
            probe,
            numbers,
            theme_of(theme),
            f"{name} {there}",
            columns=columns,
        ),
    )
