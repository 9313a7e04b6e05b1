"""Panels of the page, and the graphs in them."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dashboards.style import GRAPH_CONFIG
from dashboards.terms import what


def card(
    title: str,
    body: Any,
    controls: Any = None,
    *,
    about: str = "",
    name: str = "",
    className: str = "card",
    defined: str = "",
) -> Any:
    """A panel with its title, what it shows in a line, and its controls at the right.

    Args:
        title: its title.
        body: what is in it, one part or a list.
        controls: what is at the right of the title.
        about: what it shows.
        name: of the figure, for a panel that is hidden where a run has no use for it.
        className: CSS classes.
        defined: id of the figure whose numbers ``dashboards.terms`` defines under it.
    """
    return dmc.Paper(
        dmc.Stack(
            [
                dmc.Group(
                    [
                        html.Div([dmc.Title(title, order=4, size="h5"), dmc.Text(about, size="xs", c="dimmed")]),
                        controls,
                    ],
                    justify="space-between",
                    align="flex-start",
                    gap="xs",
                ),
                *(body if isinstance(body, list) else [body]),
                *([what(defined)] if defined else []),
            ],
            gap=8,
        ),
        withBorder=True,
        p="md",
        className=className,
        **({"id": f"card-{name}"} if name else {}),
    )


def graph(name: Any, height: int, className: str = "") -> Any:
    """A graph without data yet.

    Args:
        name: its id.
        height: in pixels.
        className: ``over-training`` where x is the training step, on which the chosen step is marked.
    """
    blank = {"data": [], "layout": {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
                                    "xaxis": {"visible": False}, "yaxis": {"visible": False}}}  # fmt: skip
    return dcc.Graph(
        id=name,
        figure=blank,
        config=GRAPH_CONFIG,
        style={"height": f"{height}px"},
        className=f"graph {className}".strip(),
        responsive=True,
    )
