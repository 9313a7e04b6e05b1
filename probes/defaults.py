"""The probes a monitor uses when it is not told which."""

from __future__ import annotations

from probes.curvature import Curvature
from probes.field import Field
from probes.gradient import Gradient
from probes.landscape import Landscape
from probes.on_policy import OnPolicy
from probes.probe import Probe
from probes.simulator import Simulator


def default_probes(environment: str = "") -> list[Probe]:
    """The default probes, in the order they are measured when several are due.

    No agent suits all: ``attach`` leaves out those that cannot measure it.

    Args:
        environment: gymnasium identifier of the task; without it the simulator's reference is left out.

    Example:
        >>> [probe.name for probe in default_probes("Reacher-v5")]
        ['field', 'gradient', 'curvature', 'landscape', 'simulator', 'on-policy']
    """
    return [Field(), Gradient(), Curvature(), Landscape(), Simulator(environment), OnPolicy()]
