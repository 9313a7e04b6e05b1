"""What references out of the simulator have in common: the return they are of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradlab.agent import Agent
from gradlab.arguments import switch, whole_number
from gradlab.simulation.simulator import Simulator


class ClosedLoopReference:
    """Returns of the agent's own closed loop, from states of a simulator; made under a seed.

    Args:
        environment: a gymnasium identifier, a function that makes an environment, or a ``Simulator``.
        horizon: number H of rewards in a return.
        seed: of the noise.
        entropy: whether returns count the agent's entropy bonus −α log π, where it has one.
        respect_time_limit: whether rewards beyond the environment's time limit are lost.

    Raises:
        GradlabError: the environment cannot be simulated exactly, or an argument is out of range.
    """

    def __init__(
        self,
        environment: str | Callable[[], Any] | Simulator,
        horizon: int,
        *,
        seed: int,
        entropy: bool,
        respect_time_limit: bool,
    ) -> None:
        self.horizon = whole_number("horizon", horizon, 1, "a return has at least one reward")
        self.seed = whole_number("seed", seed, 0)
        self.entropy = switch("entropy", entropy)
        self.respect_time_limit = switch("respect_time_limit", respect_time_limit)
        self.simulator = environment if isinstance(environment, Simulator) else Simulator(environment)

    def _alpha(self, agent: Agent) -> float:
        """Coefficient of the entropy bonus in that agent's returns."""
        return agent.entropy if self.entropy and agent.policy.stochastic else 0.0
