"""Probe: what it needs, what it measures."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import whole_number
from gradlab.errors import GradlabError
from gradlab.experience import Experience
from gradlab.measurement import Measurement
from gradlab.rollout import Rollout
from probes.schedule import Every, checked_every, words


class GateClosedError(GradlabError):
    """Nothing can be measured truthfully here: the gate of a probe's reference is closed at every state.

    That is an answer, not a fault: it is recorded as skipped with this reason, and the probe goes on.

    Example:
        >>> raise GateClosedError("simulator reference: no state passed its gate; termination jump")
        Traceback (most recent call last):
        ...
        probes.probe.GateClosedError: simulator reference: no state passed its gate; termination jump
    """


class Probe(ABC):
    """One kind of measurement, taken every so often on a snapshot of the agent.

    A probe is handed a deep copy of the agent, observations and a random generator of its own, so that nothing
    it does reaches the training run. A new probe is one file with one class and one line in
    ``probes.defaults``.

    Args:
        every: training steps between two measurements; or the steps to measure at, such as ``[0, 10_000]``; or a
            function of the step that says whether to.
        states: how many observations it measures at.

    Raises:
        GradlabError: a number is below 1, or ``every`` is none of these.

    Example:
        >>> from gradlab.estimate import Estimate
        >>> class MeanValue(Probe):
        ...     name = "value"
        ...     def measure(self, agent, obs, generator):
        ...         q = agent.q(obs, agent.action(obs)).detach().double()
        ...         return Measurement({"mean": Estimate(q.mean().item(), (q.std() / len(q) ** 0.5).item(), len(q))})
        >>> MeanValue(every=1000, states=64).config()
        {'every': 1000, 'states': 64}
    """

    #: Short name in the store, in tables and on the dashboard.
    name: str
    #: Whether it is too dear for the training process and runs in a process of its own.
    background: bool = False
    #: Seconds a measurement may take in the background process; when it takes longer, that is ended and started again.
    time_limit: ClassVar[float] = 600.0
    #: Whether it measures at observations the run has seen; a probe that finds its own states says no.
    needs_observations: ClassVar[bool] = True
    #: How many observations the run has seen are handed to a probe that can do without, where there are any.
    welcome_observations: ClassVar[int] = 0
    #: Whether it has the agent act in an environment that it makes itself.
    acts: ClassVar[bool] = False
    #: Whether a measurement also says what changed since the last one, which the process keeps in mind.
    remembers: ClassVar[bool] = False

    def __init__(self, *, every: Every, states: int) -> None:
        self.every = checked_every(every, f"probe {self.name}")
        self.states = whole_number(f"probe {self.name}: states", states, 1)

    def refusal(self, agent: Agent) -> str | None:
        """Why this probe cannot measure this agent, in one line; None when it can."""
        return None if agent.critics else "the agent has no critic of (obs, act)"

    @property
    def offered(self) -> int:
        """How many observations it is offered; those it measures at are among them."""
        return self.states

    def stay_apart(self) -> None:
        """The agent cannot act in the bare environment: what the networks get is normalised on the way, for one."""
        return

    def choose(self, obs: Any) -> Any:
        """The observations to measure at, out of those offered; asked in the training process, so it must be quick."""
        return obs

    def stand_alone(self, place: int) -> None:
        """The measurement to come is the run's at this place, counted from 0, and nothing before it is remembered.

        Asked where the measurements of a run are made apart from each other and in any order; nobody waits for them.
        """
        return

    def recall(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> None:
        """Take note of the agent as it was one measurement ago, where the next one says what changed since.

        Args:
            agent: a snapshot of it.
            obs: observations [states, n] that the next measurement is at.
            generator: the only source of randomness a probe may use.
        """
        self.measure(agent, obs, generator)

    @abstractmethod
    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Measure once.

        Args:
            agent: a snapshot, the probe's to do with as it likes.
            obs: observations [states, n] in the agent's dtype.
            generator: the only source of randomness a probe may use.

        Returns:
            Scalars with intervals and arrays for figures.

        Raises:
            GateClosedError: there is nothing truthful to report at these states.
        """

    def config(self) -> dict[str, object]:
        """The settings that make a measurement reproducible, as plain values."""
        plain = (bool, int, float, str, type(None))
        kept: dict[str, object] = {
            k: v for k, v in vars(self).items() if not k.startswith("_") and isinstance(v, plain)
        }
        return {"every": words(self.every), **kept}


class RolloutProbe(Probe):
    """A probe that is handed the rollout an on-policy algorithm is about to train on, in place of observations.

    A subclass has ``measure_rollout``; it says in ``refusal`` what it needs of the agent.
    """

    needs_observations = False

    @abstractmethod
    def measure_rollout(self, agent: Agent, rollout: Rollout, generator: torch.Generator) -> Measurement:
        """Measure once.

        Args:
            agent: a snapshot of the agent that acted.
            rollout: a copy of its rollout.
            generator: the only source of randomness a probe may use.

        Raises:
            GateClosedError: there is nothing truthful to report on this rollout.
        """

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Without a rollout nothing is measured.

        Raises:
            GateClosedError: always.
        """
        raise GateClosedError(f"probe {self.name}: needs the rollout of an on-policy algorithm, and there is none here")


class ExperienceProbe(Probe):
    """A probe that is handed steps of the replay and of the run where these are known, and observations elsewhere."""

    @abstractmethod
    def measure_experience(self, agent: Agent, experience: Experience, generator: torch.Generator) -> Measurement:
        """Measure once.

        Args:
            agent: a snapshot, the probe's to do with as it likes.
            experience: steps of the replay and of the run, in the agent's dtype.
            generator: the only source of randomness a probe may use.
        """


def generator_for(seed: int, probe: str, step: int) -> torch.Generator:
    """The generator of one measurement: the same for the same seed, probe and step, wherever it runs.

    Example:
        >>> a, b = (torch.rand(1, generator=generator_for(0, "field", 500)) for _ in range(2))
        >>> bool(a == b)
        True
    """
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}/{probe}/{step}".encode()))


def choice_for(seed: int, probe: str, step: int) -> np.random.Generator:
    """What chooses the observations of one measurement: the same for the same seed, probe and step, as above.

    Example:
        >>> a, b = (choice_for(0, "field", 500).choice(100) for _ in range(2))
        >>> bool(a == b)
        True
    """
    return np.random.default_rng([seed, zlib.crc32(f"{probe}/{step}".encode())])
