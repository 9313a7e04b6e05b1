"""What the page asks for, and what it gets: a pulse with what changed in words, and one question a figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
from dash import ClientsideFunction, Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from dashboards import figures, parts
from dashboards.answer import answer, tiles
from dashboards.other_probes import register_others
from dashboards.records import Records, View
from dashboards.run_cards import register_cards
from dashboards.showing import absent_of, digest, last_of, run_of, show, theme_of
from gradlab.store import RunInfo


def register(app: Dash, records: Records) -> None:
    """Gives an app its callbacks over these records."""
    _clientside(app)
    _pulse(app, records)
    _slider(app, records)
    _field(app, records)

    @app.callback(
        Output("gradient", "figure"),
        Output("gradient-shown", "data"),
        Input("token", "data"),
        Input("scheme", "data"),
        Input("metrics", "value"),
        Input("reference", "value"),
        State("gradient-shown", "data"),
    )
    def gradient(token: Any, theme: Any, metrics: list[str], probe: str, shown: Any) -> tuple[Any, Any]:
        run = run_of(token)
        key = [run, last_of(records, run, probe), metrics, probe, theme]
        return show(
            shown,
            key,
            lambda: figures.gradient_error(
                records.series(run),
                metrics,
                probe,
                theme_of(theme),
                f"gradient {run} {probe} {metrics}",
                absent=absent_of(records, run, probe),
            ),
        )

    _over_training(app, records, "wrong", "simulator", figures.wrong_direction)
    _over_training(app, records, "landscape", "landscape", figures.landscape)
    _over_training(app, records, "curvature", "curvature", figures.curvature)
    _over_training(app, records, "rollout-gradient", "on-policy", figures.rollout_gradient)
    _over_training(app, records, "rollout-value", "on-policy", figures.rollout_value)
    _over_training(app, records, "rollout-ledger", "on-policy", figures.rollout_ledger)
    register_others(app, records)
    register_cards(app, records)


def _clientside(app: Dash) -> None:
    call = [
        ("gradlab", "menu", Output("shell", "navbar"), [Input("burger", "opened"), State("shell", "navbar")]),
        ("gradlab", "pause", Output("pulse", "disabled"), [Input("live-on", "checked")]),
        # No Output: it switches "follow" off, which itself moves the slider; Dash would call that a circle.
        ("gradlab", "unfollow", None, [Input("slider", "value"), State("slider", "max"), State("follow", "checked")]),
        ("gradlabWatch", "remember", None, [Input("token", "data")]),
    ]
    for space, name, output, rest in call:
        function = ClientsideFunction(space, name)
        if output is None:
            app.clientside_callback(function, *rest)
        else:
            app.clientside_callback(function, output, *rest)


def _pulse(app: Dash, records: Records) -> None:
    names = ("notice", "live", "runs", "answer", "tiles", "probes")

    @app.callback(
        *[Output(name, "children") for name in names],
        Output("run", "value"),
        Output("token", "data"),
        Output("seen", "data"),
        Input("pulse", "n_intervals"),
        Input("run", "value"),
        State("token", "data"),
        State("seen", "data"),
    )
    def pulse(_: int | None, chosen: str | None, token: Any, seen: dict[str, str]) -> tuple[Any, ...]:
        view, now = records.view(), parts.now()
        run = chosen_run(view, chosen)
        content = contents(records, view, run, now)
        marks = {name: digest(facts) for name, (facts, _) in content.items()}
        seen = seen or {}
        made = [content[name][1]() if marks[name] != seen.get(name) else no_update for name in names]
        fresh = token_of(records, run)
        value = str(run.id) if run is not None else None
        return (
            *made,
            value if value != chosen else no_update,
            fresh if fresh != token else no_update,
            marks if marks != seen else no_update,
        )


def contents(records: Records, view: View, run: RunInfo | None, now: float) -> dict[str, tuple[Any, Callable[[], Any]]]:
    """For each part of the page in words: the facts it says, and what makes it from them."""
    known = records.run(run.id if run is not None else None)
    series = records.series(run.id if run is not None else None)
    said, numbers = answer(series), tiles(series)
    elapsed = max(0.0, run.last_seen - run.started) if run is not None else 0.0
    listed = [(one, parts.status(one, now)) for one in view.runs]
    trouble = parts.notice(view, records.name, run, now)
    return {
        "notice": (str(trouble), lambda: trouble),
        "live": (
            (run and (parts.status(run, now), parts.ago(now - run.last_seen))),
            lambda: parts.live(run, now),
        ),
        "runs": (
            [(one.id, one.name, one.step, word, one.message) for one, word in listed],
            lambda: [parts.run_card(one, now) for one, _ in listed],
        ),
        "answer": (said, lambda: parts.answer_card(said)),
        "tiles": (numbers, lambda: [parts.tile_card(tile) for tile in numbers]),
        "probes": (
            ([(name, repr(probe)) for name, probe in known.probes.items()], elapsed),
            lambda: parts.probe_rows(dict(known.probes), elapsed),
        ),
    }


def chosen_run(view: View, chosen: str | None) -> RunInfo | None:
    """The run that was picked; the newest when none was, or when it is not there any more."""
    picked = [run for run in view.runs if str(run.id) == chosen]
    return picked[0] if picked else (view.runs[0] if view.runs else None)


def token_of(records: Records, run: RunInfo | None) -> dict[str, Any] | None:
    """What the figures of a run depend on: changes only when one of them must."""
    if run is None:
        return None
    probes = records.run(run.id).probes
    return {"run": run.id, "epoch": records.epoch, "last": {name: probe.last for name, probe in sorted(probes.items())}}


def _over_training(app: Dash, records: Records, name: str, probe: str, figure: Callable[..., go.Figure]) -> None:
    @app.callback(
        Output(name, "figure"),
        Output(f"{name}-shown", "data"),
        Input("token", "data"),
        Input("scheme", "data"),
        State(f"{name}-shown", "data"),
    )
    def update(token: Any, theme: Any, shown: Any) -> tuple[Any, Any]:
        run = run_of(token)
        key = [run, last_of(records, run, probe), theme]
        missing = {"absent": absent_of(records, run, probe)} if name in ("wrong", "rollout-gradient") else {}
        return show(shown, key, lambda: figure(records.series(run), theme_of(theme), f"{name} {run}", **missing))


def _slider(app: Dash, records: Records) -> None:
    @app.callback(
        Output("slider", "max"),
        Output("slider", "value"),
        Output("critic", "data"),
        Output("critic", "value"),
        Output("state", "data"),
        Output("state", "value"),
        Input("token", "data"),
        Input("follow", "checked"),
        State("slider", "value"),
        State("slider", "max"),
        State("critic", "data"),
        State("critic", "value"),
        State("state", "data"),
        State("state", "value"),
    )
    def extend(
        token: Any, follow: bool, value: int, top: int, critics: Any, critic: str, states: Any, state: str
    ) -> tuple[Any, ...]:
        fields = records.fields(run_of(token))
        newest = max(0, len(fields) - 1)
        moved = newest if follow else min(value or 0, newest)
        critic_choices, state_choices = choices(records, fields[moved][1]) if fields else (critics, states)
        before = (top, value, critics, critic, states, state)
        after = (
            newest,
            moved,
            critic_choices,
            critic if critic in [one["value"] for one in critic_choices] else "0",
            state_choices,
            state if state in [one["value"] for one in state_choices] else "0",
        )
        if after == before:
            raise PreventUpdate
        return tuple(new if new != old else no_update for new, old in zip(after, before, strict=True))


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


def _field(app: Dash, records: Records) -> None:
    @app.callback(
        Output("field", "figure"),
        Output("field-shown", "data"),
        Output("slider-text", "children"),
        Output("state-text", "children"),
        Input("slider", "value"),
        Input("critic", "value"),
        Input("state", "value"),
        Input("token", "data"),
        Input("scheme", "data"),
        State("field-shown", "data"),
    )
    def picture(value: int, critic: str, state: str, token: Any, theme: Any, shown: Any) -> tuple[Any, ...]:
        run = run_of(token)
        fields = records.fields(run)
        at = min(max(value or 0, 0), len(fields) - 1)
        step, measurement_id = fields[at] if fields else (0, 0)
        critic_number, state_number = int(critic or 0), int(state or 0)
        key = [run, measurement_id, critic_number, state_number, theme]
        arrays = records.arrays(measurement_id) if fields else {}
        graph, seen = show(
            shown,
            key,
            lambda: figures.field(arrays, state_number, critic_number, theme_of(theme), f"field {run}"),
        )
        text = f"step {step:,}  ({at + 1} of {len(fields)})" if fields else ""
        return graph, seen, text, state_text(arrays, state_number)


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
