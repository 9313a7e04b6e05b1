"""Going through a directory as checkpoints are looked for in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

#: Endings of names under which programs keep what they have not finished writing.
UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", ".swp", ".lock", "~")


def walk(root: Path, refused: Callable[[OSError], object] = str) -> Iterator[Path]:
    """What is in a directory and those below it, by name; not what is below links.

    What begins with a dot or has an ending of unfinished files is passed over without a word.

    Args:
        root: the directory.
        refused: is told of directories that cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.zip", "a.zip", "c.zip.part", ".hidden"):
        ...         _ = (Path(folder) / name).write_bytes(b"1")
        ...     [path.name for path in walk(Path(folder))]
        ['a.zip', 'b.zip']
    """
    for folder, folders, names in os.walk(root, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and not name.lower().endswith(UNFINISHED):
                yield Path(folder, name)


def natural(name: str) -> list[tuple[int, str]]:
    """Parts of a name, numbers by their value: 9 before 10.

    Example:
        >>> sorted(["agent_10", "agent_9"], key=natural)
        ['agent_9', 'agent_10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]
