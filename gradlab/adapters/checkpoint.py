"""A saved agent and what was saved beside it."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from gradlab.adapters import (
    cleanrl_saved,
    d3rlpy_saved,
    pickles,
    rllib_saved,
    skrl_saved,
    stable_baselines3_zip,
    tianshou_saved,
    torchrl_saved,
)
from gradlab.adapters.damage import DAMAGE
from gradlab.adapters.facts import Facts
from gradlab.agent import Agent
from gradlab.arguments import shown
from gradlab.errors import GradlabError


class Reader(Protocol):
    """What the module that reads one library's files has; it neither imports the library nor runs code."""

    LIBRARY: str

    def holds(self, content: Any) -> bool:
        """Whether what a file holds is of the library."""

    def read(self, content: Any, facts: Facts, where: str) -> tuple[Agent, int | None]:
        """The agent on the CPU, and the step it is from where the file says it.

        Raises:
            GradlabError: it is not supported, damaged, or ``facts`` do not say what the file leaves unsaid.
        """


#: Those known, in the order they are asked; Stable-Baselines3's zips are told by their members.
READERS: tuple[Reader, ...] = (
    skrl_saved,
    torchrl_saved,
    tianshou_saved,
    d3rlpy_saved,
    rllib_saved,
    cleanrl_saved,
)


@dataclass(frozen=True)
class Checkpoint:
    """A saved agent.

    Attributes:
        agent: the agent, on the CPU. It takes observations as the networks got them: a run that normalised them
            keeps its statistics in a file of their own. Where they are in this one (skrl), it takes the environment's.
        algorithm: name of the algorithm, such as ``TD3``.
        step: training steps so far, as the file says or else its name; 0 where neither does.
        path: the file.
        dated: whether the file or its name says the step.
        seed: seed of the training run, None where the file does not say it.
    """

    agent: Agent
    algorithm: str
    step: int
    path: Path
    dated: bool = True
    seed: int | None = None


def read_checkpoint(path: str | os.PathLike[str], trust: bool = False, facts: Facts | None = None) -> Checkpoint:
    """Read a checkpoint without running code from it, without its library and without its environment.

    Args:
        path: a zip written by Stable-Baselines3's or sb3-contrib's ``model.save()`` (TD3, DDPG, SAC, PPO, A2C, TQC,
            CrossQ, TRPO), or a PyTorch file or pickle of a library in ``READERS``.
        trust: whether code in the file may run, where it cannot be read otherwise; needs the library.
        facts: what the file does not say and the caller knows.

    Raises:
        GradlabError: one line that says what is wrong with the file and what to do.

    Example:
        >>> read_checkpoint(".")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: checkpoint .: is a directory; name one file in it
    """
    if not isinstance(path, str | os.PathLike):
        raise GradlabError(f"checkpoint: {shown(path)}; give the path of a file")
    path = Path(path)
    where = f"checkpoint {path}"
    if path.is_dir():
        inside = rllib_saved.file_in(path)
        name = "one file in it" if inside is None else f"the file {inside.relative_to(path)} in it"
        raise GradlabError(f"{where}: is a directory; name {name}")
    if not path.exists():
        raise GradlabError(f"{where}: no such file; pass one written by model.save()")
    if (pickled := _pickled(path, where)) is not None:
        return _read(pickled, path, where, facts)
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise GradlabError(
            f"{where}: not a zip file, or cut short; pass one written by model.save() or torch.save"
        ) from error
    except OSError as error:
        raise GradlabError(f"{where}: cannot be read ({error.strerror})") from error
    with archive:
        # PyTorch files are zips themselves: of a zip that is cut short, one of them can be taken for the whole.
        if min((member.header_offset for member in archive.infolist()), default=0) > 0:
            raise GradlabError(f"{where}: cut short, or something was put before it; copy the file again")
        if not any(name.endswith("/data.pkl") for name in archive.namelist()):
            agent, step = stable_baselines3_zip.read(archive, path, trust=trust)
            return Checkpoint(agent, agent.algorithm, step, path, seed=stable_baselines3_zip.seed(archive))
    return _read(_torch_content(path, where), path, where, facts)


def _read(content: Any, path: Path, where: str, facts: Facts | None) -> Checkpoint:
    """What the reader makes of the content that knows it."""
    for reader in READERS:
        if reader.holds(content):
            agent, said = reader.read(content, facts or Facts(), where)
            found = step_in(path.stem) if said is None else said
            return Checkpoint(agent, agent.algorithm, found or 0, path, dated=found is not None)
    kind = "pickle" if isinstance(content, pickles.Pickled) else "PyTorch file"
    known = ", ".join(("stable-baselines3", *(reader.LIBRARY for reader in READERS)))
    raise GradlabError(
        f"{where}: a {kind}, but of none of the libraries known ({known}); load it yourself and describe it with "
        "gradlab.Agent(...)"
    )


def _pickled(path: Path, where: str) -> pickles.Pickled | None:
    """What a pickle holds, and what the one of its constructor's arguments beside it; None where it is none."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
            if not pickles.is_pickle(start):
                return None
            content = pickles.plain(start + file.read(), where)
        beside = path.with_name("class_and_ctor_args.pkl")
        made_with = pickles.represented(beside.read_bytes(), f"{where}: {beside.name}") if beside.is_file() else None
    except OSError as error:
        raise GradlabError(f"{where}: cannot be read ({error.strerror})") from error
    return pickles.Pickled(content, made_with)


def _torch_content(path: Path, where: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        raise GradlabError(
            f"{where}: a PyTorch file that is damaged, or holds more than weights, which only its code could read; "
            "save a state_dict, or load it yourself and describe it with gradlab.Agent(...)"
        ) from error


def step_in(name: str) -> int | None:
    """The last number in a file's name that is not of an algorithm's name, a task's version or a seed; None without.

    Example:
        >>> step_in("agent_5000"), step_in("td3_Hopper-v4"), step_in("best_agent_seed1")
        (5000, None, None)
    """
    found = re.findall(r"(?<!td)(?<!-v)(?<!\d)\d+", re.sub(r"seed[_-]?\d+", "", name, flags=re.I), flags=re.I)
    return int(found[-1]) if found else None
