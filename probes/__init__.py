"""Probes: measuring a training run while it goes on, without changing it."""

from probes.attach import attach
from probes.curvature import Curvature
from probes.defaults import default_probes
from probes.field import Field
from probes.gradient import Gradient
from probes.landscape import Landscape
from probes.monitor import Monitor
from probes.probe import GateClosedError, Probe
from probes.simulator import Simulator
from probes.status import Status

__all__ = [
    "Curvature",
    "Field",
    "GateClosedError",
    "Gradient",
    "Landscape",
    "Monitor",
    "Probe",
    "Simulator",
    "Status",
    "attach",
    "default_probes",
]
