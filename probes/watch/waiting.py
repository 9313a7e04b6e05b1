"""Which of the checkpoints that wait is measured next."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from probes.checkpoints.walking import natural


@dataclass(frozen=True)
class Waiting:
    """A checkpoint that waits to be measured.

    Attributes:
        path: the file.
        digest: of its content when it was read.
        step: training step it says, None where it does not.
    """

    path: Path
    digest: str
    step: int | None


def first(waiting: Iterable[Waiting], *, latest: bool = False, served: Mapping[Path, int] | None = None) -> Waiting:
    """The one to measure next: by training step, and by the numbers in names where there is none.

    Args:
        waiting: at least one.
        latest: take the newest of the directory that has waited longest.
        served: when each directory was last served, as a number that grows.

    Example:
        >>> some = [Waiting(Path(name), name, step) for name, step in (("a/10", 10), ("a/9", 9), ("b/2", 2))]
        >>> first(some).path.as_posix(), first(some, latest=True).path.as_posix()
        ('b/2', 'a/10')
        >>> first(some, latest=True, served={Path("a"): 1}).path.as_posix()
        'b/2'
    """
    if not latest:
        return min(waiting, key=_order)
    times = served or {}
    folders = defaultdict(list)
    for one in waiting:
        folders[one.path.parent].append(one)
    longest = min(folders, key=lambda folder: (times.get(folder, 0), folder))
    return max(folders[longest], key=_order)


def _order(one: Waiting) -> tuple[float, list[tuple[int, str]], str]:
    return math.inf if one.step is None else one.step, natural(one.path.name), str(one.path)
