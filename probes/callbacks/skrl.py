"""skrl: the policy's optimizer calls the monitor, so that the trainer's own ``train()`` is all there is to write.

Steps are those of the trainer, which are also in the names of its checkpoints: one for all environments at once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

import gradlab
from gradlab.adapters.skrl import recognises
from gradlab.adapters.skrl_memory import Rollouts, stored_observations
from gradlab.evaluation_mode import in_evaluation
from gradlab.store.records import RunStatus
from probes.monitor import Monitor
from probes.source import Source


def knows(model: object) -> bool:
    """Whether the object is one of skrl's PyTorch agents."""
    return recognises(model)


@dataclasses.dataclass(frozen=True)
class RolloutSource(Source):
    """A run that is measured before the first step of an update, while the policy is the one that acted.

    Attributes:
        rollouts: what tells of that step.
        learner: the optimizer that makes it.
    """

    rollouts: Rollouts | None = None
    learner: torch.optim.Optimizer | None = None


def source(model: Any, environment: str = "") -> Source:
    """The run as a monitor sees it; observations come from the agent's memory, read without its own sampling.

    Networks are measured in evaluation mode, as they act; an update has them in training mode. Where observations are
    preprocessed, the Agent takes them as they come out of that, and a simulator has others.
    """
    agent = gradlab.view(model)
    plain = model._observation_preprocessor == model._empty_preprocessor
    shared: dict[str, Any] = {
        "environment": environment,
        "apart": "" if plain else "the networks get observations through a preprocessor, and a simulator has others",
        "algorithm": agent.algorithm,
        "library": agent.library,
        "logger": lambda: model.writer,
        "config": _plain(model.cfg),
    }
    if agent.critics:
        return Source(
            view=lambda: in_evaluation(gradlab.view(model)),
            sample=lambda count, random: stored_observations(model, count, random),
            optimizer=model.policy_optimizer,
            clock=Timesteps(model),
            **shared,
        )
    rollouts = Rollouts(model)
    return RolloutSource(
        view=lambda: in_evaluation(rollouts.agent()),
        sample=rollouts.sample,
        rollout=rollouts.read,
        rollouts=rollouts,
        learner=getattr(model, "value_optimizer", None) or model.optimizer,
        clock=lambda: rollouts.timesteps,
        **shared,
    )


class Timesteps:
    """Which of the trainer's steps an off-policy agent is at, told by how far its circular memory has been written.

    Args:
        model: the agent.
    """

    def __init__(self, model: Any) -> None:
        self._memory = model.memory
        self._least = int(model.cfg.learning_starts) + 1
        self._row = 0 if self._memory is None else int(self._memory.memory_index)
        self._count = self._memory.memory_size if self._memory is not None and self._memory.filled else self._row

    def __call__(self) -> int:
        """Steps so far; to be asked once a round of the memory at least."""
        if self._memory is None:
            return self._count
        row, size = int(self._memory.memory_index), int(self._memory.memory_size)
        self._count += (row - self._row) % size
        self._row = row
        # Before the first update it may have gone round unseen.
        self._count += max(0, -(-(self._least - self._count) // size)) * size
        return self._count


class HookedMonitor(Monitor):
    """A monitor that the policy's optimizer calls: after each of its steps, or on policy before an update's first."""

    def begin(self) -> None:
        """Start a run, and look at the optimizer's steps from now on."""
        super().begin()
        source = self._source
        self._before = None
        if isinstance(source, RolloutSource) and source.learner is not None:
            self._before = source.learner.register_step_pre_hook(self._stepping)

    def close(self, status: RunStatus = "finished", message: str = "", *, wait: float = 30.0) -> None:
        """End the run and take the hook from the optimizer; arguments as for ``Monitor.close``."""
        if self._before is not None:
            self._before.remove()
        super().close(status, message, wait=wait)

    def _stepping(self, *_: object) -> None:
        self._guard(self._look)

    def _look(self) -> None:
        source = self._source
        assert isinstance(source, RolloutSource)
        assert source.rollouts is not None
        assert source.clock is not None
        look = self.step if source.rollouts.stepping() else self.alive
        look(source.clock())
        # A2C steps once only, which goes nowhere that would be worth a copy of every rollout.
        if look == self.step and source.algorithm != "A2C" and self.measures_rollouts:
            source.rollouts.keep()
        source.rollouts.stepped()


def _plain(cfg: Any) -> dict[str, Any]:
    values = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg)}
    return {name: value for name, value in values.items() if isinstance(value, bool | int | float | str)}


MONITOR = HookedMonitor
