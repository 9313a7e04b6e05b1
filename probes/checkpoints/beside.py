"""What lies beside a checkpoint, and what names say: its task, its seed, the replay buffer of the same step."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

#: Folders above a checkpoint whose names may say something of it.
_ABOVE = 3


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


def environment_in_name(path: Path, known: Iterable[str]) -> str:
    """The gymnasium identifier in the name of a file or of a folder above it; empty where there is none.

    Args:
        path: the file.
        known: identifiers that there are.

    Example:
        >>> environment_in_name(Path("runs/Hopper-v5__td3__1__1700000000/td3.pt"), ["Hopper-v5"])
        'Hopper-v5'
    """
    names = set(known)
    for part in (path.stem, *(folder.name for folder in list(path.parents)[:_ABOVE])):
        found: set[str] = {word for word in re.findall(r"[A-Za-z0-9]+-v\d+", part) if word in names}
        if len(found) == 1:
            return found.pop()
    return ""


def seed_in_name(path: Path) -> int | None:
    """The seed in the name of a file or of a folder above it, as ``seed1`` or as CleanRL names its folders.

    Example:
        >>> seed_in_name(Path("td3_seed12_5000.zip")), seed_in_name(Path("Hopper-v5__td3__3__1700/td3.pt"))
        (12, 3)
    """
    for part in (path.stem, *(folder.name for folder in list(path.parents)[:_ABOVE])):
        found = re.search(r"seed[_-]?(\d+)", part, re.IGNORECASE) or re.fullmatch(r".+-v\d+__.+__(\d+)__\d+", part)
        if found is not None:
            return int(found[1])
    return None


def replay_of(path: Path, step: int) -> Path | None:
    """The replay buffer that was saved with a checkpoint: the one of its step, or else the folder's only one.

    Args:
        path: the checkpoint; the name of its buffer has ``replay_buffer`` in it.
        step: the checkpoint's training step.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("rl_model_1000_steps.zip", "rl_model_replay_buffer_1000_steps.pkl"):
        ...         _ = (Path(folder) / name).write_bytes(b"")
        ...     found = replay_of(Path(folder) / "rl_model_1000_steps.zip", 1000)
        >>> found.name
        'rl_model_replay_buffer_1000_steps.pkl'
    """
    buffers = sorted(path.parent.glob("*replay_buffer*.pkl"))
    own = [buffer for buffer in buffers if buffer.stem.startswith(path.stem)]
    of_step = [buffer for buffer in buffers if str(step) in re.findall(r"\d+", buffer.stem)]
    for some in (own, [one for one in of_step if _like(one, path)], of_step):
        if len(some) == 1:
            return some[0]
    return buffers[0] if len(buffers) == 1 and not re.search(r"\d", buffers[0].stem) else None


def normalised(folder: Path) -> bool:
    """Whether statistics of a ``VecNormalize`` lie there: the networks got other observations than the task's."""
    return any(folder.glob("*vecnormalize*.pkl"))


def _like(buffer: Path, checkpoint: Path) -> bool:
    """Whether it is named as ``CheckpointCallback`` names the two."""
    return buffer.stem.replace("replay_buffer_", "") == checkpoint.stem


def _named(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as lines:
            first = lines.readline(10_000)
        facts = json.loads(first.removeprefix("#"))
    except (OSError, ValueError):
        return ""
    name = facts.get("env_id") if isinstance(facts, dict) else None
    return name if isinstance(name, str) and name != "None" else ""
