"""Tianshou: the policy's optimizer calls the monitor, and the trainer says the rest.

``probes.attach(trainer)`` takes what ``algorithm.create_trainer(params)`` gives: observations come from the training
collector's buffer, the step is the collector's. ``probes.attach(algorithm, sampler=sampler(buffer))`` is for a loop of
one's own; on-policy, that loop calls ``monitor.step(t, rollout=rollout(algorithm, buffer))`` between collecting and
updating.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import gradlab
from gradlab.adapters.tianshou import OFF_POLICY, recognises
from gradlab.adapters.tianshou_buffer import stored_observations, stored_rollout
from gradlab.errors import GradlabError
from gradlab.rollout import Rollout
from probes.source import Sampler, Source
from probes.updates import RolloutSource, UpdateMonitor

#: Those whose optimizer is the actor's, too, so that its first step in an update finds the policy that acted.
_ONE_OPTIMIZER = ("PPO", "A2C")


def knows(model: object) -> bool:
    """Whether the object is a Tianshou algorithm or trainer."""
    return recognises(model) or _is_trainer(model)


def sampler(buffer: Any) -> Sampler:
    """What ``probes.attach(algorithm, sampler=...)`` takes, out of a ReplayBuffer or VectorReplayBuffer.

    Args:
        buffer: the buffer that is trained on; its own generator is not touched.
    """

    def sample(count: int, random: np.random.Generator) -> Any:
        return stored_observations(buffer, count, random)

    return sample


def rollout(algorithm: Any, buffer: Any, batch_size: int | None = None) -> Rollout | None:
    """What ``monitor.step(t, rollout=...)`` takes in an on-policy loop of one's own, before ``algorithm.update``.

    Args:
        algorithm: PPO, A2C, NPG or TRPO.
        buffer: the collector's, filled.
        batch_size: as ``update`` is given it.

    Returns:
        The rollout with the advantages that the update works out for itself; None while the buffer is empty.

    Raises:
        GradlabError: the algorithm is not supported or has no value function.
    """
    return stored_rollout(algorithm, gradlab.view(algorithm), buffer, batch_size)


MONITOR = UpdateMonitor


def source(model: Any, environment: str = "") -> Source:
    """The run as a monitor sees it.

    Raises:
        GradlabError: the algorithm is not supported.
    """
    trainer = model if _is_trainer(model) else None
    algorithm = model if trainer is None else trainer.algorithm
    agent = gradlab.view(algorithm)
    shared: dict[str, Any] = {
        "view": lambda: gradlab.view(algorithm),
        "algorithm": agent.algorithm,
        "library": agent.library,
        "config": _plain(algorithm),
        "environment": environment,
    }
    off_policy = agent.algorithm in OFF_POLICY
    if trainer is None:
        if off_policy:
            shared["optimizer"] = algorithm.policy_optim._optim
        return Source(sample=_no_sampler if off_policy else None, **shared)
    collector = trainer.params.training_collector
    shared |= {
        "sample": sampler(collector.buffer),
        "clock": lambda: collector.collect_step,
        "apart": _apart(collector.env),
        # The wrapper of a SummaryWriter has it under this name; the default logger writes nowhere.
        "logger": lambda: getattr(trainer._logger, "writer", None),
        "environment": environment or environment_id(collector.env),
    }
    if off_policy:
        return Source(optimizer=algorithm.policy_optim._optim, **shared)
    if agent.algorithm not in _ONE_OPTIMIZER:
        return Source(optimizer=algorithm.optim._optim, **shared)
    return RolloutSource(
        rollout=lambda: rollout(algorithm, collector.buffer, trainer.params.batch_size),
        updates=algorithm.optim._optim,
        **shared,
    )


def environment_id(env: Any) -> str:
    """The gymnasium identifier of a vector environment's first, or an empty string."""
    while hasattr(env, "venv"):
        env = env.venv
    # Workers of other processes are not asked.
    first = getattr(env.workers[0], "env", None)
    spec = getattr(getattr(first, "unwrapped", None), "spec", None)
    return "" if spec is None else str(spec.id)


def _apart(env: Any) -> str:
    """Why the agent cannot act in the bare environment: its observations are normalised on the way."""
    while hasattr(env, "venv"):
        if hasattr(env, "obs_rms"):
            return "VectorEnvNormObs changes observations, and a simulator has others"
        env = env.venv
    return ""


def _is_trainer(model: object) -> bool:
    # Not imported: doctests are collected from this file where the library is not installed, too.
    module = sys.modules.get("tianshou.trainer")
    return module is not None and isinstance(model, module.Trainer)


def _no_sampler(*_: object) -> Any:
    raise GradlabError(
        "attach: a Tianshou algorithm does not know its buffer; pass the trainer, or sampler=sampler(buffer) of "
        "probes.callbacks.tianshou"
    )


def _plain(algorithm: Any) -> dict[str, Any]:
    """Settings of the algorithm for the record."""
    return {
        name: value
        for name, value in vars(algorithm).items()
        if isinstance(value, bool | int | float | str) and not name.startswith("_")
    }
