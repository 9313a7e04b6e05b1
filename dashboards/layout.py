"""The page: what is where. Everything that changes has an id and is filled by the callbacks."""

from __future__ import annotations

import shlex
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dashboards.cards import card, graph
from dashboards.own import CARDS
from dashboards.style import FONT
from dashboards.words import DEFAULT_METRICS, METRICS, REFERENCES


def page(store: str, refresh: float) -> Any:
    """The whole page over a store, still without data.

    Args:
        store: name of the store, for people.
        refresh: seconds between two looks.
    """
    return dmc.MantineProvider(
        defaultColorScheme="auto",
        theme={
            "primaryColor": "indigo",
            "fontFamily": FONT,
            "defaultRadius": "md",
            "headings": {"fontWeight": "650"},
        },
        children=dmc.AppShell(
            [
                dcc.Interval(id="pulse", interval=max(100, round(refresh * 1000))),
                dcc.Store(id="seen", data={}),
                dcc.Store(id="token", data=None),
                dcc.Store(id="scheme", data=None),
                # How many panels there is room for beside each other, which the browser says.
                dcc.Store(id="room", data=None),
                *[dcc.Store(id=f"{name}-shown") for name in (*CARDS, "others", "cards", "cost")],
                _header(store),
                dmc.AppShellNavbar(
                    dmc.ScrollArea(
                        dmc.Stack(
                            [
                                dmc.Text("Runs", size="xs", fw=700, c="dimmed", tt="uppercase"),
                                dmc.RadioGroup(id="run", children=dmc.Stack(id="runs", gap=8), size="sm"),
                                dmc.Divider(my=4),
                                dmc.Text("Probes of this run", size="xs", fw=700, c="dimmed", tt="uppercase"),
                                dmc.Stack(id="probes", gap=8),
                            ],
                            gap="sm",
                            p="md",
                        ),
                        h="100%",
                        type="auto",
                    )
                ),
                dmc.AppShellMain([_offline(store), _main()]),
            ],
            header={"height": 56},
            navbar={"width": 268, "breakpoint": "sm", "collapsed": {"mobile": True}},
            padding="md",
            id="shell",
        ),
    )


def _header(store: str) -> Any:
    return dmc.AppShellHeader(
        dmc.Group(
            [
                dmc.Group(
                    [
                        dmc.Burger(id="burger", size="sm", hiddenFrom="sm", opened=False, **{"aria-label": "Runs"}),
                        html.Div(className="mark", **{"aria-hidden": "true"}),
                        dmc.Text("gradlab", fw=750, size="lg", className="brand", visibleFrom="xs"),
                        dmc.Text(store, size="sm", c="dimmed", visibleFrom="md", truncate=True, maw=380),
                    ],
                    gap="sm",
                    wrap="nowrap",
                ),
                dmc.Group(
                    [
                        html.Div(id="live", role="status"),
                        dmc.Switch(
                            id="live-on", checked=True, size="sm", label="live", labelPosition="left", color="teal",
                        ),
                        dmc.ColorSchemeToggle(
                            id="theme", variant="default", size="lg",
                            lightIcon=html.Span(className="icon sun"), darkIcon=html.Span(className="icon moon"),
                            **{"aria-label": "Light or dark"},
                        ),
                    ],
                    gap="md",
                    wrap="nowrap",
                ),
            ],
            justify="space-between",
            h="100%",
            px="md",
            wrap="nowrap",
        )
    )  # fmt: skip


def _offline(store: str) -> Any:
    """What assets/watch.js shows when the server behind the page is gone: it has to be there beforehand."""
    command = ["gradlab dashboard ", shlex.quote(store), html.Span(id="offline-port")]
    return html.Div(
        dmc.Alert(
            ["Start it again with ", dmc.Code(command), ". This page then goes on by itself; what it shows is old."],
            title="The dashboard is not answering",
            color="red.9",
            variant="filled",
        ),
        id="offline",
        role="alert",
    )


def _main() -> Any:
    return dmc.Stack(
        [
            html.Div(id="notice"),
            html.Div(id="answer"),
            dmc.SimpleGrid(id="tiles", cols={"base": 2, "sm": 3, "lg": 5}, spacing="sm"),
            html.Div(
                [
                    _field(),
                    _gradient(),
                ],
                className="pair",
            ),
            html.Div(
                [
                    card(
                        "Critic against the simulator",
                        graph("wrong", 300),
                        about="Share of states where the critic's action gradient points the wrong way.",
                        name="wrong",
                    ),
                    card(
                        "Landscape",
                        graph("landscape", 300),
                        about="Local optima of Q(s, ·), and the actor's distance.",
                        name="landscape",
                    ),
                    card(
                        "Curvature",
                        graph("curvature", 300),
                        about="M/μ bounds how fast the best action moves.",
                        name="curvature",
                    ),
                ],
                className="triple",
            ),
            html.Div(
                [
                    card(
                        "Policy gradient of a rollout",
                        graph("rollout-gradient", 480),
                        about="How much of it is signal; dotted and hollow where that is not resolved from zero.",
                        name="rollout-gradient",
                    ),
                    card(
                        "Value function and policy",
                        graph("rollout-value", 480),
                        about="V against the targets it is trained on, which bootstrap on V; the policy's entropy.",
                        name="rollout-value",
                    ),
                ],
                className="pair",
            ),
            html.Div(
                [
                    card(
                        "Bias and clipping of a rollout's gradient",
                        graph("rollout-ledger", 480),
                        about="What is in its mean that is not the return's gradient; what the last update's clipping "
                        "took off, and how far it went.",
                        name="rollout-ledger",
                    ),
                ],
                className="pair",
            ),
            html.Div(id="others", className="others"),
            card(
                "What measuring costs",
                html.Div([graph("cost", 400), html.Div(id="cost-rows")], className="costs"),
                about="Time that probes took, beside what they were planned to take and may take. The budget also pays "
                "for copies of the agent and for writing, which are not in these numbers.",
            ),
        ],
        gap="sm",
        maw=1720,
        mx="auto",
    )


def _field() -> Any:
    controls = dmc.Group(
        [
            dmc.SegmentedControl(id="critic", data=[{"label": "critic 1", "value": "0"}], value="0", size="xs"),
            dmc.Select(
                id="state", data=[{"label": "state 1", "value": "0"}], value="0", size="xs", w=104,
                allowDeselect=False, checkIconPosition="right", **{"aria-label": "State"},
            ),
        ],
        gap="xs",
    )  # fmt: skip
    slider = dmc.Group(
        [
            dmc.Switch(id="follow", checked=True, label="follow", size="xs", color="teal"),
            dmc.Slider(
                id="slider", min=0, max=0, value=0, step=1, updatemode="drag", flex=1, size="sm", label=None,
                color="orange",                 thumbLabel="Training step",
            ),
            dmc.Text(id="slider-text", size="sm", fw=600, className="number", miw=148, ta="right"),
        ],
        gap="md",
        wrap="nowrap",
    )  # fmt: skip
    return card(
        "Q-gradient field",
        [graph("field", 480), slider, dmc.Text(id="state-text", size="xs", c="dimmed", truncate=True)],
        controls,
        about="Q over the action plane; arrows follow the action gradient, length ∝ √‖∇Q‖.",
        name="field",
    )


def _gradient() -> Any:
    controls = dmc.SegmentedControl(
        id="reference",
        data=[{"label": f"against the {word.label}", "value": probe} for probe, word in REFERENCES.items()],
        value="gradient",
        size="xs",
    )
    chips = dmc.ChipGroup(
        id="metrics",
        multiple=True,
        value=list(DEFAULT_METRICS),
        children=dmc.Group(
            [dmc.Chip(word.label, value=name, size="xs", variant="light") for name, word in METRICS.items()], gap=6
        ),
    )
    return card(
        "Gradient error of each estimator",
        [chips, graph("gradient", 520)],
        controls,
        about="Bands are 95 % intervals; hollow marks are not resolved from zero.",
        name="gradient",
    )
