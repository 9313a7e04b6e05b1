"""Critic against truth: where the critic's action gradient points, and how well V fits."""

from __future__ import annotations

from typing import Any

from dash import Dash, html

from dashboards import figures
from dashboards.answer import direction
from dashboards.cards import card, graph
from dashboards.figures.compared import Number
from dashboards.over_time import register_at_step, register_over_time
from dashboards.pages.page import Page, Query, Seen
from dashboards.pages.parts import frame, of_page
from dashboards.presence import register_presence
from dashboards.records import Records
from dashboards.rollout_answer import fit
from dashboards.said import Answer, at_step, between
from dashboards.series import last, select
from dashboards.terms import register_terms
from dashboards.truth_words import CRITIC_GRADIENT, STEP, VALUE
from dashboards.words import METRICS, ON_POLICY, WRONG_DIRECTION

_ROLLOUT = {name: word for name, word in ON_POLICY.items() if not name.startswith("score-function/")}
_COMPARED = (
    Number("deterministic/wrong_direction", WRONG_DIRECTION),
    *(Number(f"deterministic/{name}", METRICS[name]) for name in ("cosine", "bias_squared", "norm_ratio")),
)
_CARDS = ("wrong", "critic-gradient", "value-error", "calibration", "improvement", "rollout-value")
#: The length of a step that the answer speaks of, as a share of the box's diagonal.
_LENGTH = "0.03"


def answer(seen: Seen) -> Answer:
    """On how many states the critic points the wrong way, and how well V fits its targets."""
    points, fits = direction(seen.series), [*_promises(seen), *fit(seen.series)]
    if points is None:
        return Answer(" ".join(fits), "fact") if fits else of_page(seen, "simulator", "the critic against truth")
    return Answer(" ".join([points.text, *fits]), points.verdict)


def _promises(seen: Seen) -> list[str]:
    """What Q is off by, and what a step along its gradient is worth; empty where that was not measured."""

    def newest(name: str) -> Any:
        return last(select(seen.series, "returns", name))

    bias, predicted, realised = (
        newest(name) for name in ("value/bias", f"step/{_LENGTH}/predicted", f"step/{_LENGTH}/realised")
    )
    parts = []
    if bias is not None:
        parts.append(f"{at_step(bias)} Q is off the simulated return by {between(bias)} on average.")
    if predicted is not None and realised is not None:
        parts.append(
            f"A step of 3 % of the box along its gradient promises {between(predicted)} and gains {between(realised)}."
        )
    return parts


def layout(_: Query) -> Any:
    """What is on the page."""
    return frame(
        "critic",
        list(_CARDS),
        card(
            "Critic against the simulator",
            graph("wrong", 420, "over-training"),
            about="Share of states where the critic's action gradient points the wrong way.",
            name="wrong",
            defined="wrong",
        ),
        html.Div(
            [
                card(
                    "Calibration of Q",
                    graph("calibration", 400),
                    about="State by state at the chosen step; on the dotted line the critic is right.",
                    name="calibration",
                    defined="calibration",
                ),
                card(
                    "Error of Q",
                    graph("value-error", 400, "over-training"),
                    about="Q(s, π(s)) against simulated returns.",
                    name="value-error",
                    defined="value-error",
                ),
            ],
            className="pair",
        ),
        card(
            "Realised against predicted improvement",
            graph("improvement", 330),
            about="At the chosen step: the action goes along ∇ₐQ once; what the critic promises and what it gains.",
            name="improvement",
            defined="improvement",
        ),
        card(
            "Error of the critic's gradient",
            graph("critic-gradient", 480, "over-training"),
            about="The policy gradient by the critic against that by finite differences through the simulator.",
            name="critic-gradient",
            defined="critic-gradient",
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
    register_presence(app, records, "critic", list(_CARDS))
    register_over_time(app, records, "wrong", "simulator", figures.wrong_direction, _COMPARED, says_absent=True)
    values = [Number(name, word) for name, word in VALUE.items()]
    register_over_time(app, records, "value-error", "returns", figures.value_error, values)
    register_at_step(app, records, "calibration", "returns", figures.calibration, arrays=True)
    register_at_step(app, records, "improvement", "returns", figures.improvement)
    gradient = [Number(name, word) for name, word in CRITIC_GRADIENT.items()]
    register_over_time(app, records, "critic-gradient", "simulator", figures.critic_gradient, gradient)
    register_terms(app, records, "value-error", {"returns": VALUE})
    register_terms(app, records, "calibration", {"returns": VALUE})
    register_terms(app, records, "critic-gradient", {"simulator": CRITIC_GRADIENT})
    register_terms(
        app, records, "improvement", {"returns": {f"step/{_LENGTH}/{name}": word for name, word in STEP.items()}}
    )
    rollout = [Number(name, word) for name, word in _ROLLOUT.items()]
    register_over_time(app, records, "rollout-value", "on-policy", figures.rollout_value, rollout)
    register_terms(app, records, "wrong", {"simulator": {"wrong_direction": WRONG_DIRECTION}})
    register_terms(app, records, "rollout-value", {"on-policy": _ROLLOUT})


PAGE = Page("critic", "Critic", answer, layout, register, stops=("simulator", "returns", "on-policy"))
