"""Probes: measuring a training run while it goes on, without changing it."""

from probes.analysis import analyze
from probes.attach import attach
from probes.curvature import Curvature
from probes.defaults import default_probes
from probes.estimators import Estimators
from probes.field import Field
from probes.function import FunctionProbe
from probes.gradient import Gradient
from probes.health import Health
from probes.landscape import Landscape
from probes.monitor import Monitor
from probes.on_policy import OnPolicy
from probes.probe import ExperienceProbe, GateClosedError, Probe, RolloutProbe
from probes.returns import Returns
from probes.simulator import Simulator
from probes.smoothness import Smoothness
from probes.status import Status

__all__ = [
    "Curvature",
    "Estimators",
    "ExperienceProbe",
    "Field",
    "FunctionProbe",
    "GateClosedError",
    "Gradient",
    "Health",
    "Landscape",
    "Monitor",
    "OnPolicy",
    "Probe",
    "Returns",
    "RolloutProbe",
    "Simulator",
    "Smoothness",
    "Status",
    "analyze",
    "attach",
    "default_probes",
]
