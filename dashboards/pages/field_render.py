"""What the chosen state looks like to the task's own camera, where this machine can render it."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from dashboards.records import Records
from dashboards.renders import Rendered, Renders
from dashboards.showing import digest, info_of, run_of
from dashboards.timeline import picture_at


def render_place() -> list[Any]:
    """Where it is shown; the style sheet hides the figure that comes after it while it is."""
    return [
        html.Div(id="render"),
        dcc.Interval(id="render-beat", interval=400, disabled=True),
        dcc.Store(id="render-shown"),
    ]


def register_render(app: Dash, records: Records) -> None:
    """Gives the app this place's callback: asks for a picture, and asks again until it is there."""
    renders = Renders()

    @app.callback(
        Output("render", "children"),
        Output("state-title", "title"),
        Output("render-beat", "disabled"),
        Output("render-shown", "data"),
        Input("look-shown", "data"),
        Input("render-beat", "n_intervals"),
        State("slider", "value"),
        State("state", "value"),
        State("token", "data"),
        State("render-shown", "data"),
    )
    def picture(_: Any, __: Any, at: Any, state: Any, token: Any, shown: Any) -> tuple[Any, ...]:
        run, found = info_of(records, token), picture_at(records, run_of(token), at)
        arrays = records.arrays(found[1]) if found is not None else {}
        # Where the probe could not place the body nothing can.
        known = run is not None and "obs" in arrays and "body_position" in arrays
        if not known or run is None:
            made: Rendered | None = Rendered()
        else:
            obs = arrays["obs"].transpose("state", "feature").values
            made = renders.of(run.environment, obs[min(max(int(state or 0), 0), len(obs) - 1)])
        mark = digest((made is None, made and (made.png, made.why)))
        if mark == shown:
            return (no_update,) * 4
        if made is None:
            return None, "", False, mark
        alt = "The state as the task's own camera sees it"
        image = html.Img(src=f"data:image/png;base64,{made.png}", alt=alt, className="render") if made.png else None
        why = f"Drawn from its shapes: {made.why}." if made.why else ""
        return image, why, True, mark
