"""Loading a Stable-Baselines3 checkpoint with the library itself, which runs code in the file: only on request."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradlab.adapters import stable_baselines3
from gradlab.agent import Agent
from gradlab.errors import GradlabError


def load(path: Path, algorithm: str) -> tuple[Agent, int]:
    """The agent and its number of environment steps; the library's reseeding is undone afterwards.

    Raises:
        GradlabError: the library is not installed, or what it loads is not supported.
    """
    contributed = not hasattr(_library("stable_baselines3", "sb3"), algorithm)
    library = _library("sb3_contrib", "sb3-contrib") if contributed else _library("stable_baselines3", "sb3")
    with _global_random_states_kept():
        try:
            model = getattr(library, algorithm).load(path, device="cpu")
        except ImportError as error:
            raise GradlabError(f"needs the module {error.name!r} it was saved with; put it on sys.path") from error
    return stable_baselines3.view(model), int(model.num_timesteps)


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise GradlabError(f"trust=True needs {name}; pip install 'gradlab[{extra}]'") from error


@contextmanager
def _global_random_states_kept() -> Iterator[None]:
    # The library's load() seeds python, numpy and torch with the saved seed.
    python = random.getstate()
    numpy = np.random.get_state()  # noqa: NPY002  the global state is what must be kept
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
