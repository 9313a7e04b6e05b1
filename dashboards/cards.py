"""Panels of the page, and the graphs in them."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dashboards.style import GRAPH_CONFIG
from dashboards.terms import what

#: A figure is saved by a menu of its own, which says its name and step, and puts it on the ground that it is seen on.
_CONFIG = {**GRAPH_CONFIG, "modeBarButtonsToRemove": [*GRAPH_CONFIG["modeBarButtonsToRemove"], "toImage"]}
#: Forms in which every figure can be saved.
_SAVED = {"png": "PNG", "svg": "SVG", "json": "JSON"}


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
                        html.Div([dmc.Title(title, order=2, size="h5"), dmc.Text(about, size="xs", c="dimmed")]),
                        controls,
                    ],
                    justify="space-between",
                    align="flex-start",
                    gap="xs",
                ),
                *(body if isinstance(body, list) else [body]),
                *([html.Div([what(defined), number_table(defined)], className="below")] if defined else []),
            ],
            gap=8,
        ),
        withBorder=True,
        p="md",
        className=className,
        **({"id": f"card-{name}"} if name else {}),
    )


def number_table(name: str = "") -> Any:
    """A graph's numbers as a table, behind a small button; assets/describe.js fills it from what the browser has.

    Args:
        name: the graph's id; the only one of its card when empty.
    """
    table = html.Div(className="rows", role="region", tabIndex=0, **{"aria-label": "Numbers of the graph"})
    return html.Details([html.Summary("Its numbers"), table], className="numbers", **{"data-graph": name})


def graph(name: Any, height: int, className: str = "") -> Any:
    """A graph without data yet, with a small menu that saves it.

    Args:
        name: its id.
        height: in pixels.
        className: ``over-training`` where x is the training step, on which the chosen step is marked.
    """
    # The modes of saving, which assets/save.js knows, are of the figure as it is seen: its zoom and its hidden traces.
    saving = [html.Button(label, **{"data-save": form, "type": "button"}) for form, label in _SAVED.items()]
    blank = {"data": [], "layout": {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
                                    "xaxis": {"visible": False}, "yaxis": {"visible": False}}}  # fmt: skip
    drawn = dcc.Graph(
        id=name,
        figure=blank,
        config=_CONFIG,
        style={"height": f"{height}px"},
        className=f"graph {className}".strip(),
        responsive=True,
    )
    named = name if isinstance(name, str) else str(name.get("probe", "figure"))
    summary = html.Summary(
        html.Span(className="icon save-icon"), title="Save this figure", **{"aria-label": "Save this figure"}
    )
    return html.Div(
        [drawn, html.Details([summary, html.Div(saving)], className="save", **{"data-figure": named})],
        className="figure",
    )
