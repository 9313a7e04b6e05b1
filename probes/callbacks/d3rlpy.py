"""d3rlpy: the actor's optimizer calls the monitor, so that ``fit`` and ``fit_online`` are all there is to write.

    prepare(algorithm, dataset)
    monitor = probes.attach(algorithm, sampler=sampler(dataset))
    algorithm.fit(dataset, n_steps=100_000)

Steps are the library's own gradient steps, which are also in the names of its checkpoints.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import numpy as np

import gradlab
from gradlab.adapters.d3rlpy import recognises
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from probes.monitor import Monitor
from probes.source import Sampler, Source

MONITOR = Monitor


def knows(model: object) -> bool:
    """Whether the object is a d3rlpy algorithm."""
    return recognises(model)


def prepare(algorithm: Any, dataset: Any) -> None:
    """Build what ``fit`` would first: the scalers and the networks, in its order, so that the run is the same.

    Args:
        algorithm: made by ``Config(...).create()``.
        dataset: the ReplayBuffer that ``fit`` is going to be given.
    """
    # Not imported above: doctests are collected from this file where the library is not installed, too.
    utility = importlib.import_module("d3rlpy.algos.utility")
    utility.build_scalers_with_transition_picker(algorithm, dataset)
    if algorithm.impl is None:
        # As fit does it: build_with_dataset takes a shape of another depth.
        shape = dataset.sample_transition().observation_signature.shape
        algorithm.create_impl(shape[0] if len(shape) == 1 else shape, dataset.dataset_info.action_size)


def sampler(dataset: Any) -> Sampler:
    """What ``probes.attach(algorithm, sampler=...)`` takes, out of a dataset or the buffer of ``fit_online``.

    The library samples with numpy's global random state, which is left alone.

    Args:
        dataset: a ReplayBuffer.

    Raises:
        GradlabError: it is a mixture of two.
    """
    if not hasattr(dataset, "transition_picker") or hasattr(dataset, "primary_replay_buffer"):
        raise GradlabError(
            f"sampler: {type(dataset).__name__} is no ReplayBuffer; of a mixture give its primary_replay_buffer"
        )

    def sample(count: int, random: np.random.Generator) -> Any:
        stored = dataset.buffer.transition_count
        if stored < count:
            return None
        chosen = random.choice(stored, size=count, replace=False)
        return np.stack([dataset.transition_picker(*dataset.buffer[int(index)]).observation for index in chosen])

    return sample


def source(model: Any, environment: str = "") -> Source:
    """The run as a monitor sees it.

    Networks are measured in evaluation mode, as they act; an update has the actor in training mode.

    Raises:
        GradlabError: the algorithm is not supported, or not built yet.
    """
    agent = gradlab.view(model)
    return Source(
        view=lambda: in_evaluation(gradlab.view(model)),
        sample=_no_sampler,
        optimizer=model.impl.modules.actor_optim.optim,
        # Counted after an update, at whose end the optimizer's step is past.
        clock=lambda: int(model.grad_step) + 1,
        algorithm=agent.algorithm,
        library=agent.library,
        environment=environment,
        config=_plain(model.config),
    )


def _no_sampler(*_: object) -> Any:
    raise GradlabError(
        "attach: a d3rlpy algorithm does not know its data; pass sampler=sampler(dataset) of probes.callbacks.d3rlpy"
    )


def _plain(config: Any) -> dict[str, Any]:
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: value for name, value in values.items() if isinstance(value, bool | int | float | str)}
