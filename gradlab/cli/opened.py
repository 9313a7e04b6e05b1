"""Checkpoints with their tasks, as commands that simulate take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from gradlab.adapters.checkpoint import Checkpoint
    from gradlab.simulation import Simulator


def opened(checkpoints: list[Path], env: list[str]) -> list[tuple[Checkpoint, str, Simulator]]:
    """Every checkpoint with its task and a simulator of it, checked before anything slow is done.

    Args:
        checkpoints: files written by ``model.save()``.
        env: one environment for all, or one for each in their order.

    Raises:
        GradlabError: a file is no checkpoint, a task is not known or not that of its checkpoint, or their numbers do
            not fit.
    """
    from gradlab.adapters.checkpoint import read_checkpoint
    from gradlab.cli.tasks import require_box_task
    from gradlab.simulation import Simulator

    if len(env) not in (1, len(checkpoints)):
        raise GradlabError(
            f"--env: {len(env)} for {len(checkpoints)} checkpoints; give one for all, or one for each in their order"
        )
    simulators: dict[str, Simulator] = {}
    found = []
    for path, task in zip(checkpoints, env * len(checkpoints) if len(env) == 1 else env, strict=True):
        checkpoint = read_checkpoint(path)
        if task not in simulators:
            require_box_task(task).close()
            simulators[task] = Simulator(task)
        # Refuses an agent of another task.
        simulators[task].pilot(checkpoint.agent)
        found.append((checkpoint, task, simulators[task]))
    return found
