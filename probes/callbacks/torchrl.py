"""TorchRL: a loss module, its optimizer and its replay buffer, or a Trainer that has all of them.

A loop of one's own, off policy; the monitor is called by the actor's optimizer::

    monitor = probes.attach(loss, optimizer=actor_optimizer, sampler=sampler_of(replay_buffer))

On policy, after GAE and before the first update::

    monitor = probes.attach(loss)
    monitor.step(frames, rollout=rollout_of(data, loss))

A trainer::

    monitor = probes.attach(trainer)                                          # off policy
    trainer.register_op("pre_epoch", rollout_hook(monitor, trainer))          # on policy, too
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import gradlab
from gradlab.adapters.torchrl import LIBRARY, loss_of, observation_key, recognises
from gradlab.adapters.torchrl_networks import Key
from gradlab.adapters.torchrl_replay import changed_by, refuse_transforms, stored_observations
from gradlab.adapters.torchrl_rollout import rollout_of
from probes.monitor import Monitor
from probes.source import Sampler, Source

__all__ = ["MONITOR", "knows", "rollout_hook", "rollout_of", "sampler_of", "source"]

#: What attach returns.
MONITOR = Monitor


def knows(model: object) -> bool:
    """Whether the object is a loss module or a trainer."""
    return recognises(model)


def source(model: Any, environment: str = "") -> Source:
    """The run as a monitor sees it; a trainer brings its optimizer, its replay buffer and its number of frames."""
    loss = loss_of(model)
    agent = gradlab.view(loss)
    trainer = None if loss is model else model
    off_policy = bool(agent.critics)
    buffer = _buffer(trainer) if trainer is not None and off_policy else None
    return Source(
        view=lambda: gradlab.view(loss),
        sample=None if buffer is None else sampler_of(buffer, observation_key(loss)),
        # On policy, rollout_hook brings what is measured; after an update it would be another policy's.
        optimizer=_optimizer(trainer, loss) if trainer is not None and off_policy else None,
        clock=None if trainer is None else lambda: int(trainer.collected_frames),
        logger=None if trainer is None or trainer.logger is None else lambda: trainer.logger,
        apart="" if trainer is None else _apart(trainer, observation_key(loss)),
        environment=environment,
        algorithm=agent.algorithm,
        library=LIBRARY,
        config={
            name: value
            for name, value in vars(loss).items()
            if isinstance(value, bool | int | float | str) and not name.startswith("_")
        },
    )


def sampler_of(buffer: Any, key: Key = "observation") -> Sampler:
    """Observations out of a replay buffer by the monitor's own generator: its sampler is left alone.

    Args:
        buffer: a TorchRL ReplayBuffer.
        key: of the observations.

    Returns:
        For ``probes.attach(..., sampler=...)``.

    Raises:
        GradlabError: the buffer changes observations when it is sampled.
    """
    refuse_transforms(buffer, key)

    def sample(count: int, random: np.random.Generator) -> Any:
        return stored_observations(buffer, count, random, key)

    return sample


def rollout_hook(monitor: Monitor, trainer: Any) -> Callable[[Any], Any]:
    """For ``trainer.register_op("pre_epoch", …)`` of an on-policy trainer: measures at each new batch.

    Register it after what works out the advantages; at the epochs after the first the batch is an old one.

    Args:
        monitor: what ``probes.attach(trainer)`` gave.
        trainer: the trainer.

    Returns:
        The hook, which gives the batch on as it is.
    """
    seen = -1

    def measure(batch: Any) -> Any:
        nonlocal seen
        frames = int(trainer.collected_frames)
        if frames != seen:
            seen = frames
            # What cannot be read ends the measuring, not the training.
            monitor._guard(lambda: monitor.step(frames, rollout=rollout_of(batch, trainer)))
        return batch

    return measure


def _optimizer(trainer: Any, loss: Any) -> torch.optim.Optimizer | None:
    """Of the trainer's optimizers the one that steps the actor's parameters."""
    actor = {id(parameter) for parameter in loss.actor_network_params.parameters()}
    for optimizer in _optimizers(trainer):
        if any(id(p) in actor for group in optimizer.param_groups for p in group["params"]):
            return optimizer
    return None


def _optimizers(trainer: Any) -> Iterator[torch.optim.Optimizer]:
    holders = (trainer.optimization_stepper, trainer, *trainer._modules.values())
    for holder in holders:
        for value in vars(holder).values() if holder is not None else ():
            if isinstance(value, torch.optim.Optimizer):
                yield value


def _apart(trainer: Any, key: Key) -> str:
    """Why observations of the environment by its name are not what the networks get; empty where they are."""
    transform = getattr(getattr(trainer.collector, "env", None), "transform", None)
    name = changed_by(transform, key)
    return f"the environment's {name} changes its observations" if name else ""


def _buffer(trainer: Any) -> Any:
    """The trainer's replay buffer, its own or that of a hook."""
    found = [trainer.replay_buffer, *(getattr(part, "replay_buffer", None) for part in trainer._modules.values())]
    return next((buffer for buffer in found if buffer is not None), None)
