"""What stands under a figure: what its numbers are, how many samples they come from, and against what."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dashboards.figures.curvature import EXACT
from dashboards.figures.curvature import ROWS as CURVATURE_ROWS
from dashboards.figures.health import ROWS as HEALTH_ROWS
from dashboards.figures.landscape import ROWS as LANDSCAPE_ROWS
from dashboards.kinds import KINDS
from dashboards.one_run import OneRun
from dashboards.reports.markup import Markup, tag
from dashboards.run_figures import RunFigures
from dashboards.series import Key, Series
from dashboards.words import REFERENCES, samples

_ABOUT = {
    "wrong-direction": "Over training; at the dotted line a coin would choose as well.",
    "field": "Q over the action plane in colours; arrows follow the action gradient, their length ∝ √‖∇Q‖. The star is "
    "the best local optimum, diamonds are the others, the ring is the actor, the orange line where gradient ascent "
    "from its action leads.",
    "field-critics": "The same state by each critic, in the same colours: a colour is the same Q.",
    "field-simulated": "The learned Q and the simulated one, each less its mean over the plane, in the same colours; "
    "and their difference in its own: red where the critic promises too much, blue where too little. The "
    "simulated values count fewer rewards than the learned Q.",
    "field-over-states": "The length of the gradient at the actor's action, over the plane of the two directions in "
    "which states seen vary most, through the first state; dots are states seen.",
    "state-look": "Its body as it stands, by kinematics, where the task is known; its coordinates otherwise.",
    "gradient-error": REFERENCES["gradient"].meaning,
    "simulator-error": REFERENCES["simulator"].meaning,
    "error-parts": "Bias² is unbiased and never clipped: where it comes out negative its bar is at the left of zero.",
    "ranking": "MSE of one minibatch gradient less that of the best, at the same states and with the same random "
    "numbers; and all pairs, the row against the column.",
    "error-ledger": "Bar upon bar, from the terms to the squared error of the gradient that the optimizer applied. "
    "Hatched: not resolved from zero. Intervals may go on beyond the plot.",
    "ledger-terms": "The squared norm of each term, of the whole error and of the true gradient.",
    "variance-split": "Of one sample's gradient: what which state it is at adds to its variance, and what the "
    "estimator's own random numbers do.",
    "batch-size": "Noise over signal falls as 1/B; it is 1 at the critical batch size.",
    "radius": "The critic taken at its word: a smaller radius has less bias, until noise takes over.",
    "layers": "Shares of the actor's layers, from the input on.",
    "health": "Whether the actor can move, whether it and the critics do, and whether the replay is what the run "
    "visits.",
    "landscape": "Local optima of Q(s, ·) and the actor's distance from the best of them, over training.",
    "curvature": "What bounds how fast the policy's action moves with the state, beside how fast it does.",
    "critic-gradient": "The policy gradient by the critic against that by finite differences through the simulator.",
    "calibration": "A point a state: its simulated return over Q(s, π(s)); on the dotted line the critic is right. The "
    "line is the mean of each fifth of Q, its whiskers two standard errors.",
    "value-error": "Q(s, π(s)) against simulated returns, over training.",
    "improvement": "One step of the action along ∇ₐQ: what the critic promises and what it gains, over its length.",
    "optima-over-persistence": "How many optima there are is a question of how persistent they must be to count.",
    "surrogates": "What is left of the landscape on max(Q, τᵢ): cut at the actor's action, then at better ones (SAVO).",
    "phantoms": "Optima of the critic that are none in simulated return, and what the best promises and gains.",
    "spectrum": "Eigenvalues of ∂²Q/∂a² at the actor's action, medians over states.",
    "bound-and-observed": "Sensitivity over M/μ, state by state; above the dotted line the bound is violated.",
    "smoothness": "How often ∇ₐQ flips along the agent's episodes, and M/μ beside how fast its actions moved.",
    "rollout-gradient": "How much of a rollout's gradient is signal; dotted and hollow where that is not resolved from "
    "zero.",
    "rollout-value": "V against the targets it is trained on, which bootstrap on V; the policy's entropy.",
    "rollout-ledger": "What is in the mean of a rollout's gradient that is not the return's gradient, each term's "
    "squared norm; what the last update's clipping took off, and how far that update went.",
    "cost": "Time so far that probes took, stacked; dashed what they were planned to take, dotted what they may take. "
    "The budget also pays for copies of the agent and for writing, which are not in these numbers.",
}
_BANDS = "Bands are 95 % intervals; hollow marks are not resolved from zero; a cross on the axis is a measurement "
_BANDS += "that gave no number."
#: Numbers that a figure draws, of those that its probe has; all that are known where it is not here.
_DRAWN = {
    "health": tuple(name for row in HEALTH_ROWS for name in row),
    "landscape": tuple(name for row in LANDSCAPE_ROWS for name in row),
    "curvature": (*(name for row in CURVATURE_ROWS for name in row), EXACT),
}


def caption(name: str, figures: RunFigures, shown: tuple[str, ...] = (), more: str = "") -> Markup:
    """The caption of a figure.

    Args:
        name: of the figure.
        figures: those of the run.
        shown: only these numbers are drawn; all that the figure knows when empty.
        more: what is said of this one picture.
    """
    kind = KINDS.get(name)
    probe = kind.probe if kind is not None else figures.others[name]
    words = kind.words if kind is not None else {}
    drawn = _drawn(name, figures.run, probe, shown)
    about = " ".join(part for part in (_ABOUT.get(name, f"What this run's own probe {probe} measured."), more) if part)
    parts = [tag("p", about), tag("p", _counts(drawn, probe))] if drawn else [tag("p", about)]
    if meanings := _meanings(drawn, words):
        terms = [tag("div", tag("dt", f"{label}: "), tag("dd", meaning)) for label, meaning in meanings.items()]
        parts.append(tag("details", tag("summary", "What these numbers are"), tag("dl", *terms)))
    return tag("figcaption", *parts)


def _drawn(name: str, run: OneRun, probe: str, shown: tuple[str, ...]) -> dict[Key, Series]:
    words = KINDS[name].words if name in KINDS else {}
    chosen = set(shown or _DRAWN.get(name, ()))
    found = {}
    for key, one in run.series.items():
        parts = {key.name, key.name.rpartition("/")[2]}
        known = not words or bool(parts & set(words))
        if key.probe == probe and len(one) and known and (not chosen or parts & chosen):
            found[key] = one
    return found


def _counts(drawn: Mapping[Key, Series], probe: str) -> str:
    """How many measurements, n, the reference and the objective, in a line."""
    steps = np.concatenate([one.step for one in drawn.values()])
    number = np.concatenate([one.samples for one in drawn.values()])
    unit = samples(probe, next(iter(drawn)).reference)
    times = len(np.unique(steps))
    spread = f"{number.min():,}" if number.min() == number.max() else f"{number.min():,} to {number.max():,}"
    parts = [
        f"{times} {'measurement' if times == 1 else 'measurements'}, steps {steps.min():,} to {steps.max():,}",
        f"n = {spread} {unit} each",
    ]
    references = sorted({key.reference for key in drawn if key.reference})
    parts += [f"against: {', '.join(references)}"] if references else []
    objectives = sorted({one.objective for one in drawn.values() if one.objective})
    parts += [f"objective: {', '.join(objectives)}"] if objectives else []
    return f"{'; '.join(parts)}. {_BANDS}"


def _meanings(drawn: Mapping[Key, Series], words: Mapping[str, object]) -> dict[str, str]:
    names = {part for key in drawn for part in (key.name, key.name.rpartition("/")[2])}
    found = [word for name, word in words.items() if name in names]
    return {word.label: word.meaning for word in found}  # type: ignore[attr-defined]
