"""Field: the Q-gradient over the action plane at the chosen step, beside others, and the state it is in."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.exceptions import PreventUpdate

from dashboards import figures
from dashboards.cards import card, graph, number_table
from dashboards.figures.field_panel import critics, planes
from dashboards.figures.state_fields import stored_over_states
from dashboards.known_run import PRUNED
from dashboards.pages.field_panels import BESIDE, follows
from dashboards.pages.field_picture import ROWS, numbers, register_picture
from dashboards.pages.field_render import register_render, render_place
from dashboards.pages.page import Page, Query, Seen
from dashboards.pages.parts import frame, of_page
from dashboards.presence import register_presence
from dashboards.records import Records
from dashboards.said import Answer, at_step, share_of
from dashboards.series import last, select
from dashboards.showing import digest, run_of, show, theme_of
from dashboards.terms import register_terms
from dashboards.timeline import picture_at
from dashboards.words import FIELD, counted

_SPEEDS = {"2": "2 a second", "5": "5 a second", "100": "as fast as it can"}
_OVER = {"norm": "‖∇_a Q‖", "volatility": "volatility", "q": "Q"}


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
        count = len(seen.records.fields)
        return Answer(f"{count:,} picture{'s' * (count != 1)} of the critic's field over training.", "fact")
    if seen.records.pruned("field"):
        count = seen.records.probes["field"].ok
        return Answer(f"{PRUNED.capitalize()}: {count:,} picture{'s' * (count != 1)} of the field.", "unknown")
    return of_page(seen, "field", "the critic's field")


def _select(name: str, label: str, options: list[dict[str, str]], value: str, width: int) -> Any:
    return dmc.Select(
        id=name, data=options, value=value, size="xs", w=width, allowDeselect=False, checkIconPosition="right",
        **{"aria-label": label},
    )  # fmt: skip


def _options(names: dict[str, str]) -> list[dict[str, str]]:
    return [{"value": value, "label": label} for value, label in names.items()]


def layout(query: Query) -> Any:
    """What is on the page."""
    critic, state, plane = query.number("critic"), query.number("state"), query.number("plane")
    controls = dmc.Group(
        [
            dmc.SegmentedControl(
                id="critic",
                data=[{"label": f"critic {int(critic) + 1}", "value": critic}],
                value=critic,
                size="xs",
                **{"aria-label": "Critic"},
            ),
            _select("state", "State", [{"label": f"state {int(state) + 1}", "value": state}], state, 104),
            _select("plane", "Plane", [{"label": "actions 1 and 2", "value": plane}], plane, 150),
            _select("beside", "Panels", _options(BESIDE), query.one("beside", "one", list(BESIDE)), 180),
        ],
        gap="xs",
    )
    play = dmc.Group(
        [
            dmc.ActionIcon(
                html.Span(className="play-sign"), id="play", variant="light", size="md", color="orange",
                **{"aria-label": "Play through training", "aria-pressed": "false"},
            ),
            dmc.SegmentedControl(
                id="speed", data=_options(_SPEEDS), value=query.one("speed", "5", list(_SPEEDS)), size="xs",
                **{"aria-label": "Speed of play"},
            ),
            dmc.Text(id="field-note", size="xs", c="dimmed", flex=1, miw=180),
        ],
        gap="xs",
    )  # fmt: skip
    over = query.one("over", "norm", list(_OVER))
    return frame(
        "field",
        ["field", "look", "over-states"],
        card(
            "Q-gradient field",
            [
                html.Div(id="field-trouble"),
                dcc.Store(id="field-rest"),
                play,
                html.Div(
                    [
                        html.Div(graph("field", ROWS[1]), id="field-frame", className="field-frame"),
                        html.Div(
                            [
                                html.H3("The state", id="state-title", className="state-title"),
                                *render_place(),
                                graph("look", 300),
                                dmc.Text(id="state-text", size="xs", c="dimmed", className="number"),
                            ],
                            className="field-side",
                        ),
                    ],
                    className="field-row",
                ),
            ],
            controls,
            about="Q over the action plane; arrows follow the action gradient, length ∝ √‖∇Q‖.",
            name="field",
            defined="field",
        ),
        html.Div(
            card(
                "Field over states",
                [
                    html.Div(graph("over-states", 420), className="field-frame", style={"maxWidth": "760px"}),
                    number_table("over-states"),
                ],
                dmc.SegmentedControl(
                    id="over",
                    data=_options(_OVER),
                    value=over,
                    size="xs",
                    **{"aria-label": "What is shown over states"},
                ),
                about="The gradient at the actor's action, over the plane of the two directions in which states seen "
                "vary most, through the chosen state; dots are states seen.",
            ),
            id="over-card",
            style={"display": "none"},
        ),
    )


def register(app: Dash, records: Records) -> None:
    """Gives the app this page's callbacks."""
    register_presence(app, records, "field", ["field"])
    register_terms(app, records, "field", {"": FIELD})
    register_picture(app, records)
    register_render(app, records)
    # Of callbacks without an Output, Dash keeps one for the same inputs, and the shell's keyboard has "at" alone.
    app.clientside_callback(ClientsideFunction("gradlabPlay", "know"), Input("at", "data"), Input("page", "data"))
    app.clientside_callback(ClientsideFunction("gradlabPlay", "shown"), Input("field-shown", "data"))
    # What a picture depends on; where the slider is moved by hand it is shown without this.
    app.clientside_callback(
        ClientsideFunction("gradlabPictures", "depend"),
        # Never by this way: it says that the callback is this page's.
        Output("field-shown", "data"),
        *[Input(name, "value") for name in ("critic", "state", "plane", "beside")],
        *[Input(name, "data") for name in ("at", "token", "scheme", "room")],
    )
    pickers = [part for name in ("critic", "state", "plane") for part in ((name, "data"), (name, "value"))]

    @app.callback(
        *[Output(*part) for part in pickers],
        Input("token", "data"),
        # No Input: a picture would wait for this answer at every move of the slider.
        State("slider", "value"),
        *[State(*part) for part in pickers],
    )
    def offered(token: Any, at: Any, *before: Any) -> tuple[Any, ...]:
        found = picture_at(records, run_of(token), at)
        if found is None:
            raise PreventUpdate
        after: list[Any] = []
        for options, value in zip(choices(records, found[1]), before[1::2], strict=True):
            after += [options, value if value in [one["value"] for one in options] else "0"]
        if after == list(before):
            raise PreventUpdate
        return tuple(new if new != old else no_update for new, old in zip(after, before, strict=True))

    @app.callback(
        Output("look", "figure"),
        Output("look-shown", "data"),
        Output("over-states", "figure"),
        Output("over-states-shown", "data"),
        Output("over-card", "style"),
        Output("state-text", "children"),
        # When the field has been at rest for a moment: the next picture is not to wait for these.
        Input("field-rest", "data"),
        Input("over", "value"),
        State("slider", "value"),
        State("critic", "value"),
        State("state", "value"),
        State("token", "data"),
        State("scheme", "data"),
        State("look-shown", "data"),
        State("over-states-shown", "data"),
    )
    def around(
        _: Any, over: str, at: Any, critic: str, state: str, token: Any, theme: Any, looked: Any, had: Any
    ) -> tuple[Any, ...]:
        run = run_of(token)
        found = picture_at(records, run, at)
        arrays = records.arrays(found[1]) if found is not None else {}
        where, which, _ = numbers(arrays, state, critic, "0")
        obs = arrays["obs"].values.tobytes() if "obs" in arrays else b""
        look = show(
            looked, [run, digest(obs), where, theme],
            lambda: figures.state_look(arrays, where, theme_of(theme), f"look {run} {where}"),
        )  # fmt: skip
        plane = stored_over_states(arrays, where)
        name = over if over in _OVER else "norm"
        drawn: tuple[Any, Any] = (no_update, no_update)
        if plane:
            drawn = show(
                had, [run, records.epoch, found, where, which, name, theme],
                lambda: figures.field_over_states(
                    plane, which, shown=name, theme=theme_of(theme), uirevision=f"over {run} {where}"
                ),
            )  # fmt: skip
        return *look, *drawn, {} if plane else {"display": "none"}, state_text(arrays, where)


def choices(
    records: Records, measurement_id: int
) -> tuple[list[dict[str, str]], list[dict[str, str]], list[dict[str, str]]]:
    """The critics, the states and the planes to choose from in one picture of the field."""
    arrays = records.arrays(measurement_id)
    if "q" not in arrays:
        return (
            [{"label": "critic 1", "value": "0"}], [{"label": "state 1", "value": "0"}],
            [{"label": "actions 1 and 2", "value": "0"}],
        )  # fmt: skip
    return (
        [{"label": name + follows(arrays, name), "value": str(i)} for i, name in enumerate(critics(arrays))],
        [{"label": f"state {i + 1}", "value": str(i)} for i in range(arrays["q"].sizes["state"])],
        [{"label": name, "value": str(i)} for i, name in enumerate(planes(arrays))],
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
    "field", "Field", answer, layout, register, stops=("field",),
    choices={"critic": "0", "state": "0", "plane": "0", "beside": "one", "over": "norm", "speed": "5"},
)  # fmt: skip
