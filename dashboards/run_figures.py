"""Every figure of a run, from its store: for Python and notebooks, for reports and for exports."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboards import figures
from dashboards.answer import Tile, answer, tiles
from dashboards.costs import Costs, costs
from dashboards.field_figures import FieldFigures
from dashboards.figures.any_probe import height
from dashboards.gradient_figures import GradientFigures
from dashboards.kinds import KINDS
from dashboards.one_run import Where, read_run
from dashboards.said import Answer
from dashboards.style import Theme
from dashboards.truth_figures import TruthFigures
from dashboards.words import DEFAULT_METRICS, METRICS, REFERENCES
from gradlab.errors import GradlabError
from gradlab.store import RunInfo


class RunFigures(TruthFigures, FieldFigures, GradientFigures):
    """The figures of one run, read when this was made; ``of_run`` makes it.

    A figure that the run has no numbers for is an error that says why; ``absent()`` says so beforehand.

    Attributes:
        run: the run as it was read.
    """

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
        found = {name: self._why_not(name) for name, kind in KINDS.items() if kind.probe}
        found |= {name: self.run.absence(probe) for name, probe in self.others.items()}
        if not self.run.probes:
            found["cost"] = "nothing has been measured yet"
        return {name: why for name, why in found.items() if why}

    def figure(self, name: str, theme: Theme = "light") -> go.Figure:
        """A figure by its name, one of ``names()``: that of a probe without a figure of its own is the probe's name.

        Raises:
            GradlabError: there is no such figure, or this run has no numbers for it.
        """
        if (probe := self.others.get(name)) is not None:
            return self.any_probe(probe, theme=theme)
        kind = name.replace("_", "-")
        if kind not in KINDS:
            raise GradlabError(f"figure {name!r}: there is none of this name; this run has {', '.join(self.names())}")
        if kind == "simulator-error":
            return self.gradient_error(probe="simulator", theme=theme)
        # Every other one is the method of its name.
        made: go.Figure = getattr(self, kind.replace("-", "_"))(theme=theme)
        return made

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
