"""What is behind the tabs of the page of gradients: the error, where it comes from, and how noise and batch go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from dash import Dash, Input, Output, State, html

from dashboards import figures
from dashboards.cards import card, graph
from dashboards.figures.compared import Number
from dashboards.gradient_words import LAYERS, PAIRED, PARTS, ledger_words
from dashboards.over_time import compared_runs, register_over_time, show_compared
from dashboards.pages.parts import frame
from dashboards.presence import register_presence
from dashboards.records import Records
from dashboards.series import SeriesSet
from dashboards.showing import last_of, part_of_token, run_of, show, theme_of
from dashboards.terms import register_terms
from dashboards.words import METRICS, ON_POLICY, REFERENCES, Word, estimator_label

_ROLLOUT = {name: word for name, word in ON_POLICY.items() if name.startswith("score-function/")}
_ROLLOUT_LEDGER = {
    name: word for name, word in ON_POLICY.items() if name.startswith(("ledger/", "clipping/", "policy/kl"))
}
#: Panels of numbers of several runs.
_MOST = 8
#: What estimators are held against → the probe that compares them in pairs against it.
_RANKED_BY = {"gradient": "estimators", "simulator": "simulator"}
#: The tabs: name → label, and the ids of the figures behind it.
VIEWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "error": ("Error", ("gradient", "error-parts", "ranking", "rollout-gradient")),
    "ledger": ("Where it comes from", ("error-ledger", "ledger-terms", "rollout-ledger")),
    "noise": ("Noise and batch size", ("variance-split", "batch-size", "radius", "layers")),
}


def view(name: str) -> Any:
    """What is behind a tab; its graphs are mounted with it."""
    return frame(f"gradient-{name}", VIEWS[name][1], *{"error": _error, "ledger": _ledger, "noise": _noise}[name]())


def _one(title: str, name: str, pixels: int, about: str, over_training: bool = False) -> Any:
    return card(
        title, graph(name, pixels, "over-training" if over_training else ""), about=about, name=name, defined=name
    )  # fmt: skip


def _error() -> list[Any]:
    return [
        _one("Gradient error of each estimator", "gradient", 660,
             "Bands are 95 % intervals; hollow marks are not resolved from zero.", True),
        html.Div(
            [
                _one("Bias² and variance in the error", "error-parts", 420,
                     "At the chosen step. Bias² is never clipped: below zero it is to the left."),
                _one("Which estimator is better", "ranking", 420,
                     "At the chosen step, by paired differences; hollow: not told apart."),
            ],
            className="pair",
        ),
        _one("Policy gradient of a rollout", "rollout-gradient", 520,
             "How much of it is signal; dotted and hollow where that is not resolved from zero.", True),
    ]  # fmt: skip


def _ledger() -> list[Any]:
    return [
        html.Div(
            [
                _one("The error ledger", "error-ledger", 560,
                     "Where the error of the applied gradient comes from, at the chosen step; hatched: not resolved."),
                _one("Its terms over training", "ledger-terms", 560, "Squared norms of the terms.", True),
            ],
            className="pair",
        ),
        _one("Bias and clipping of a rollout's gradient", "rollout-ledger", 480,
             "What is in its mean that is not the return's gradient; what the last update's clipping took off, "
             "and how far it went.", True),
    ]  # fmt: skip


def _noise() -> list[Any]:
    return [
        html.Div(
            [
                _one("States or draws", "variance-split", 420, "What one sample's variance comes from."),
                _one("Batch size", "batch-size", 420, "Where a line crosses 1 noise is as large as signal."),
                _one(
                    "Radius of zeroth-order estimators", "radius", 480, "A smaller μ has less bias, until noise wins."
                ),
                _one("Layers of the actor", "layers", 480, "Which layers signal and noise sit in, from the input on."),
            ],
            className="pair",
        )
    ]


def register_views(app: Dash, records: Records) -> None:
    """Gives an app the figures behind the tabs, but for the gradient's error over training."""
    for name, (_, cards) in VIEWS.items():
        register_presence(app, records, f"gradient-{name}", cards)
    _moment(app, records, "error-parts", figures.error_parts, _parts, probe_of={one: one for one in REFERENCES})
    _moment(app, records, "ranking", figures.ranking, _pairs, probe_of=_RANKED_BY)
    _moment(app, records, "error-ledger", figures.error_ledger, _fixed(ledger_words("contribution")), "simulator")
    _moment(app, records, "variance-split", figures.variance_split, _of_parts(
        "from_states", "state_variance", "draw_variance"
    ))  # fmt: skip
    _moment(app, records, "batch-size", figures.batch_size, _of_parts("noise_scale", "gradient_squared"))
    _moment(app, records, "radius", figures.radius, _radii)
    _moment(app, records, "layers", figures.layers, _layers)
    terms = ledger_words("norm_squared")
    register_over_time(app, records, "ledger-terms", "simulator", figures.ledger_terms, _numbers(terms))
    register_over_time(
        app, records, "rollout-gradient", "on-policy", figures.rollout_gradient, _numbers(_ROLLOUT), says_absent=True
    )
    register_over_time(
        app, records, "rollout-ledger", "on-policy", figures.rollout_ledger, _numbers(_ROLLOUT_LEDGER)
    )  # fmt: skip
    of_errors = {name: METRICS[name] for name in ("bias_squared", "variance", "mse")}
    split = ("state_variance", "draw_variance", "total_variance", "from_states")
    for name, words in {
        "gradient": {"gradient": METRICS, "simulator": METRICS},
        "error-parts": {"gradient": of_errors, "simulator": of_errors},
        "ranking": {"": {"paired": PAIRED}},
        "error-ledger": {"simulator": ledger_words("contribution")},
        "ledger-terms": {"simulator": terms},
        "variance-split": {"estimators": {one: PARTS[one] for one in split}},
        "batch-size": {"estimators": {one: PARTS[one] for one in ("noise_scale", "gradient_squared")}},
        "radius": {"estimators": {**of_errors, "best_radius": PARTS["best_radius"]}},
        "layers": {"estimators": LAYERS},
        "rollout-gradient": {"on-policy": _ROLLOUT},
        "rollout-ledger": {"on-policy": _ROLLOUT_LEDGER},
    }.items():
        register_terms(app, records, name, words)


class _Beside(NamedTuple):
    """Runs beside each other: what is known of each, the probe, and the estimator that is compared."""

    runs: Sequence[SeriesSet]
    probe: str
    estimator: str

    def names(self, wanted: Callable[[str], bool]) -> list[str]:
        """Names of the probe's numbers in any of the runs."""
        found = dict.fromkeys(key.name for run in self.runs for key in run if key.probe == self.probe)
        return [name for name in found if wanted(name)][:_MOST]


#: What is drawn of several runs.
_Compared = Callable[[_Beside], list[Number]]


def _moment(
    app: Dash,
    records: Records,
    name: str,
    figure: Callable[..., go.Figure],
    numbers: _Compared,
    probe: str = "estimators",
    *,
    probe_of: Mapping[str, str] | None = None,
) -> None:
    """A figure at the step of the slider; of several runs their numbers over training, of the estimator chosen.

    What is drawn may be another probe's for each reference: ``probe_of``.
    """

    @app.callback(
        Output(name, "figure"),
        Output(f"{name}-shown", "data"),
        Input("moment", "data"),
        Input("scheme", "data"),
        Input("room", "data"),
        Input("reference", "value"),
        Input("estimator", "value"),
        State(f"{name}-shown", "data"),
        *[Input(part_of_token(one), "data") for one in (probe_of or {"": probe}).values()],
    )
    def update(
        step: Any, theme: Any, room: Any, reference: str, estimator: str | None, shown: Any, *tokens: Any
    ) -> tuple[Any, Any]:
        token, of = tokens[0], probe_of.get(reference, probe) if probe_of is not None else probe
        if several := compared_runs(token):
            found = numbers(_Beside([records.series(run) for run in several], of, estimator or ""))
            return show_compared(records, shown, f"{name} {of}", several, of, found, theme, room)
        run = run_of(token)
        chosen = (of,) if probe_of is not None else ()
        return show(
            shown,
            [run, last_of(records, run, of), of, step, theme],
            lambda: figure(records.series(run), *chosen, step, theme_of(theme), f"{name} {run} {of}"),
        )


def _numbers(words: dict[str, Word]) -> list[Number]:
    return [Number(name, word) for name, word in words.items()]


def _fixed(words: dict[str, Word]) -> _Compared:
    return lambda _: _numbers(words)


def _parts(beside: _Beside) -> list[Number]:
    return [Number(f"{beside.estimator}/{name}", METRICS[name]) for name in ("mse", "bias_squared", "variance")]


def _of_parts(*names: str) -> _Compared:
    return lambda beside: [Number(f"{beside.estimator}/{name}", PARTS[name]) for name in names]


def _radii(beside: _Beside) -> list[Number]:
    names = beside.names(lambda name: name.endswith("/best_radius"))
    return [Number(name, _called(PARTS["best_radius"], estimator_label(name.split("/")[0]))) for name in names]


def _layers(beside: _Beside) -> list[Number]:
    end = f"/{beside.estimator}/variance"
    names = beside.names(lambda name: name.startswith("layer/") and name.endswith(end))
    return [Number(name, _called(LAYERS["variance"], name.split("/")[2])) for name in names]


def _pairs(beside: _Beside) -> list[Number]:
    names = beside.names(lambda name: name.startswith("paired/") and beside.estimator in name.split("/")[1:])
    # Which estimator is chosen stands above; both names have no room beside each other.
    labels = [
        " less ".join("…" if one == beside.estimator else estimator_label(one) for one in name.split("/")[1:])
        for name in names
    ]
    return [Number(name, PAIRED._replace(label=label)) for name, label in zip(names, labels, strict=True)]


def _called(word: Word, of: str) -> Word:
    return word._replace(label=f"{word.label}, {of}")
