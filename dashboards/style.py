"""Colours, marks and the look that all figures share; one estimator looks the same in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, NamedTuple
from zlib import crc32

import plotly.graph_objects as go
import plotly.io as pio

from dashboards.drawn import Drawn

Theme = Literal["light", "dark"]

#: What every graph gets: plotly's upload button never appears, and figures save as vector graphics.
GRAPH_CONFIG: dict[str, Any] = {
    "showSendToCloud": False,
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "gradlab"},
}

#: From deep to bright without reaching white, so that white arrows are seen on all of it ("mako" of seaborn, cut).
FIELD_COLORS = ["#14101f", "#2a1f45", "#36356f", "#395d9c", "#3680a0", "#38a1aa", "#52bfa9"]

ACCENT = "#f08c00"
OPTIMUM = "#ffd43b"
#: The accent where it is a line or a sign on the card itself: at least 3:1 against it (WCAG 2.2, 1.4.11).
ACCENTS = ("#b35c00", ACCENT)

FONT = (
    "-apple-system, BlinkMacSystemFont, Segoe UI, Roboto, Helvetica, Arial, DejaVu Sans, sans-serif, "
    "Apple Color Emoji, Segoe UI Emoji"
)


class Look(NamedTuple):
    """How one estimator is drawn: colour on light and on dark ground, and a mark that tells it without colour."""

    light: str
    dark: str
    symbol: str

    def color(self, theme: Theme) -> str:
        """The colour for a theme, as ``#rrggbb``."""
        return self.dark if theme == "dark" else self.light


# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), lightened on dark ground where contrast needs it.
_LOOKS = {
    "deterministic": Look("#0072b2", "#4dabf7", "circle"),
    "zeroth-order-2": Look("#d98e00", "#ffb52e", "square"),
    "zeroth-order-antithetic": Look("#d55e00", "#ff8a4c", "diamond"),
    "zeroth-order-1": Look("#8c6d1f", "#d9b84a", "pentagon"),
    "score-function": Look("#b5548b", "#e599c2", "triangle-up"),
    "score-function-baseline": Look("#00875f", "#38d9a9", "triangle-down"),
    "reparameterized": Look("#5f3dc4", "#9775fa", "x"),
}
_OTHERS = (
    Look("#495057", "#ced4da", "cross"),
    Look("#2b8a9d", "#66d9e8", "star"),
    Look("#a61e4d", "#faa2c1", "hexagon"),
    Look("#5c940d", "#c0eb75", "bowtie"),
)


#: Colours of lines that are told apart by their order alone, on light and on dark ground.
PALETTE = (
    ("#0072b2", "#4dabf7"), ("#d55e00", "#ff8a4c"), ("#00875f", "#38d9a9"), ("#b5548b", "#e599c2"),
    ("#7a6300", "#ffe066"), ("#5f3dc4", "#9775fa"), ("#2b8a9d", "#66d9e8"), ("#495057", "#ced4da"),
)  # fmt: skip


class RunLook(NamedTuple):
    """How one run is drawn beside others: colour on light and on dark ground, and a mark and dash without colour."""

    light: str
    dark: str
    symbol: str
    dash: str

    def color(self, theme: Theme) -> str:
        """The colour for a theme, as ``#rrggbb``."""
        return self.dark if theme == "dark" else self.light


_RUN_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "pentagon", "star")
_RUN_DASHES = ("solid", "dash", "dot", "dashdot")


def run_look(run: int) -> RunLook:
    """How a run is drawn, by its id alone: the same in every figure, page and session.

    Eight runs after each other have colours and marks of their own; the next eight have the same, dashed.

    Example:
        >>> run_look(1).light, run_look(9).light, run_look(1).dash, run_look(9).dash
        ('#0072b2', '#0072b2', 'solid', 'dash')
    """
    again, place = divmod(max(0, run - 1), len(PALETTE))
    return RunLook(*PALETTE[place], _RUN_SYMBOLS[place], _RUN_DASHES[again % len(_RUN_DASHES)])


def color_of(names: Sequence[str], name: str, theme: Theme) -> str:
    """The colour of one of several names, by its place among them.

    Example:
        >>> color_of(["a", "b"], "b", "light")
        '#d55e00'
    """
    return PALETTE[names.index(name) % len(PALETTE)][theme == "dark"]


def look(estimator: str) -> Look:
    """How an estimator is drawn: the same in every figure, run and process; unknown names get one by their hash.

    Example:
        >>> look("deterministic").symbol
        'circle'
        >>> look("my-estimator") == look("my-estimator")
        True
    """
    return _LOOKS.get(estimator) or _OTHERS[crc32(estimator.encode()) % len(_OTHERS)]


def rgba(color: str, alpha: float) -> str:
    """A ``#rrggbb`` colour with an opacity.

    Example:
        >>> rgba("#0072b2", 0.2)
        'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def drawing(spec: dict[str, Any]) -> go.Figure:
    """A figure of ``data`` and ``layout`` as they are: plotly's check of each number would take half of the time.

    The tests check what the figures make.
    """
    return Drawn(spec)


@cache
def _template(theme: Theme) -> dict[str, Any]:
    from dash_mantine_components import add_figure_templates

    add_figure_templates()
    whole = pio.templates[f"mantine_{theme}"].to_plotly_json()
    # The defaults of traces that are never drawn would be nine tenths of it.
    return {"layout": whole["layout"], "data": {"scatter": whole["data"]["scatter"]}}


def muted(theme: Theme) -> str:
    """Colour of secondary text, at least 4.5:1 against the cards."""
    return "#adb5bd" if theme == "dark" else "#5c636a"


def layout(theme: Theme, *, uirevision: str, **more: Any) -> dict[str, Any]:
    """Layout shared by all figures: the theme's template on a transparent ground, and zoom kept between updates."""
    text = "#ced4da" if theme == "dark" else "#343a40"
    return {
        "template": _template(theme),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": text},
        "margin": {"l": 56, "r": 14, "t": 28, "b": 36},
        "uirevision": uirevision,
        "hoverlabel": {
            # Without a colour of its own the text takes the border's, which is hard to read.
            "font": {"family": FONT, "size": 12, "color": text},
            "align": "left",
            "bgcolor": "#25262b" if theme == "dark" else "#ffffff",
            "bordercolor": "#5c5f66" if theme == "dark" else "#ced4da",
        },
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": muted(theme), "activecolor": ACCENT},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "font": {"size": 11}},
        **more,
    }


def axis(theme: Theme, **more: Any) -> dict[str, Any]:
    """An axis with a quiet grid."""
    return {
        "gridcolor": "rgba(255,255,255,0.08)" if theme == "dark" else "rgba(0,0,0,0.08)",
        "zeroline": False,
        "zerolinecolor": "rgba(255,255,255,0.25)" if theme == "dark" else "rgba(0,0,0,0.25)",
        "zerolinewidth": 1,
        "automargin": False,
        **more,
        "tickfont": {"size": 11, "color": muted(theme), **more.get("tickfont", {})},
    }


def step_axis(theme: Theme, **more: Any) -> dict[str, Any]:
    """The axis of training steps."""
    return axis(
        theme, title={"text": "training step", "font": {"size": 11, "color": muted(theme)}, "standoff": 6}, **more
    )
