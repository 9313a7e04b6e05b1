"""Landscape: how many local optima the critic has, how far the actor is from the best, and which are true."""

from __future__ import annotations

from typing import Any

from dash import Dash, html

from dashboards import figures
from dashboards.cards import card, graph
from dashboards.figures.compared import Number
from dashboards.over_time import register_at_step, register_over_time
from dashboards.pages.page import Page, Query, Seen
from dashboards.pages.parts import frame, of_page
from dashboards.presence import register_presence
from dashboards.records import Records
from dashboards.said import Answer, at_step, between, share_of
from dashboards.series import last, select
from dashboards.terms import register_terms
from dashboards.truth_words import PERSISTENCE, PHANTOM, SURROGATES
from dashboards.words import LANDSCAPE

_COMPARED = ("optima", "best_basin_share", "gap", "relative_gap", "own_fit", "basin_choice")
_CARDS = ("landscape", "persistence", "surrogates", "phantoms")


def answer(seen: Seen) -> Answer:
    """How many optima there are, whether the actor is at the best of them, and how many are none in truth."""

    def newest(name: str, probe: str = "landscape") -> Any:
        return last(select(seen.series, probe, name))

    optima, gap, best = newest("optima"), newest("relative_gap"), newest("best_basin_share")
    phantom = newest("phantom/value_phantom", "returns")
    if optima is None:
        return of_page(seen, "landscape", "the critic's landscape")
    parts = [f"{at_step(optima)} Q(s, ·) has {between(optima)} local optima a state."]
    if gap is not None:
        parts.append(f"The actor's action is {share_of(gap)} of Q's range below the best of them.")
    if best is not None:
        parts.append(f"Climbing on from it reaches the best on {share_of(best)} of the states.")
    if phantom is not None:
        parts.append(f"Of those it calls better, {share_of(phantom)} are worse in simulated return.")
    return Answer(" ".join(parts), "fact")


def layout(_: Query) -> Any:
    """What is on the page."""
    return frame(
        "landscape",
        list(_CARDS),
        card(
            "Local optima and the actor's distance",
            graph("landscape", 700, "over-training"),
            about="Of Q(s, ·) over the action box, by state; the gap split into its two parts.",
            name="landscape",
            defined="landscape",
        ),
        html.Div(
            [
                card(
                    "Optima over persistence",
                    graph("persistence", 330),
                    about="At the chosen step: ripples are optima, too; how many there are is a question of how deep.",
                    name="persistence",
                    defined="persistence",
                ),
                card(
                    "Phantom optima",
                    graph("phantoms", 330, "over-training"),
                    about="Optima of the critic that are none in simulated return.",
                    name="phantoms",
                    defined="phantoms",
                ),
            ],
            className="pair",
        ),
        card(
            "Successive surrogates",
            graph("surrogates", 300),
            about="At the chosen step: what is left where all below the actor's action, and then below better ones, "
            "is cut off (SAVO).",
            name="surrogates",
            defined="surrogates",
        ),
    )


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""
    register_presence(app, records, "landscape", list(_CARDS))
    numbers = [Number(name, LANDSCAPE[name]) for name in _COMPARED]
    register_over_time(app, records, "landscape", "landscape", figures.landscape, numbers)
    register_at_step(app, records, "persistence", "landscape", figures.optima_over_persistence)
    register_at_step(app, records, "surrogates", "landscape", figures.surrogates)
    phantoms = [Number(name, word) for name, word in PHANTOM.items()]
    register_over_time(app, records, "phantoms", "returns", figures.phantoms, phantoms)
    register_terms(app, records, "landscape", {"landscape": LANDSCAPE})
    register_terms(app, records, "persistence", {"landscape": {"persistence/0.01": PERSISTENCE}})
    register_terms(
        app, records, "surrogates", {"landscape": {f"surrogate/1/{name}": word for name, word in SURROGATES.items()}}
    )
    register_terms(app, records, "phantoms", {"returns": PHANTOM})


PAGE = Page("landscape", "Landscape", answer, layout, register, stops=("landscape",))
