"""A function as a probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import shown
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from probes.probe import Probe
from probes.schedule import Every

#: What a function may return: numbers by name, each an Estimate or one value per state; or a whole measurement.
Measured = Mapping[str, Estimate | Tensor] | Measurement
Function = Callable[[Agent, Tensor, torch.Generator], Measured]


class FunctionProbe(Probe):
    """Measures what a function says, for those who need no class.

    It is handed a snapshot of the agent, observations [states, n] and a generator, and returns numbers by name: each an
    ``Estimate``, or a tensor [states] of one value per state, whose mean is kept with its standard error. A number
    without either is refused, as nobody could tell it from noise.

    Args:
        function: the function.
        name: short name in the store and on the dashboard; the function's own when None.
        every: training steps between two measurements, or as any probe has it.
        states: how many observations it measures at.
        background: whether it runs in a process of its own.

    Raises:
        GradlabError: it cannot be called, or has no name.

    Example:
        >>> def saturation(agent, obs, generator):
        ...     return {"share": (agent.action(obs).abs() > 0.99).double().mean(-1)}
        >>> FunctionProbe(saturation).name
        'saturation'
    """

    def __init__(
        self,
        function: Function,
        *,
        name: str | None = None,
        every: Every = 1000,
        states: int = 128,
        background: bool = False,
    ) -> None:
        if not callable(function):
            raise GradlabError(f"probe: {shown(function)}; give a Probe or a function (agent, obs, generator)")
        called = name or getattr(function, "__name__", "").replace("_", "-")
        if not called or "<" in called:
            raise GradlabError("probe: the function has no name; pass FunctionProbe(function, name=...)")
        self.name = called
        self.background = background
        super().__init__(every=every, states=states)
        self._function = function

    def refusal(self, agent: Agent) -> str | None:
        """None: what the function needs, only it can say."""
        return None

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Call the function.

        Raises:
            GradlabError: it returned something else than numbers with an uncertainty.
        """
        found = self._function(agent, obs, generator)
        if isinstance(found, Measurement):
            return found
        if not isinstance(found, Mapping):
            raise GradlabError(f"returned {shown(found)}; expected numbers by name, or a Measurement")
        return Measurement({str(name): _estimate(str(name), value) for name, value in found.items()})


def _estimate(name: str, value: Any) -> Estimate:
    if isinstance(value, Estimate):
        return value
    if not isinstance(value, Tensor) or value.ndim != 1 or len(value) < 2:
        raise GradlabError(
            f"{name}: {shown(value)}; give an Estimate, or a tensor of one value for each of two states or more"
        )
    of = value.detach().double()
    return Estimate(of.mean().item(), of.std().item() / len(of) ** 0.5, len(of))
