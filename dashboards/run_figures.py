"""Every figure of a run, from its store: for Python and notebooks, for reports and for exports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from dashboards import figures
from dashboards.answer import Tile, answer, tiles
from dashboards.costs import Costs, costs
from dashboards.field_figures import FieldFigures
from dashboards.figures.absent import Absent
from dashboards.figures.any_probe import height
from dashboards.gradient_figures import GradientFigures
from dashboards.gradient_words import LAYERS, PARTS, ledger_words
from dashboards.health_words import HEALTH
from dashboards.one_run import OneRun, Where, read_run
from dashboards.said import Answer
from dashboards.style import Theme
from dashboards.truth_figures import TruthFigures
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
from dashboards.words import (
    CURVATURE,
    DEFAULT_METRICS,
    LANDSCAPE,
    METRICS,
    ON_POLICY,
    REFERENCES,
    WRONG_DIRECTION,
    Word,
)
from gradlab.errors import GradlabError
from gradlab.store import RunInfo


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


class RunFigures(TruthFigures, FieldFigures, GradientFigures):
    """The figures of one run, read when this was made; ``of_run`` makes it.

    A figure that the run has no numbers for is an error that says why; ``absent()`` says so beforehand.

    Attributes:
        run: the run as it was read.
    """

    def __init__(self, run: OneRun) -> None:
        self.run = run

    @property
    def info(self) -> RunInfo:
        """The run: its name, algorithm, seed, configuration, last step."""
        return self.run.info

    @property
    def answer(self) -> Answer:
        """What the measurements say, in one or two sentences, and how bad it is."""
        return answer(self.run.series)

    @property
    def tiles(self) -> list[Tile]:
        """The numbers to see at a glance."""
        return tiles(self.run.series)

    @property
    def costs(self) -> Costs:
        """What measuring cost the run."""
        return costs(self.run.info, self.run.probes)

    def names(self) -> list[str]:
        """Names of the figures that this run has, as ``figure`` takes them."""
        absent = self.absent()
        return [name for name in [*KINDS, *self.others] if name not in absent]

    @property
    def others(self) -> dict[str, str]:
        """Name of a figure → the probe that it shows all numbers of: those that no figure is made for.

        A probe that is called like a figure has ``probe:`` before its name.
        """
        return {f"probe:{name}" if name in KINDS else name: name for name in self.run.others}

    def absent(self) -> dict[str, str]:
        """Figures that this run has no numbers for → why."""
        found = {name: self._why_not(kind) for name, kind in KINDS.items() if kind.probe}
        found |= {name: self.run.absence(probe) for name, probe in self.others.items()}
        if not self.run.probes:
            found["cost"] = "nothing has been measured yet"
        return {name: why for name, why in found.items() if why}

    def figure(self, name: str, theme: Theme = "light") -> go.Figure:
        """A figure by its name, one of ``names()``: that of a probe without a figure of its own is the probe's name.

        Raises:
            GradlabError: there is no such figure, or this run has no numbers for it.
        """
        made: dict[str, Callable[[], go.Figure]] = {
            "simulator-error": lambda: self.gradient_error(probe="simulator", theme=theme),
            "wrong-direction": lambda: self.wrong_direction(theme),
            "health": lambda: self.health(theme),
            "gradient-error": lambda: self.gradient_error(theme=theme),
            "field": lambda: self.field(theme=theme),
            "landscape": lambda: self.landscape(theme),
            "curvature": lambda: self.curvature(theme),
            "rollout-gradient": lambda: self.rollout_gradient(theme),
            "rollout-value": lambda: self.rollout_value(theme),
            "rollout-ledger": lambda: self.rollout_ledger(theme),
            "cost": lambda: self.cost(theme),
            **{
                kind: lambda make=make: make(theme=theme)
                for kind, make in (
                    ("error-parts", self.error_parts),
                    ("ranking", self.ranking),
                    ("error-ledger", self.error_ledger),
                    ("ledger-terms", self.ledger_terms),
                    ("variance-split", self.variance_split),
                    ("batch-size", self.batch_size),
                    ("radius", self.radius),
                    ("layers", self.layers),
                    ("critic-gradient", self.critic_gradient),
                    ("calibration", self.calibration),
                    ("value-error", self.value_error),
                    ("improvement", self.improvement),
                    ("optima-over-persistence", self.optima_over_persistence),
                    ("surrogates", self.surrogates),
                    ("phantoms", self.phantoms),
                    ("spectrum", self.spectrum),
                    ("bound-and-observed", self.bound_and_observed),
                    ("smoothness", self.smoothness),
                )
            },
        }
        if (probe := self.others.get(name)) is not None:
            return self.any_probe(probe, theme=theme)
        if (make := made.get(name.replace("_", "-"))) is None:
            raise GradlabError(f"figure {name!r}: there is none of this name; this run has {', '.join(self.names())}")
        return make()

    def height(self, name: str) -> int:
        """Pixels that a figure of this name needs."""
        if (probe := self.others.get(name)) is not None:
            return height(self.run.series, probe)
        return KINDS[name.replace("_", "-")].height

    def gradient_error(
        self, metrics: Sequence[str] = DEFAULT_METRICS, *, probe: str = "gradient", theme: Theme = "light"
    ) -> go.Figure:
        """Bias, variance and direction of each estimator's gradient over training, with 95 % intervals.

        Args:
            metrics: of ``bias_squared``, ``variance``, ``mse``, ``cosine``, ``norm_ratio``, ``snr``.
            probe: ``gradient``, against the critic, or ``simulator``.
            theme: light or dark.

        Raises:
            GradlabError: there is no such metric or probe, or no number of it.
        """
        if unknown := [one for one in metrics if one not in METRICS]:
            raise GradlabError(f"metrics: {unknown[0]!r} is none of {', '.join(METRICS)}")
        if probe not in REFERENCES:
            raise GradlabError(f"probe: {probe!r} is none of {', '.join(REFERENCES)}")
        self._require(f"{probe}-error")
        return figures.gradient_error(self.run.series, metrics, probe, theme, absent=self._missing(probe))

    def wrong_direction(self, theme: Theme = "light") -> go.Figure:
        """Share of states where the critic's action gradient points the wrong way, by the simulator."""
        self._require("wrong-direction")
        return figures.wrong_direction(self.run.series, theme, absent=self._missing("simulator"))

    def health(self, theme: Theme = "light") -> go.Figure:
        """Saturation of the actor, how far actor and critics moved, and the replay beside what the run visits."""
        self._require("health")
        return figures.health(self.run.series, theme)

    def landscape(self, theme: Theme = "light") -> go.Figure:
        """Local optima of Q(s, ·), the actor's gap and its parts, and shares of states."""
        self._require("landscape")
        return figures.landscape(self.run.series, theme)

    def curvature(self, theme: Theme = "light") -> go.Figure:
        """M/μ beside the actor's own sensitivity, M and μ, and where the ratio means something."""
        self._require("curvature")
        return figures.curvature(self.run.series, theme)

    def rollout_gradient(self, theme: Theme = "light") -> go.Figure:
        """How much of a rollout's policy gradient is signal, and the batch size that would balance both."""
        self._require("rollout-gradient")
        return figures.rollout_gradient(self.run.series, theme, absent=self._missing("on-policy"))

    def rollout_value(self, theme: Theme = "light") -> go.Figure:
        """How well V fits a rollout's targets, and the policy's entropy."""
        self._require("rollout-value")
        return figures.rollout_value(self.run.series, theme)

    def rollout_ledger(self, theme: Theme = "light") -> go.Figure:
        """What is in a rollout's mean gradient that is not the return's, and what clipping takes off it."""
        self._require("rollout-ledger")
        return figures.rollout_ledger(self.run.series, theme)

    def any_probe(self, probe: str, *, columns: int = 3, page: int = 0, theme: Theme = "light") -> go.Figure:
        """Each number of a probe over training in a panel of its own, whatever it is called.

        Args:
            probe: its name.
            columns: at most so many panels beside each other.
            page: which page of twelve panels.
            theme: light or dark.
        """
        self._refuse(self.run.absence(probe))
        missing = self._missing(probe)
        return figures.any_probe(self.run.series, probe, theme, absent=missing, columns=columns, page=page)

    def cost(self, theme: Theme = "light") -> go.Figure:
        """Time that probes took, beside what they were planned to take and may take."""
        return figures.cost(self.costs, theme)

    def _missing(self, probe: str) -> Absent:
        summary = self.run.probes.get(probe)
        return [] if summary is None else summary.missing

    def _why_not(self, kind: Kind) -> str:
        return self.run.absence(kind.probe, kind.words)

    def _require(self, name: str) -> None:
        self._refuse(self._why_not(KINDS[name]))

    def _refuse(self, why: str) -> None:
        if why:
            raise GradlabError(f"run {self.info.name}: has nothing to draw: {why}")

    def __repr__(self) -> str:
        return f"<figures of run {self.info.id} ({self.info.name}) in {self.run.store}: {', '.join(self.names())}>"


def of_run(store: Where = "gradlab.db", run: int | str | None = None) -> RunFigures:
    """The figures of a run, for a notebook: ``dashboards.of_run("gradlab.db").gradient_error()``.

    The run is read once, here; a run that goes on is read anew by another call. The functions in
    ``dashboards.figures`` are the same figures of series and arrays that one has already.

    Args:
        store: path or URL of the store, or an open one.
        run: id or name of the run; the newest when None.

    Raises:
        GradlabError: there is no such store or run.

    Example:
        >>> import tempfile
        >>> from gradlab.estimate import Estimate
        >>> from gradlab.measurement import Measurement
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> path = directory.name + "/gradlab.db"
        >>> with open_store(path) as store:
        ...     writer = store.start_run("mine", algorithm="TD3", environment="Reacher-v5")
        ...     for step, share in ((1000, 0.4), (2000, 0.3)):
        ...         numbers = {"deterministic/wrong_direction": Estimate(share, 0.05, 32, "simulator, H=50")}
        ...         _ = writer.record(step, "simulator", Measurement(numbers))
        >>> found = of_run(path, "mine")
        >>> found.wrong_direction().data[1].y.tolist()
        [0.4000000059604645, 0.30000001192092896]
        >>> found.names()
        ['wrong-direction', 'cost']
        >>> found.landscape()
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: run mine: has nothing to draw: this run has no probe landscape
        >>> directory.cleanup()
    """
    return RunFigures(read_run(store, run))
