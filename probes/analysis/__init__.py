"""Measuring checkpoints that training has left, many at a time: ``probes.analyze``."""

from probes.analysis.analyze import analyze, plan
from probes.analysis.carrying import BrokenOffError, Summary
from probes.analysis.events import Doing, Done, Event, Planned, Said
from probes.analysis.plan import Plan

__all__ = ["BrokenOffError", "Doing", "Done", "Event", "Plan", "Planned", "Said", "Summary", "analyze", "plan"]
