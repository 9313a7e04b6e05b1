"""The figures of a run by their names: what each is called, and which numbers it draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dashboards.gradient_words import LAYERS, PARTS, ledger_words
from dashboards.health_words import HEALTH
from dashboards.truth_words import (
    CRITIC_GRADIENT,
    PERSISTENCE,
    PHANTOM,
    SMOOTHNESS,
    STEP,
    SURROGATES,
    VALUE,
    eigenvalue_word,
)
from dashboards.words import CURVATURE, LANDSCAPE, METRICS, ON_POLICY, WRONG_DIRECTION, Word


class Kind(NamedTuple):
    """A figure by its name.

    Attributes:
        title: what it is called.
        probe: whose numbers it draws; empty for what measuring cost, which is the run's.
        words: the numbers it draws, by name or by what is after the last slash, and what they are.
        height: pixels it needs.
    """

    title: str
    probe: str
    words: Mapping[str, Word] = {}
    height: int = 480


def _on_policy(*beginnings: str) -> dict[str, Word]:
    return {name: word for name, word in ON_POLICY.items() if name.startswith(beginnings)}


def _of(*parts: str) -> dict[str, Word]:
    return {f"{part}_variance": PARTS[f"{part}_variance"] for part in parts}


#: Figures by the names that the command line and reports use, in the order to read them.
KINDS = {
    "wrong-direction": Kind("Critic against the simulator", "simulator", {"wrong_direction": WRONG_DIRECTION}, 270),
    "health": Kind("Actor, critics and replay", "health", HEALTH, 640),
    "field": Kind("Q-gradient field", "field", height=430),
    "field-critics": Kind("Q-gradient field of each critic", "field", height=390),
    "field-simulated": Kind("Q-gradient field, learned and simulated", "field", height=390),
    "field-over-states": Kind("Field over states", "field", height=430),
    "state-look": Kind("The state that the field is in", "field", height=400),
    "gradient-error": Kind("Gradient error of each estimator, the critic taken at its word", "gradient", METRICS, 680),
    "simulator-error": Kind("Gradient error of each estimator against the simulator", "simulator", METRICS, 680),
    "error-parts": Kind("Bias² and variance in each estimator's error", "gradient", {"mse": METRICS["mse"]}, 400),
    "ranking": Kind("Which estimator is better, in pairs", "estimators", height=400),
    "error-ledger": Kind("The error ledger", "simulator", ledger_words("contribution"), 540),
    "ledger-terms": Kind("Terms of the error ledger over training", "simulator", ledger_words("norm_squared"), 540),
    "variance-split": Kind("Noise from states and from draws", "estimators", _of("total", "state", "draw"), 400),
    "batch-size": Kind("Batch size", "estimators", {"noise_scale": PARTS["noise_scale"]}, 400),
    "radius": Kind("Radius of zeroth-order estimators", "estimators", {"best_radius": PARTS["best_radius"]}, 460),
    "layers": Kind("Layers of the actor", "estimators", {"reference_squared": LAYERS["reference_squared"]}, 440),
    "landscape": Kind("Landscape", "landscape", LANDSCAPE),
    "curvature": Kind("Curvature", "curvature", CURVATURE),
    "critic-gradient": Kind("Error of the critic's gradient", "simulator", CRITIC_GRADIENT),
    "calibration": Kind("Calibration of Q", "returns", VALUE, 400),
    "value-error": Kind("Error of Q against simulated returns", "returns", VALUE, 400),
    "improvement": Kind(
        "Realised against predicted improvement",
        "returns",
        {f"step/0.1/{name}": word for name, word in STEP.items()},
        360,
    ),
    "optima-over-persistence": Kind("Optima over persistence", "landscape", {"persistence/0.01": PERSISTENCE}, 360),
    "surrogates": Kind(
        "Successive surrogates", "landscape", {f"surrogate/1/{name}": word for name, word in SURROGATES.items()}, 330
    ),
    "phantoms": Kind("Phantom optima", "returns", PHANTOM, 360),
    "spectrum": Kind("Spectrum of the action Hessian", "curvature", {"eigenvalue/1": eigenvalue_word(1, 2)}, 400),
    "bound-and-observed": Kind("Bound against observed sensitivity", "smoothness", SMOOTHNESS, 400),
    "smoothness": Kind("Volatility along episodes", "smoothness", SMOOTHNESS),
    "rollout-gradient": Kind("Policy gradient of a rollout", "on-policy", _on_policy("score-function/"), 520),
    "rollout-value": Kind("Value function and policy", "on-policy", _on_policy("value/", "policy/entropy")),
    "rollout-ledger": Kind(
        "Bias and clipping of a rollout's gradient", "on-policy", _on_policy("ledger/", "clipping/", "policy/kl")
    ),
    "cost": Kind("What measuring costs", "", height=400),
}
