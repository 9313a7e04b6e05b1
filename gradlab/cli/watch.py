"""``gradlab watch``: checkpoints measured as a running job writes them."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradlab.cli.demo import LARGEST_SEED
from gradlab.cli.facts import (
    ActionFirst,
    ActionHigh,
    ActionLow,
    Activation,
    Discount,
    Entropy,
    MaxAction,
    Output,
    Trust,
    facts_of,
)
from gradlab.cli.interrupts import end_like_an_interrupt, ignore_interrupts
from gradlab.cli.screen import screen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from probes.watch import Event, Measured

#: How much the job goes before.
_NICE = 10


def watch(
    directory: Annotated[Path, typer.Argument(help="Where a job writes checkpoints, or will; with all below it.")],
    env: Annotated[
        str | None,
        typer.Option(help="Gymnasium environment of the job; by default what monitor.csv beside its checkpoints says."),
    ] = None,
    store: Annotated[
        str, typer.Option(help="Where measurements go, for the dashboard: a path or a URL.")
    ] = "gradlab.db",
    probes: Annotated[
        list[str] | None,
        typer.Option(
            help="What to measure: names, with commas between or given more than once. By default everything."
        ),
    ] = None,
    pattern: Annotated[str, typer.Option(help="Names of checkpoints, as in a shell; in quotes.")] = "*.zip",
    once: Annotated[bool, typer.Option("--once", help="Measure what is there and end.")] = False,
    latest: Annotated[
        bool, typer.Option("--latest", help="When several wait, take the newest first, not the order of training.")
    ] = False,
    poll: Annotated[float, typer.Option(help="Seconds between looks at the directory.", min=0.1)] = 2.0,
    idle_exit: Annotated[
        float | None, typer.Option(help="End when nothing new has come for so many minutes.", min=0.0)
    ] = None,
    states: Annotated[
        int | None, typer.Option(help="States each probe measures at; by default its own number.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the states and of the measurements.", min=0, max=LARGEST_SEED)] = 0,
    action_low: ActionLow = None,
    action_high: ActionHigh = None,
    discount: Discount = None,
    activation: Activation = None,
    entropy: Entropy = None,
    output: Output = None,
    max_action: MaxAction = None,
    action_first: ActionFirst = None,
    trust: Trust = False,
) -> None:
    """Measure checkpoints as a running job writes them, without touching the job.

    Each content is measured once, in the order of training steps; what the store has is not measured again, so the same
    command goes on where it was ended. It runs on one thread and gives way to the job. Ctrl-C ends it.
    """
    # Before numpy is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from gradlab.cli.tasks import require_box_task
    from probes import watch as watching

    if env is not None:
        require_box_task(env).close()
    console = screen()
    facts = facts_of(action_low, action_high, discount, activation, entropy, output, max_action, action_first)
    names = None if probes is None else [name.strip() for one in probes for name in one.split(",") if name.strip()]
    console.print(f"Live: gradlab dashboard {shlex.quote(store)}", markup=False, soft_wrap=True)
    end_like_an_interrupt()
    try:
        with console.status("looking") as status:
            summary = watching.watch(
                directory,
                store,
                environment=env,
                probes=names,
                pattern=pattern,
                once=once,
                poll=poll,
                idle_exit=idle_exit,
                states=states,
                seed=seed,
                trust=trust,
                latest=latest,
                facts=facts,
                nice=_NICE,
                tell=lambda event: _show(console, status, event),
            )
    except KeyboardInterrupt:
        ignore_interrupts()
        # The terminal may be what has gone.
        with suppress(OSError):
            console.print(f"Ended. The same command goes on from what is in {store}.", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    counts = [f"{summary.measured} measured", f"{summary.known} known before"]
    if summary.unreadable:
        counts.append(f"{len(summary.unreadable)} not measured")
    if summary.failed:
        counts.append(f"{summary.failed} measurements failed")
    console.print(f"{', '.join(counts)}; kept in {store}", markup=False, soft_wrap=True)
    if summary.failed or summary.unreadable:
        raise typer.Exit(1)


def _show(console: Console, status: Status, event: Event) -> None:
    from rich.text import Text

    from probes.watch import Doing, Measured

    # What the terminal does not take is no reason to stop measuring.
    with suppress(OSError):
        if isinstance(event, Doing):
            status.update(Text(event.text))
        elif isinstance(event, Measured):
            console.print(line(event), markup=False, soft_wrap=True)
        else:
            console.print(event.text, markup=False, soft_wrap=True, style="yellow")


def line(event: Measured) -> str:
    """A checkpoint on one line: what it is, its numbers, what could not be measured, and how many wait."""
    from gradlab.cli.tables import headlines

    about = f"{event.path}: {event.algorithm} on {event.environment}, step {event.step:,}"
    numbers = [f"{word} {value}" for word, value in headlines(event.results).items()]
    parts = [", ".join(numbers)] if numbers else []
    for word in ("failed", "skipped"):
        those = ", ".join(f"{result.probe} ({result.message})" for result in event.results if result.status == word)
        parts += [f"{word}: {those}"] if those else []
    parts.append(f"{event.seconds:.1f} s" + (f", {event.waiting} wait" if event.waiting else ""))
    return f"{about}: {'; '.join(parts)}"
