"""What a person sees of an analysis while it goes on."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gradlab.cli.analysis_tables import duration, estimate
from probes.analysis import Doing, Done, Planned, Said

if TYPE_CHECKING:
    from rich.console import Console

    from probes.analysis import Event, Plan


class Screen:
    """The listener of an analysis: a bar that moves with the seconds that measurements take, and lines.

    Args:
        console: where it shows; without a terminal there is no bar.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[counts]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
        )
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None, counts="", left="")
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._said: set[tuple[str, str]] = set()
        self._plan: Plan | None = None
        self._workers = 1
        self._done = self._all = 0
        self._seconds = 0.0
        self._begun = time.perf_counter()

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # When the terminal has gone, that must not take the place of what ended the analysis.
        with suppress(OSError):
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show what happens."""
        with suppress(OSError):
            if isinstance(event, Doing):
                self._bar.update(self._task, description=event.text)
            elif isinstance(event, Said):
                self._console.print(event.text, markup=False, soft_wrap=True, style="yellow")
            elif isinstance(event, Planned):
                self._start(event)
            else:
                self._move(event)

    def _start(self, event: Planned) -> None:
        plan = self._plan = event.plan
        self._workers = max(event.workers, 1)
        self._all, self._begun = plan.total - plan.known, time.perf_counter()
        for run in plan.runs:
            self._waiting.update((probe.name, run.series.environment) for _, probe in run.waiting)
        known = f", {plan.known} of them in the store already" if plan.known else ""
        self._console.print(
            f"{plan.checkpoints} checkpoints in {len(plan.runs)} runs: {plan.total} measurements{known}; "
            f"{estimate(plan, self._workers)}",
            markup=False,
            soft_wrap=True,
        )
        self._show("measuring")

    def _move(self, event: Done) -> None:
        self._done += 1
        self._seconds += event.seconds
        self._waiting[event.probe, event.environment] -= 1
        self._show(f"{event.path}: {event.probe}")
        if event.status in (None, "failed"):
            word = "failed" if event.status else "missing"
            text = f"{event.path}: {event.probe} {word}: {event.message}"
            # What is wrong with a file is wrong for every probe.
            if (event.path, event.message) not in self._said:
                self._said.add((event.path, event.message))
                self._console.print(text, markup=False, soft_wrap=True, style="yellow")

    def _show(self, text: str) -> None:
        assert self._plan is not None
        left = self._plan.costs.total(key for key, count in self._waiting.items() for _ in range(count))
        passed = time.perf_counter() - self._begun
        # Seconds of measuring that pass in a second: what workers really achieve, once there is something to go by.
        speed = self._seconds / passed if self._seconds > 5 * self._workers else self._workers
        self._bar.update(
            self._task,
            description=text,
            total=self._seconds + left,
            completed=self._seconds,
            counts=f"{self._done} of {self._all}",
            left=f"about {duration(left / max(speed, 1e-9))} left" if left else "",
        )
