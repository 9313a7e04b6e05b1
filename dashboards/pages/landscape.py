"""Landscape: how many local optima the critic has, and how far the actor is from the best."""

from __future__ import annotations

from typing import Any

from dash import Dash

from dashboards import figures
from dashboards.cards import card, graph
from dashboards.figures.compared import Number
from dashboards.over_time import register_over_time
from dashboards.pages.page import Page, Query, Seen
from dashboards.pages.parts import frame, of_page
from dashboards.presence import register_presence
from dashboards.records import Records
from dashboards.said import Answer, at_step, between, share_of
from dashboards.series import last, select
from dashboards.terms import register_terms
from dashboards.words import LANDSCAPE

_COMPARED = ("optima", "best_basin_share", "gap", "relative_gap", "own_fit", "basin_choice")


def answer(seen: Seen) -> Answer:
    """How many optima there are, and whether the actor is at the best of them."""

    def newest(name: str) -> Any:
        return last(select(seen.series, "landscape", name))

    optima, gap, best = newest("optima"), newest("relative_gap"), newest("best_basin_share")
    if optima is None:
        return of_page(seen, "landscape", "the critic's landscape")
    parts = [f"{at_step(optima)} Q(s, ·) has {between(optima)} local optima a state."]
    if gap is not None:
        parts.append(f"The actor's action is {share_of(gap)} of Q's range below the best of them.")
    if best is not None:
        parts.append(f"Climbing on from it reaches the best on {share_of(best)} of the states.")
    return Answer(" ".join(parts), "fact")


def layout(_: Query) -> Any:
    """What is on the page."""
    return frame(
        "landscape",
        ["landscape"],
        card(
            "Local optima and the actor's distance",
            graph("landscape", 700, "over-training"),
            about="Of Q(s, ·) over the action box, by state; the gap split into its two parts.",
            name="landscape",
            defined="landscape",
        ),
    )


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""
    register_presence(app, records, "landscape", ["landscape"])
    numbers = [Number(name, LANDSCAPE[name]) for name in _COMPARED]
    register_over_time(app, records, "landscape", "landscape", figures.landscape, numbers)
    register_terms(app, records, "landscape", {"landscape": LANDSCAPE})


PAGE = Page("landscape", "Landscape", answer, layout, register, stops=("landscape",))
