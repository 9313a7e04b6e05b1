"""What commands that go through many checkpoints share: a progress bar of stages, and links between their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def link(path: Path, folder: Path) -> str:
    """A link from a document in ``folder`` to ``path``.

    Example:
        >>> link(Path("docs/one.png"), Path("docs"))
        'one.png'
    """
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


@contextmanager
def stages(console: Console, steps: int) -> Iterator[Callable[[str], None]]:
    """A progress bar that is told what comes next; without a terminal nothing shows."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=steps)
        begun = False

        def step(what: str) -> None:
            nonlocal begun
            bar.update(task, description=what, advance=int(begun))
            begun = True

        yield step
