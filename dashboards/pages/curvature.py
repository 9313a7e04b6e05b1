"""Curvature: how fast the best action may move with the state, how fast the actor's does, and how the field flips."""

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
from dashboards.truth_words import SMOOTHNESS, eigenvalue_word
from dashboards.words import CURVATURE

_COMPARED = ("ratio", "policy_jacobian", "mixed_partial", "curvature", "valid_share", "interior_share")
_DRAWN = (*_COMPARED, "exact_ratio")
_CARDS = ("curvature", "spectrum", "smoothness", "bound")
_HIGHEST = {"eigenvalue/1": eigenvalue_word(1, 2)}
_BOUND = {name: SMOOTHNESS[name] for name in ("free_ratio", "policy_jacobian", "observed", "violated_share")}


def answer(seen: Seen) -> Answer:
    """What M/μ is, where it means something, the actor's own sensitivity beside it, and how often ∇ₐQ flips."""

    def newest(name: str, probe: str = "curvature") -> Any:
        return last(select(seen.series, probe, name))

    ratio, valid, moves = newest("ratio"), newest("valid_share"), newest("policy_jacobian")
    flips = newest("flip_rate", "smoothness")
    if ratio is None:
        return of_page(seen, "curvature", "curvature")
    where = f", on the {share_of(valid)} of states where μ > 0" if valid is not None else ""
    parts = [f"{at_step(ratio)} the best action moves at most M/μ = {between(ratio)} times as far as the state{where}."]
    if moves is not None:
        parts.append(f"The actor's own moves {between(moves)} times as far.")
    if flips is not None:
        parts.append(f"Along episodes ∇ₐQ changes its sign at {share_of(flips)} of steps and coordinates.")
    return Answer(" ".join(parts), "fact")


def layout(_: Query) -> Any:
    """What is on the page."""
    return frame(
        "curvature",
        list(_CARDS),
        card(
            "Mixed partials, curvature and their ratio",
            graph("curvature", 700, "over-training"),
            about="M/μ bounds how fast the best action moves; it means something only where μ > 0.",
            name="curvature",
            defined="curvature",
        ),
        html.Div(
            [
                card(
                    "Spectrum",
                    graph("spectrum", 400, "over-training"),
                    about="Eigenvalues of ∂²Q/∂a² at the actor's action, medians over states.",
                    name="spectrum",
                    defined="spectrum",
                ),
                card(
                    "Bound against observed sensitivity",
                    graph("bound", 400),
                    about="State by state at the chosen step; above the dotted line the bound is violated.",
                    name="bound",
                    defined="bound",
                ),
            ],
            className="pair",
        ),
        card(
            "Volatility along episodes",
            graph("smoothness", 460, "over-training"),
            about="How often the critic's field flips as the agent moves, and M/μ beside how fast actions moved.",
            name="smoothness",
            defined="smoothness",
        ),
    )


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""
    register_presence(app, records, "curvature", list(_CARDS))
    numbers = [Number(name, CURVATURE[name]) for name in _COMPARED]
    register_over_time(app, records, "curvature", "curvature", figures.curvature, numbers)
    highest = [Number(name, word) for name, word in _HIGHEST.items()]
    register_over_time(app, records, "spectrum", "curvature", figures.spectrum, highest)
    flips = [Number(name, SMOOTHNESS[name]) for name in ("flip_rate", "observed", "free_ratio", "violated_share")]
    register_over_time(app, records, "smoothness", "smoothness", figures.smoothness, flips)
    register_at_step(app, records, "bound", "smoothness", figures.bound_and_observed, arrays=True)
    register_terms(app, records, "curvature", {"curvature": {name: CURVATURE[name] for name in _DRAWN}})
    register_terms(app, records, "spectrum", {"curvature": _HIGHEST})
    register_terms(app, records, "smoothness", {"smoothness": SMOOTHNESS})
    register_terms(app, records, "bound", {"smoothness": _BOUND})


PAGE = Page("curvature", "Curvature", answer, layout, register, stops=("curvature",))
