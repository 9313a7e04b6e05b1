"""Field: the Q-gradient over the action plane at the chosen step."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update
from dash.exceptions import PreventUpdate

from dashboards import figures
from dashboards.cards import card, graph
from dashboards.pages.page import Page, Query, Seen
from dashboards.pages.parts import frame, of_page
from dashboards.presence import register_presence
from dashboards.records import Records
from dashboards.said import Answer, at_step, share_of
from dashboards.series import last, select
from dashboards.showing import run_of, show, theme_of
from dashboards.terms import register_terms
from dashboards.timeline import picture_at
from dashboards.words import FIELD, counted


def answer(seen: Seen) -> Answer:
    """Where following the arrows leads the actor, and whether they point where the simulator's do."""
    best = last(select(seen.series, "landscape", "best_basin_share"))
    wrong = last(select(seen.series, "simulator", "deterministic/wrong_direction"))
    parts = []
    if best is not None:
        parts.append(
            f"{at_step(best)} following the arrows from the actor's action reaches the best optimum on "
            f"{share_of(best)} of the states (n = {counted(best, 'landscape')})."
        )
    if wrong is not None:
        parts.append(f"{at_step(wrong)} the arrows point the wrong way on {share_of(wrong)} (simulator).")
    if parts:
        return Answer(" ".join(parts), "fact")
    if seen.records.fields:
        return Answer(f"{len(seen.records.fields):,} pictures of the critic's field over training.", "fact")
    return of_page(seen, "field", "the critic's field")


def layout(query: Query) -> Any:
    """What is on the page."""
    critic, state = query.number("critic"), query.number("state")
    controls = dmc.Group(
        [
            dmc.SegmentedControl(
                id="critic", data=[{"label": f"critic {int(critic) + 1}", "value": critic}], value=critic, size="xs"
            ),
            dmc.Select(
                id="state", data=[{"label": f"state {int(state) + 1}", "value": state}], value=state, size="xs", w=104,
                allowDeselect=False, checkIconPosition="right", **{"aria-label": "State"},
            ),
        ],
        gap="xs",
    )  # fmt: skip
    return frame(
        "field",
        ["field"],
        card(
            "Q-gradient field",
            [
                html.Div(id="field-trouble"),
                graph("field", 620),
                dmc.Text(id="state-text", size="xs", c="dimmed", truncate=True),
            ],
            controls,
            about="Q over the action plane; arrows follow the action gradient, length ∝ √‖∇Q‖.",
            name="field",
            defined="field",
        ),
    )


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""
    register_presence(app, records, "field", ["field"])
    register_terms(app, records, "field", {"": FIELD})

    @app.callback(
        Output("critic", "data"),
        Output("critic", "value"),
        Output("state", "data"),
        Output("state", "value"),
        Input("token", "data"),
        # No Input: a picture would wait for this answer at every move of the slider.
        State("slider", "value"),
        State("critic", "data"),
        State("critic", "value"),
        State("state", "data"),
        State("state", "value"),
    )
    def offered(token: Any, at: Any, critics: Any, critic: str, states: Any, state: str) -> tuple[Any, ...]:
        found = picture_at(records, run_of(token), at)
        if found is None:
            raise PreventUpdate
        critic_choices, state_choices = choices(records, found[1])
        before = (critics, critic, states, state)
        after = (
            critic_choices,
            critic if critic in [one["value"] for one in critic_choices] else "0",
            state_choices,
            state if state in [one["value"] for one in state_choices] else "0",
        )
        if after == before:
            raise PreventUpdate
        return tuple(new if new != old else no_update for new, old in zip(after, before, strict=True))

    @app.callback(
        Output("field", "figure"),
        Output("field-shown", "data"),
        Output("state-text", "children"),
        Output("field-trouble", "children"),
        Input("slider", "value"),
        Input("critic", "value"),
        Input("state", "value"),
        Input("token", "data"),
        Input("scheme", "data"),
        State("field-shown", "data"),
    )
    def picture(at: Any, critic: str, state: str, token: Any, theme: Any, shown: Any) -> tuple[Any, ...]:
        run = run_of(token)
        found = picture_at(records, run, at)
        measurement_id = found[1] if found is not None else 0
        arrays = records.arrays(measurement_id) if found is not None else {}
        sizes = arrays["q"].sizes if "q" in arrays else {"critic": 1, "state": 1}
        critic_number = min(int(critic or 0), sizes["critic"] - 1)
        state_number = min(int(state or 0), sizes["state"] - 1)
        key = [run, records.epoch, measurement_id, critic_number, state_number, theme]
        drawn, seen = show(
            shown,
            key,
            lambda: figures.field(arrays, state_number, critic_number, theme_of(theme), f"field {run}"),
        )
        trouble = None
        if found is not None and (why := records.damage(measurement_id)):
            title = f"The picture of step {found[0]:,} cannot be read"
            trouble = dmc.Alert(f"{why}. Other steps are not affected.", title=title, color="orange", variant="light")
        return drawn, seen, state_text(arrays, state_number), trouble


def choices(records: Records, measurement_id: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The critics and the states to choose from in one picture of the field."""
    q = records.arrays(measurement_id).get("q")
    if q is None:
        return [{"label": "critic 1", "value": "0"}], [{"label": "state 1", "value": "0"}]
    names = q["critic"].values.tolist() if "critic" in q.coords else []
    labels = [str(name) for name in names] or [f"critic {i + 1}" for i in range(q.sizes["critic"])]
    return (
        [{"label": label, "value": str(i)} for i, label in enumerate(labels)],
        [{"label": f"state {i + 1}", "value": str(i)} for i in range(q.sizes["state"])],
    )


def state_text(arrays: Any, state: int) -> str:
    """What the chosen state looks like: its first coordinates.

    Example:
        >>> state_text({}, 0)
        ''
    """
    if "obs" not in arrays or state >= arrays["obs"].sizes["state"]:
        return ""
    numbers = arrays["obs"].isel(state=state).values.tolist()
    shown = ", ".join(f"{number:.3g}" for number in numbers[:10])
    return f"state {state + 1}: s = ({shown}{', …' if len(numbers) > 10 else ''})"


PAGE = Page(
    "field", "Field", answer, layout, register, stops=("field",), choices={"critic": "0", "state": "0"}
)  # fmt: skip
