"""What a directory says about the task that its checkpoints were trained on."""

from __future__ import annotations

import json
from pathlib import Path


def environment_of(folder: Path, root: Path) -> str:
    """The gymnasium identifier that Stable-Baselines3's ``Monitor`` left in a ``monitor.csv``; empty where none did.

    Args:
        folder: where the checkpoint is; this is looked into first, then its parents.
        root: the last directory to look into.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = (Path(root) / "0.monitor.csv").write_text('#{"t_start": 0.5, "env_id": "Pendulum-v1"}' + chr(10))
        ...     environment_of(Path(root, "checkpoints"), Path(root))
        'Pendulum-v1'
    """
    for place in (folder, *folder.parents):
        found = {_named(file) for file in sorted(place.glob("*monitor.csv"))} - {""}
        if len(found) == 1:
            return found.pop()
        if found or place == root:
            break
    return ""


def normalised(folder: Path) -> bool:
    """Whether statistics of a ``VecNormalize`` lie there: the networks got other observations than the task's."""
    return any(folder.glob("*vecnormalize*.pkl"))


def _named(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as lines:
            first = lines.readline(10_000)
        facts = json.loads(first.removeprefix("#"))
    except (OSError, ValueError):
        return ""
    name = facts.get("env_id") if isinstance(facts, dict) else None
    return name if isinstance(name, str) and name != "None" else ""
