"""Figures of one run against the truth and at one moment of training: a part of ``RunFigures``."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import xarray as xr

from dashboards import figures
from dashboards.drawn_run import DrawnRun
from dashboards.kinds import KINDS
from dashboards.known_run import PRUNED
from dashboards.one_run import opened
from dashboards.style import Theme
from gradlab.errors import GradlabError
from gradlab.store.damage import damage_named

#: What is drawn of arrays, a point for each state.
_OF_STATES = ("calibration", "bound-and-observed")


class TruthFigures(DrawnRun):
    """Figures of the probes ``returns`` and ``smoothness``, and the further ones of ``landscape`` and ``curvature``."""

    def _why_not(self, name: str) -> str:
        why = super()._why_not(name)
        return why if why or name not in _OF_STATES or self.run.tables.get(KINDS[name].probe) else PRUNED

    def critic_gradient(self, theme: Theme = "light") -> go.Figure:
        """The critic's policy gradient against the simulator's over training."""
        self._require("critic-gradient")
        return figures.critic_gradient(self.run.series, theme)

    def value_error(self, theme: Theme = "light") -> go.Figure:
        """Bias, error, calibration slope and correlation of Q against simulated returns over training."""
        self._require("value-error")
        return figures.value_error(self.run.series, theme)

    def phantoms(self, theme: Theme = "light") -> go.Figure:
        """Shares of the critic's optima that are none in truth, and what the best promises and gains."""
        self._require("phantoms")
        return figures.phantoms(self.run.series, theme)

    def spectrum(self, theme: Theme = "light") -> go.Figure:
        """Eigenvalues of ∂²Q/∂a² over training."""
        self._require("spectrum")
        return figures.spectrum(self.run.series, theme)

    def smoothness(self, theme: Theme = "light") -> go.Figure:
        """Flips of ∇ₐQ along episodes, and M/μ beside the sensitivity that was seen."""
        self._require("smoothness")
        return figures.smoothness(self.run.series, theme)

    def calibration(self, step: int | None = None, theme: Theme = "light") -> go.Figure:
        """Simulated return over Q, state by state, at the last measurement up to a step; the newest when None."""
        self._require("calibration")
        return figures.calibration({self._named: self._table("returns", step)}, theme)

    def bound_and_observed(self, step: int | None = None, theme: Theme = "light") -> go.Figure:
        """Sensitivity over M/μ, state by state, at the last measurement at or before a step; the newest when None."""
        self._require("bound-and-observed")
        return figures.bound_and_observed({self._named: self._table("smoothness", step)}, theme)

    def improvement(self, step: int | None = None, theme: Theme = "light") -> go.Figure:
        """What a step along ∇ₐQ promises and gains, over its length; ``step`` as in ``calibration``."""
        self._require("improvement")
        return figures.improvement({self._named: self.run.series}, step, theme)

    def optima_over_persistence(self, step: int | None = None, theme: Theme = "light") -> go.Figure:
        """How many optima there are over how persistent they must be; ``step`` as in ``calibration``."""
        self._require("optima-over-persistence")
        return figures.optima_over_persistence({self._named: self.run.series}, step, theme)

    def surrogates(self, step: int | None = None, theme: Theme = "light") -> go.Figure:
        """What is left on successive surrogates; ``step`` as in ``calibration``."""
        self._require("surrogates")
        return figures.surrogates({self._named: self.run.series}, step, theme)

    @property
    def _named(self) -> tuple[int, str]:
        return self.run.info.id, self.run.info.name

    def _table(self, probe: str, step: int | None) -> Mapping[str, xr.DataArray]:
        known = [number for at, number in self.run.tables[probe] if step is None or at <= step]
        if not known:
            raise GradlabError(f"probe {probe}: has no measurement at or before step {step:,}")
        with opened(self.run.where) as store, damage_named(store):
            return store.arrays(known[-1])
