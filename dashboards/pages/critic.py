"""Critic against truth: where the critic's action gradient points, and how well V fits."""

from __future__ import annotations

from typing import Any

from dash import Dash

from dashboards import figures
from dashboards.answer import direction
from dashboards.cards import card, graph
from dashboards.figures.compared import Number
from dashboards.over_time import register_over_time
from dashboards.pages.page import Page, Query, Seen
from dashboards.pages.parts import frame, of_page
from dashboards.presence import register_presence
from dashboards.records import Records
from dashboards.rollout_answer import fit
from dashboards.said import Answer
from dashboards.terms import register_terms
from dashboards.words import METRICS, ON_POLICY, WRONG_DIRECTION

_ROLLOUT = {name: word for name, word in ON_POLICY.items() if not name.startswith("score-function/")}
_COMPARED = (
    Number("deterministic/wrong_direction", WRONG_DIRECTION),
    *(Number(f"deterministic/{name}", METRICS[name]) for name in ("cosine", "bias_squared", "norm_ratio")),
)


def answer(seen: Seen) -> Answer:
    """On how many states the critic points the wrong way, and how well V fits its targets."""
    points, fits = direction(seen.series), fit(seen.series)
    if points is None:
        return Answer(" ".join(fits), "fact") if fits else of_page(seen, "simulator", "the critic against truth")
    return Answer(" ".join([points.text, *fits]), points.verdict)


def layout(_: Query) -> Any:
    """What is on the page."""
    return frame(
        "critic",
        ["wrong", "rollout-value"],
        card(
            "Critic against the simulator",
            graph("wrong", 420, "over-training"),
            about="Share of states where the critic's action gradient points the wrong way.",
            name="wrong",
            defined="wrong",
        ),
        card(
            "Value function and policy",
            graph("rollout-value", 520, "over-training"),
            about="V against the targets it is trained on, which bootstrap on V; the policy's entropy.",
            name="rollout-value",
            defined="rollout-value",
        ),
    )


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""
    register_presence(app, records, "critic", ["wrong", "rollout-value"])
    register_over_time(app, records, "wrong", "simulator", figures.wrong_direction, _COMPARED, says_absent=True)
    rollout = [Number(name, word) for name, word in _ROLLOUT.items()]
    register_over_time(app, records, "rollout-value", "on-policy", figures.rollout_value, rollout)
    register_terms(app, records, "wrong", {"simulator": {"wrong_direction": WRONG_DIRECTION}})
    register_terms(app, records, "rollout-value", {"on-policy": _ROLLOUT})


PAGE = Page("critic", "Critic", answer, layout, register, stops=("simulator", "on-policy"))
