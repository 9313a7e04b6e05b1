"""The shell: what is around every page. Everything that changes has an id and is filled by the callbacks."""

from __future__ import annotations

import json
import shlex
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dashboards.pages import PAGES
from dashboards.showing import TOKENS, part_of_token
from dashboards.style import FONT

_KEYS = (
    ("1 … 7", "open a page"),
    ("space", "pause, and go on"),
    ("← →", "the measurement before, and after"),
    ("/", "search runs"),
    ("t", "light or dark"),
    ("p", "on the page Field: play through training"),
    ("?", "this help"),
)


def shell(store: str, refresh: float) -> Any:
    """The shell over a store, still without data and without a page.

    Args:
        store: name of the store, for people.
        refresh: seconds between two looks.
    """
    # The first that the Tab key reaches: past the header and the runs, to what the page says.
    skip = html.A("Skip to the content", href="#content", className="skip", **{"data-show": "content"})
    return dmc.MantineProvider(
        defaultColorScheme="auto",
        theme={
            "respectReducedMotion": True,
            "primaryColor": "indigo",
            "fontFamily": FONT,
            "defaultRadius": "md",
            "headings": {"fontWeight": "650"},
        },
        children=[skip, dmc.AppShell(
            [
                # assets/pulse.js beats it.
                dcc.Interval(id="pulse", disabled=True),
                dcc.Store(id="seen", data={}),
                # Changes with what is said of runs beside their measurements: whether they run, and how far they are.
                dcc.Store(id="known", data=None),
                dcc.Store(id="token", data=None),
                # Of single probes, and of which probes and numbers there are: figures ask only when theirs changes.
                *[dcc.Store(id=part_of_token(name), data=None) for name in TOKENS],
                dcc.Store(id="scheme", data=None),
                # How many panels there is room for beside each other, which the browser says.
                dcc.Store(id="room", data=None),
                # The open page and what the address says of its controls; None until the browser has read it.
                dcc.Store(id="page", data=None),
                # The step that is looked at, its place, how many there are, those around it, and where the slider is.
                dcc.Store(id="at", data=None),
                # The step alone, and nothing while the newest is followed: figures of a moment ask when it changes.
                dcc.Store(id="moment", data=None),
                # All steps at which the slider stops, and of what: assets/steps.js says from them where it is.
                dcc.Store(id="stops", data=None),
                dcc.Store(id="answer-shown", data=None),
                # Where the slider was moved to by hand while the page does not know the stops.
                dcc.Store(id="asked", data=None),
                _header(store, refresh),
                _sidebar(),
                dmc.AppShellMain([_offline(store), _main()], id="content"),
                _footer(),
                _help(),
            ],
            header={"height": 96},
            navbar={"width": 272, "breakpoint": "sm", "collapsed": {"mobile": True}},
            footer={"height": 48},
            padding="md",
            id="shell",
        )],
    )  # fmt: skip


def _header(store: str, refresh: float) -> Any:
    tabs = [
        html.A(
            page.label,
            href=f"/{page.path}",
            className="tab",
            title=f"{page.label} (key {number})",
            **{"data-path": page.path, "data-choices": json.dumps(dict(page.choices))},
        )
        for number, page in enumerate(PAGES, 1)
    ]
    left = dmc.Group(
        [
            dmc.Burger(id="burger", size="sm", hiddenFrom="sm", opened=False, **{"aria-label": "Runs"}),
            html.Div(className="mark", **{"aria-hidden": "true"}),
            dmc.Text("gradlab", fw=750, size="lg", className="brand", visibleFrom="xs"),
            dmc.Text(store, size="sm", c="dimmed", visibleFrom="md", truncate=True, maw=380),
        ],
        gap="sm",
        wrap="nowrap",
    )
    right = dmc.Group(
        [
            html.Div(id="live", **{"data-refresh": max(100, round(refresh * 1000))}),
            dmc.Switch(id="live-on", checked=True, size="sm", label="live", labelPosition="left", color="teal"),
            dmc.ColorSchemeToggle(
                id="theme",
                variant="default",
                size="lg",
                lightIcon=html.Span(className="icon sun"),
                darkIcon=html.Span(className="icon moon"),
                **{"aria-label": "Light or dark"},
            ),
            dmc.ActionIcon(
                "?", id="help-button", variant="default", size="lg", visibleFrom="xs", **{"aria-label": "Keyboard help"}
            ),
        ],
        gap="sm",
        wrap="nowrap",
    )
    return dmc.AppShellHeader(
        [
            dmc.Group([left, right], justify="space-between", h=54, px="md", wrap="nowrap"),
            html.Nav(tabs, id="tabs", className="tabs", **{"aria-label": "Pages"}),
        ]
    )


def _sidebar() -> Any:
    return dmc.AppShellNavbar(
        dmc.ScrollArea(
            dmc.Stack(
                [
                    dmc.Group(
                        [
                            dmc.Text("Runs", size="xs", fw=700, c="dimmed", tt="uppercase"),
                            dmc.Text("tick to compare", size="xs", c="dimmed"),
                        ],
                        justify="space-between",
                    ),
                    dmc.TextInput(
                        id="search", placeholder="Search runs", size="xs", value="", debounce=150,
                        rightSection=dmc.Kbd("/", size="xs"), **{"aria-label": "Search runs"},
                    ),
                    dmc.RadioGroup(
                        id="run",
                        children=dmc.CheckboxGroup(
                            id="compare", value=[], children=dmc.Stack(id="runs", gap=6),
                            label="Runs to compare", classNames={"label": "unseen"},
                        ),
                        size="sm",
                        label="The run to look at",
                        classNames={"label": "unseen"},
                    ),
                    html.Div(id="compared"),
                ],
                gap="sm",
                p="md",
            ),
            h="100%",
            type="auto",
        ),
        **{"aria-label": "Runs"},
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
            **{"aria-live": "off"},
        ),
        id="offline",
        role="alert",
    )


def _main() -> Any:
    return dmc.Stack(
        [
            html.Div(id="notice"),
            html.Div(id="answer"),
            # assets/speak.js puts here what is to be heard of both, not at every number that changes.
            html.Div(id="spoken", className="unseen", role="status"),
            html.Div(id="page-body"),
        ],
        gap="sm",
        maw=1720,
        mx="auto",
    )


def _footer() -> Any:
    """The one slider of all pages."""

    def step(name: str, sign: str, label: str) -> Any:
        return dmc.ActionIcon(sign, id=name, variant="subtle", color="gray", size="md", **{"aria-label": label})

    return dmc.AppShellFooter(
        dmc.Group(
            [
                dmc.Switch(id="follow", checked=True, label="follow", size="xs", color="teal"),
                step("before", "‹", "The measurement before"),
                dmc.Slider(
                    id="slider", min=0, max=0, value=0, step=1, updatemode="drag", flex=1, size="sm", label=None,
                    color="orange", thumbLabel="Training step",
                ),
                step("after", "›", "The measurement after"),
                dmc.Text(id="slider-text", size="sm", fw=600, className="number", ta="right"),
            ],
            gap="sm",
            wrap="nowrap",
            h="100%",
            px="md",
        )
    )  # fmt: skip


def _help() -> Any:
    rows = [
        dmc.Group([dmc.Kbd(key, miw=64, ta="center"), dmc.Text(what, size="sm")], gap="md", wrap="nowrap")
        for key, what in _KEYS
    ]
    about = (
        "The address of this page says what you look at: page, run, compared runs, step and controls. Send it to "
        "somebody who can reach this dashboard, or keep it. The dashboard only reads: training never waits for it."
    )
    return dmc.Modal(
        dmc.Stack([*rows, dmc.Divider(), dmc.Text(about, size="sm", c="dimmed")], gap="xs"),
        id="help",
        title="Keyboard",
        closeButtonProps={"aria-label": "Close"},
        opened=False,
        size="md",
    )
