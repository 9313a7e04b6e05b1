"""Stable-Baselines3 checkpoints: an Agent out of a zip, with neither the library nor the environment.

A zip holds ``data``, which is JSON with a pickle beside the text of each object, and PyTorch files. The text is
used and the pickles are not loaded; PyTorch files load with ``weights_only=True``; networks are rebuilt from the
names and shapes of their weights (format: ``stable_baselines3/common/save_util.py``).
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradlab.adapters import stable_baselines3_trusted
from gradlab.adapters.damage import DAMAGE
from gradlab.adapters.stable_baselines3 import LIBRARY
from gradlab.adapters.stable_baselines3_saved import NeedsTrustError, agent_of, algorithm_of, number
from gradlab.agent import Agent
from gradlab.errors import GradlabError


def read(archive: zipfile.ZipFile, path: Path, *, trust: bool = False) -> tuple[Agent, int]:
    """The agent, on the CPU, and the number of environment steps it was trained for.

    Args:
        archive: the open zip.
        path: where it is, for messages.
        trust: whether the library may load the file, running code in it, where it cannot be read otherwise.

    Raises:
        GradlabError: it is no such checkpoint, broken, or of something not supported.
    """
    try:
        try:
            data = _data(archive)
            algorithm = algorithm_of(data)
            agent = agent_of(data, algorithm, lambda name: _tensors(archive, name), lambda: _entropy(archive))
            return agent, int(number(data, "num_timesteps"))
        except NeedsTrustError as error:
            if not trust:
                raise GradlabError(f"{error}; pass trust=True to let {LIBRARY} load it, running code in it") from error
            return stable_baselines3_trusted.load(path, algorithm)
    except GradlabError as error:
        # Names out of a damaged file may hold anything; the message stays one line.
        raise GradlabError(f"checkpoint {path}: {' '.join(str(error).split())}") from error


def seed(archive: zipfile.ZipFile) -> int | None:
    """Seed of the training run; None where the file has none.

    Raises:
        GradlabError: the file is broken.
    """
    found = _data(archive).get("seed")
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except KeyError as error:
        raise GradlabError(
            f"has no member {name!r}, so it is no {LIBRARY} checkpoint; pass a zip written by model.save()"
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise GradlabError(f"member {name!r} is damaged or unreadable; save or copy the file again") from error


def _data(archive: zipfile.ZipFile) -> dict[str, Any]:
    try:
        data = json.loads(_member(archive, "data"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise GradlabError("member 'data' is not JSON; save the file again") from error
    if not isinstance(data, dict):
        raise GradlabError("member 'data' is not a JSON object; save the file again")
    return data


def _tensors(archive: zipfile.ZipFile, name: str) -> dict[str, Tensor]:
    file = io.BytesIO(_member(archive, name))
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        raise GradlabError(f"member {name!r} is damaged, or holds more than tensors; save the file again") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise GradlabError(f"member {name!r} holds something else than named tensors; save the file again")
    return {str(key): value.detach() for key, value in tensors.items()}


def _entropy(archive: zipfile.ZipFile) -> float:
    if "pytorch_variables.pth" in archive.namelist():
        variables = _tensors(archive, "pytorch_variables.pth")
        if "log_ent_coef" in variables:
            return float(variables["log_ent_coef"].exp())
        if "ent_coef_tensor" in variables:
            return float(variables["ent_coef_tensor"])
    raise GradlabError("has no entropy coefficient (log_ent_coef in pytorch_variables.pth); save the file again")
