"""Figures of one run's gradient taken apart, at one moment of training: a part of ``RunFigures``."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import figures
from dashboards.drawn_run import DrawnRun
from dashboards.style import Theme
from dashboards.words import REFERENCES
from gradlab.errors import GradlabError


class GradientFigures(DrawnRun):
    """Figures of the probe ``estimators``, and of what the simulator's reference ranks and ends.

    In all of them ``step`` is the training step that is looked at: the last measurement at or before it, the first
    where that is before all; the newest when None.
    """

    def error_parts(self, step: int | None = None, *, probe: str = "gradient", theme: Theme = "light") -> go.Figure:
        """Bias² and variance of each estimator as parts of its mean squared error.

        Args:
            step: see above.
            probe: ``gradient``, against the critic, or ``simulator``.
            theme: light or dark.

        Raises:
            GradlabError: there is no such probe, or no number of it.
        """
        if probe not in REFERENCES:
            raise GradlabError(f"probe: {probe!r} is none of {', '.join(REFERENCES)}")
        self._refuse(self.run.absence(probe, ("mse",)))
        return figures.error_parts(self.run.series, probe, step, theme)

    def ranking(self, step: int | None = None, *, probe: str = "estimators", theme: Theme = "light") -> go.Figure:
        """Estimators by their errors, with paired intervals, and which pairs are told apart.

        Args:
            step: see above.
            probe: ``estimators``, against the critic, or ``simulator``.
            theme: light or dark.

        Raises:
            GradlabError: there is no such probe, or no number of it.
        """
        if probe not in ("estimators", "simulator"):
            raise GradlabError(f"probe: {probe!r} is none of estimators, simulator")
        self._refuse(self.run.absence(probe))
        return figures.ranking(self.run.series, probe, step, theme)

    def error_ledger(self, step: int | None = None, theme: Theme = "light") -> go.Figure:
        """Where the error of the applied gradient comes from, term by term, as a waterfall."""
        self._require("error-ledger")
        return figures.error_ledger(self.run.series, step, theme)

    def ledger_terms(self, theme: Theme = "light") -> go.Figure:
        """The squared norm of each term of the error ledger over training."""
        self._require("ledger-terms")
        return figures.ledger_terms(self.run.series, theme)

    def variance_split(self, step: int | None = None, theme: Theme = "light") -> go.Figure:
        """How much of each estimator's noise comes from states and how much from its own draws."""
        self._require("variance-split")
        return figures.variance_split(self.run.series, step, theme)

    def batch_size(self, step: int | None = None, theme: Theme = "light") -> go.Figure:
        """Noise over signal against the batch size, with the critical batch sizes."""
        self._require("batch-size")
        return figures.batch_size(self.run.series, step, theme)

    def radius(self, step: int | None = None, theme: Theme = "light") -> go.Figure:
        """Bias², variance and mean squared error of zeroth-order estimators against their radius."""
        self._require("radius")
        return figures.radius(self.run.series, step, theme)

    def layers(self, step: int | None = None, theme: Theme = "light") -> go.Figure:
        """Which of the actor's layers signal and noise sit in."""
        self._require("layers")
        return figures.layers(self.run.series, step, theme)
