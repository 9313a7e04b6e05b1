"""A progress bar for a reference that is being simulated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from gradlab.references.rollouts.spending import Listener
    from gradlab.references.rollouts.spending import Progress as Report


@contextmanager
def reference_progress(console: Console, description: str) -> Iterator[Listener]:
    """A listener for ``SimulatorReference.cotangent(progress=…)`` that moves a bar; without a terminal nothing shows.

    Args:
        console: where the bar is.
        description: what is being measured.

    Example:
        >>> from gradlab.references.simulator import Progress
        >>> with reference_progress(Console(quiet=True), "simulator, H=50") as listener:
        ...     listener(Progress(1.0, 8, 8, rollouts=104, steps=5200, seconds=0.5, widest=float("nan")))
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=1.0, rate="")

        def listen(report: Report) -> None:
            rate = report.steps / report.seconds if report.seconds > 0 else 0.0
            bar.update(task, completed=report.fraction, rate=f"{report.states_begun} states, {rate:,.0f} steps/s")

        yield listen
