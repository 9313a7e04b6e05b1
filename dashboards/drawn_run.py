"""DrawnRun: a run that figures are drawn of, and why one cannot be."""

from __future__ import annotations

from dashboards.figures.absent import Absent
from dashboards.kinds import KINDS
from dashboards.one_run import OneRun
from gradlab.errors import GradlabError


class DrawnRun:
    """What the parts of ``RunFigures`` share.

    Attributes:
        run: the run as it was read.
    """

    def __init__(self, run: OneRun) -> None:
        self.run = run

    def _missing(self, probe: str) -> Absent:
        summary = self.run.probes.get(probe)
        return [] if summary is None else summary.missing

    def _why_not(self, name: str) -> str:
        kind = KINDS[name]
        return self.run.absence(kind.probe, kind.words)

    def _require(self, name: str) -> None:
        self._refuse(self._why_not(name))

    def _refuse(self, why: str) -> None:
        if why:
            raise GradlabError(f"run {self.run.info.name}: has nothing to draw: {why}")
