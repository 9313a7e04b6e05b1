"""TaskProbe: what the probes share that let the agent act in an environment of their own."""

from __future__ import annotations

from functools import lru_cache

from gradlab.agent import Agent
from gradlab.simulation import Simulator
from probes.probe import Probe
from probes.schedule import Every


class TaskProbe(Probe):
    """A probe that makes the task again by its name and simulates it, in a process of its own.

    Args:
        environment: gymnasium identifier of the task.
        every: training steps between two measurements.
        states: number of states to measure at.
    """

    background = True
    needs_observations = False
    acts = True
    #: Why it measures nothing of discrete actions.
    continuous_only = "there is no gradient by them"

    def __init__(self, environment: str, *, every: Every, states: int) -> None:
        super().__init__(every=every, states=states)
        self.environment = environment

    def refusal(self, agent: Agent) -> str | None:
        """Needs a critic, continuous actions, and a task that can be simulated."""
        if not agent.policy.continuous:
            return f"the agent's actions are discrete; {self.continuous_only}"
        if not self.environment:
            return "the environment has no gymnasium identifier, so it cannot be made again"
        return super().refusal(agent)


@lru_cache(maxsize=4)
def task_simulator(environment: str, threads: int = 1) -> Simulator:
    """The task in batch, made once for all probes of a process.

    Args:
        environment: gymnasium identifier.
        threads: threads that simulate. One, as the training run needs the cores more.
    """
    return Simulator(environment, threads=threads)
