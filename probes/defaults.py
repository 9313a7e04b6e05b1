"""The probes a monitor uses when it is not told which, and three strengths of them."""

from __future__ import annotations

from typing import Literal, get_args

from gradlab.arguments import shown
from gradlab.errors import GradlabError
from probes.curvature import Curvature
from probes.estimators import Estimators
from probes.field import Field
from probes.gradient import Gradient
from probes.health import Health
from probes.landscape import Landscape
from probes.on_policy import OnPolicy
from probes.plugins import installed_probes
from probes.probe import Probe
from probes.returns import Returns
from probes.simulator import Simulator
from probes.smoothness import Smoothness

Preset = Literal["light", "standard", "full"]

#: Share of wall time that each preset may take in the training process; None for no limit.
BUDGETS: dict[Preset, float | None] = {"light": 0.005, "standard": 0.03, "full": None}


def default_probes(environment: str = "", preset: Preset = "standard") -> list[Probe]:
    """The probes of a preset and those of installed packages, in the order they are measured when several are due.

    ``light`` has no process of its own and measures the gradient and its curvature now and then; ``standard``
    measures everything, what is dear in a process of its own; ``full`` measures at every 1,000 steps, what
    is dear and changes slowly at every 10,000, all but what simulates returns in the training process, so that nothing
    of it is skipped, whatever that takes; its fields are the critics' alone.

    No agent suits all: ``attach`` leaves out those that cannot measure it.

    Args:
        environment: gymnasium identifier of the task; without it the simulator's reference is left out.
        preset: which.

    Raises:
        GradlabError: there is no such preset.

    Example:
        >>> " ".join(probe.name for probe in default_probes("Reacher-v5"))
        'field gradient curvature landscape estimators simulator smoothness returns on-policy health'
        >>> [probe.name for probe in default_probes(preset="light")]
        ['gradient', 'curvature', 'on-policy']
    """
    if preset not in get_args(Preset):
        raise GradlabError(f"probes: {shown(preset)}; give a list of probes, or one of {', '.join(get_args(Preset))}")
    if preset == "light":
        own: list[Probe] = [
            Gradient(every=5000, states=64, draws=16),
            Curvature(every=5000, states=32),
            OnPolicy(every=10_000, states=2048),
        ]
    elif preset == "standard":
        own = [
            Field(environment=environment),
            Gradient(),
            Curvature(),
            Landscape(),
            Estimators(),
            Simulator(environment),
            Smoothness(environment),
            Returns(environment),
            OnPolicy(),
            Health(),
        ]
    else:
        every = 1000
        own = [
            Field(every=every, environment=environment, simulated=0),
            Gradient(every=every),
            Curvature(every=every),
            Landscape(every=every),
            Estimators(every=10 * every),
            Simulator(environment, every=every),
            Smoothness(environment, every=10 * every),
            Returns(environment, every=every),
            OnPolicy(every=every),
            Health(every=every),
        ]
        for probe in own:
            # Simulation takes longer than the steps it is between.
            probe.background = isinstance(probe, Simulator | Returns)
    return [*own, *installed_probes()]
