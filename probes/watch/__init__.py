"""Measuring checkpoints as a running job writes them, without touching the job: ``probes.watch.watch``."""

from probes.watch.events import Doing, Event, Measured, Said
from probes.watch.watch import Summary, watch

__all__ = ["Doing", "Event", "Measured", "Said", "Summary", "watch"]
