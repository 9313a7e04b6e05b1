"""Curvature: how fast the best action may move with the state, and how fast the actor's does."""

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
from dashboards.words import CURVATURE

_COMPARED = ("ratio", "policy_jacobian", "mixed_partial", "curvature", "valid_share", "interior_share")
_DRAWN = (*_COMPARED, "exact_ratio")


def answer(seen: Seen) -> Answer:
    """What M/μ is, where it means something, and the actor's own sensitivity beside it."""

    def newest(name: str) -> Any:
        return last(select(seen.series, "curvature", name))

    ratio, valid, moves = newest("ratio"), newest("valid_share"), newest("policy_jacobian")
    if ratio is None:
        return of_page(seen, "curvature", "curvature")
    where = f", on the {share_of(valid)} of states where μ > 0" if valid is not None else ""
    parts = [f"{at_step(ratio)} the best action moves at most M/μ = {between(ratio)} times as far as the state{where}."]
    if moves is not None:
        parts.append(f"The actor's own moves {between(moves)} times as far.")
    return Answer(" ".join(parts), "fact")


def layout(_: Query) -> Any:
    """What is on the page."""
    return frame(
        "curvature",
        ["curvature"],
        card(
            "Mixed partials, curvature and their ratio",
            graph("curvature", 700, "over-training"),
            about="M/μ bounds how fast the best action moves; it means something only where μ > 0.",
            name="curvature",
            defined="curvature",
        ),
    )


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""
    register_presence(app, records, "curvature", ["curvature"])
    numbers = [Number(name, CURVATURE[name]) for name in _COMPARED]
    register_over_time(app, records, "curvature", "curvature", figures.curvature, numbers)
    register_terms(app, records, "curvature", {"curvature": {name: CURVATURE[name] for name in _DRAWN}})


PAGE = Page("curvature", "Curvature", answer, layout, register, stops=("curvature",))
