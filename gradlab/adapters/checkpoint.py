"""A saved agent and what was saved beside it."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from gradlab.adapters import stable_baselines3_zip
from gradlab.agent import Agent
from gradlab.errors import GradlabError


@dataclass(frozen=True)
class Checkpoint:
    """A saved agent.

    Attributes:
        agent: the agent, on the CPU. It takes observations as the networks got them: a run that normalised them
            keeps its statistics in a file of their own.
        algorithm: name of the algorithm, such as ``TD3``.
        step: environment steps trained so far.
        path: the file.
    """

    agent: Agent
    algorithm: str
    step: int
    path: Path


def read_checkpoint(path: str | os.PathLike[str], trust: bool = False) -> Checkpoint:
    """Read a checkpoint without running code from it, without its library and without its environment.

    Args:
        path: a zip written by Stable-Baselines3's or sb3-contrib's ``model.save()`` (TD3, DDPG, SAC, PPO, A2C, TQC,
            CrossQ, TRPO).
        trust: whether code in the file may run, where it cannot be read otherwise; needs the library.

    Raises:
        GradlabError: one line that says what is wrong with the file and what to do.

    Example:
        >>> read_checkpoint(".")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: checkpoint .: is a directory; name one file in it
    """
    path = Path(path)
    where = f"checkpoint {path}"
    if path.is_dir():
        raise GradlabError(f"{where}: is a directory; name one file in it")
    if not path.exists():
        raise GradlabError(f"{where}: no such file; pass one written by model.save()")
    no_zip = f"{where}: not a zip file, or cut short; pass one written by Stable-Baselines3's model.save()"
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise GradlabError(no_zip) from error
    except OSError as error:
        raise GradlabError(f"{where}: cannot be read ({error.strerror})") from error
    with archive:
        # PyTorch files are zips themselves: of a zip that is cut short, one of them can be taken for the whole.
        if min((member.header_offset for member in archive.infolist()), default=0) > 0:
            raise GradlabError(no_zip)
        agent, step = stable_baselines3_zip.read(archive, path, trust=trust)
    return Checkpoint(agent, agent.algorithm, step, path)
