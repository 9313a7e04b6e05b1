"""The demo's progress bar: step rate, what the probes cost, and what they skipped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback

if TYPE_CHECKING:
    from probes import Monitor

#: Seconds between two refreshes of the bar.
_REFRESH = 0.2


class ProgressCallback(BaseCallback):
    """Moves a rich progress bar with the training run.

    Args:
        monitor: whose status is shown.
        bar: the progress display.
        steps: steps in all.
    """

    def __init__(self, monitor: Monitor, bar: Progress, steps: int) -> None:
        super().__init__()
        self._monitor = monitor
        self._bar = bar
        self._task = bar.add_task("training", total=steps, rate="", probes="")
        self._started = time.perf_counter()
        self._shown = 0.0

    def _on_step(self) -> bool:
        now = time.perf_counter()
        if now - self._shown > _REFRESH:
            self._shown = now
            self._show()
        return True

    def _on_training_end(self) -> None:
        self._show()

    def _show(self) -> None:
        rate = self.num_timesteps / max(time.perf_counter() - self._started, 1e-9)
        self._bar.update(
            self._task, completed=self.num_timesteps, rate=f"{rate:,.0f} steps/s", probes=summary(self._monitor)
        )


def summary(monitor: Monitor) -> str:
    """One line on the probes: cost, measured, skipped, failed."""
    status = monitor.status
    parts = [f"probes {status.cost:.1%} of time", f"{sum(status.measured.values())} measured"]
    parts += [f"{sum(status.skipped.values())} skipped"]
    if status.failed:
        parts.append(f"{sum(status.failed.values())} failed")
    return ", ".join(parts)


@contextmanager
def progress_callback(monitor: Monitor, steps: int, console: Console) -> Iterator[ProgressCallback]:
    """The callback with its bar on the screen; without a terminal, one line at the end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[probes]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console)
    bar.start()
    try:
        yield ProgressCallback(monitor, bar, steps)
    finally:
        # When the terminal has gone, that must not take the place of what ended the training.
        with suppress(OSError):
            bar.stop()
